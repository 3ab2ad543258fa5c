"""What a comparison's run folders hold, read back: every arm x task x seed of one experiment.

Only ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``result.json`` and the pictures are read, so every study
compares alike, and so does a folder of runs copied from a cluster.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sandbox.base.errors import UserError, warn
from sandbox.base.reading import Unreadable, read_file
from sandbox.experiment.config import differences
from sandbox.experiment.names import config_title
from sandbox.experiment.run import Run, State, read_run, refuse_mixed_data, refuse_mixed_precision
from sandbox.experiment.spec import Captions, Score, study_spec
from sandbox.experiment.written import SMALL
from sandbox.launcher.plan import Cell, Plan
from sandbox.launcher.worker import read_order
from sandbox.report.stats import Paired, Summary, Verdict, holm, paired, summarise, verdict
from sandbox.train.tracking import read_metrics

Budget = Literal["steps", "macs", "none"]


@dataclass(frozen=True)
class Row:
    """One run of the grid.

    Attributes:
        cell: its place.
        folder: where it lies.
        state: ``new``, ``interrupted`` or ``complete``.
        run: its identity; None while it is new.
        scores: tag -> value, None where undefined; empty unless complete.
        costs: what else ``result.json`` holds.
        environment: commit, versions, device.
        curves: the points of ``metrics.jsonl``.
        error: one line, where the run failed just now.
    """

    cell: Cell
    folder: Path
    state: State
    run: Run | None
    scores: Mapping[str, float | None]
    costs: Mapping[str, Any]
    environment: Mapping[str, Any]
    curves: Sequence[Mapping[str, int | float]]
    error: str | None = None


@dataclass(frozen=True)
class Contrast:
    """One arm against the reference, on one task and one score, over the seeds that both have.

    Attributes:
        task: None where there is but one.
        arm: compared with the reference.
        score: which score.
        stats: differences, interval, tests.
        p_adjusted: `stats.p_t` after Holm's correction over the contrasts of the primary score; NaN for other scores.
        verdict: of the primary score alone; None for the others, which describe and conclude nothing.
    """

    task: str | None
    arm: str
    score: Score
    stats: Paired
    p_adjusted: float
    verdict: Verdict | None


@dataclass(frozen=True)
class Comparison:
    """Everything a report says.

    Attributes:
        study: its name.
        experiment: names the folder.
        root: ``runs/<study>/<experiment>``.
        source: the config's name, or the YAML file's path where it is the user's own.
        command: what makes this report again.
        arms: the reference first.
        tasks: ``(None,)`` where there is but one.
        seeds: in order.
        scores: the primary one first.
        budget: what the arms had the same of: ``steps`` (images too), ``macs`` or ``none``.
        rows: one for each cell, in the order task, seed, arm.
    """

    study: str
    experiment: str
    root: Path
    source: str
    command: str
    arms: tuple[str, ...]
    tasks: tuple[str | None, ...]
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]
    budget: Budget
    rows: tuple[Row, ...]

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def captions(self) -> Captions:
        """What is said of the study's pictures and curves."""
        return study_spec(self.study).captions

    @property
    def primary(self) -> Score:
        """The score that a conclusion is drawn from."""
        return self.scores[0]

    @property
    def folder(self) -> Path:
        """Where the report goes: ``runs/<study>/<experiment>/comparison``."""
        return self.root / "comparison"

    def of(self, arm: str, task: str | None = None) -> list[Row]:
        """The rows of an arm on a task, by seed."""
        return [row for row in self.rows if row.cell.arm == arm and row.cell.task == task]

    def values(self, tag: str, arm: str, task: str | None = None) -> dict[int, float | None]:
        """Seed -> value of a score, of the complete runs."""
        return {row.cell.seed: row.scores.get(tag) for row in self.of(arm, task) if row.state == "complete"}

    def summary(self, score: Score, arm: str, task: str | None = None) -> Summary:
        """Mean, spread and every seed of an arm."""
        return summarise(self.values(score.tag, arm, task))

    def pairing(self, arm: str, task: str | None = None) -> str:
        """What an arm has in common with the reference at one seed."""
        configs = [next((row.run.config for row in self.of(name, task) if row.run), None)
                   for name in (self.reference, arm)]  # fmt: skip
        a, b = configs
        if a is None or b is None:
            return "no run yet"
        if not a.sees_the_same(b):
            return "the same seed only"
        same = a.differs_by_coordinates_alone(b.model_copy(update={"seed": a.seed, "steps": a.steps}))
        return "the same topology, content weights, data and latents" if same else "the same data and latents only"

    def contrasts(self) -> list[Contrast]:
        """Every arm against the reference, by score (the primary first), task and arm."""
        return [contrast for score in self.scores for contrast in self._contrasts(score)]

    def _contrasts(self, score: Score) -> list[Contrast]:
        cells = [(task, arm) for task in self.tasks for arm in self.arms[1:]]
        results = [
            paired(self.values(score.tag, self.reference, task), self.values(score.tag, arm, task), score.better)
            for task, arm in cells
        ]
        adjusted = holm([result.p_t for result in results]) if score.primary else [math.nan] * len(cells)
        family = max(1, sum(not math.isnan(result.p_t) for result in results))
        return [
            Contrast(task, arm, score, result, p,
                     verdict(result, score.better, p, family) if score.primary else None)
            for (task, arm), result, p in zip(cells, results, adjusted, strict=True)
        ]  # fmt: skip


def gather(plan: Plan, failed: Mapping[Cell, str], command: str) -> Comparison:
    """Reads the runs of a plan back.

    Args:
        plan: which runs.
        failed: what those that failed just now said.
        command: what makes the report again.

    Raises:
        UserError: a run is not what its folder says, or runs that differ in more than the arms would be paired.
    """
    rows = tuple(read_row(cell, plan.place(cell), failed.get(cell)) for cell in plan.cells())
    check_places(rows, plan)
    refuse_mixed_precision([row.run for row in rows if row.run])
    refuse_mixed_data([row.run for row in rows if row.run])
    return Comparison(plan.experiment.study, plan.name, plan.folder, config_title(plan.experiment.path), command,
                      plan.arms, plan.tasks, plan.seeds, plan.scores(), _budget(plan, rows), rows)  # fmt: skip


def _budget(plan: Plan, rows: Sequence[Row]) -> Budget:
    """What the arms had the same of: told by the runs, not by this command line."""
    spent = {(row.cell.task, row.run.config.steps, row.run.config.batch) for row in rows if row.run}
    if len(spent) == len({task for task, *_ in spent}):
        return "steps"
    older = plan.folder / "comparison" / "budget"  # of a comparison that was made before runs had order files
    with suppress(Unreadable):
        if older.exists() and read_file(older, SMALL) == b"macs":
            return "macs"
    return "macs" if {_told(plan.order(cell)) for cell in plan.cells()} - {"none"} == {"macs"} else "none"


def _told(order: Path) -> str:
    """The budget that a run was made under; a report needs no order file, so that one may be lost or damaged."""
    try:
        return str(read_order(order)["budget"])
    except UserError:
        return "none"


def read_row(cell: Cell, folder: Path, error: str | None = None) -> Row:
    """Reads one run's folder; a new one is empty. A damaged one counts as interrupted, its error says why."""
    if not (folder / "config.yaml").is_file():
        return Row(cell, folder, "new", None, {}, {}, {}, [], error)
    try:
        run = read_run(folder)
    except UserError as wrong:
        return Row(cell, folder, "interrupted", None, {}, {}, {}, [], error or str(wrong))
    state, costs = run.state(), dict[str, Any]()
    try:
        costs = run.result() if state == "complete" else costs
    except UserError as wrong:
        state, error = "interrupted", error or str(wrong)
    scores = costs.pop("scores", {})
    there = (folder / "metrics.jsonl").exists() or state == "complete"
    curves = read_metrics(folder, costs.pop("points", None)) if there else []
    return Row(cell, folder, state, run, scores, costs, _environment(run), curves, error)


def _environment(run: Run) -> dict[str, Any]:
    try:
        return run.environment()
    except UserError as error:
        warn(str(error))
        return {}


def check_places(rows: Sequence[Row], plan: Plan) -> None:
    """Refuses runs that are not what their folders say, or differ within an arm in more than the seed.

    Raises:
        UserError: names the folder and what is different.
    """
    first: dict[tuple[str | None, str], Row] = {}
    for row in rows:
        if row.run is None:
            continue
        cell, run = row.cell, row.run
        told = (plan.experiment.study, plan.name, cell.task, cell.arm, cell.seed)
        says = (run.study, run.experiment, run.task, run.arm, run.config.seed)
        if changed := [f"{a!r}, not {b!r}" for a, b in zip(says, told, strict=True) if a != b]:
            raise UserError(f"{row.folder} holds another run than its name says: {'; '.join(changed)}")
        other = first.setdefault((cell.task, cell.arm), row)
        assert other.run is not None
        ours, theirs = (one.config.model_dump(exclude={"seed", *run.config.PLACES}) for one in (other.run, run))
        if changed := differences(ours, theirs):
            found = f"{'; '.join(changed)} from {other.folder} to {row.folder}"
            raise UserError(f"runs of one arm must not differ but in the seed: {found}")
