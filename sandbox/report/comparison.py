"""What a comparison's run folders hold, read back: every arm x task x seed of one experiment.

Only ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``result.json`` and the pictures are read, so every study
compares alike, and so does a folder of runs copied from a cluster.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sandbox.base.errors import UserError, warn
from sandbox.base.reading import Unreadable, read_file
from sandbox.experiment.config import differences
from sandbox.experiment.names import config_title
from sandbox.experiment.run import Run, State, read_run, refuse_mixed_data, refuse_mixed_precision
from sandbox.experiment.spec import Captions, Margin, Score, study_spec
from sandbox.experiment.written import SMALL
from sandbox.launcher.plan import Cell, Plan
from sandbox.launcher.worker import read_order
from sandbox.report.stats import CONCLUDING, Paired, Summary, holm, paired, summarise
from sandbox.report.verdicts import Equivalence, Verdict, at_ceiling, equivalence, family, verdict
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
        p_adjusted: `stats.p_t` after Holm's correction within its family; NaN for scores that are not primary.
        verdict: of the primary score alone; None for the others, which describe and conclude nothing.
        equal: the test of equivalence, where the primary score has a margin.
        compared: how many p values its family counts.
    """

    task: str | None
    arm: str
    score: Score
    stats: Paired
    p_adjusted: float
    verdict: Verdict | None
    equal: Equivalence | None = None
    compared: int = 0


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

    def margin(self, task: str | None = None) -> Margin | None:
        """What would matter of the primary score on a task; None where the study names nothing, or no run is there."""
        config = next((row.run.config for row in self.rows if row.run and row.cell.task == task), None)
        return None if config is None else self.primary.margin_of(config)

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
        found = [self._contrast(score, task, arm) for task, arm in cells]
        if not score.primary:
            return found
        families: dict[str, list[int]] = {}
        for k, (_, arm) in enumerate(cells):
            families.setdefault(family(self.reference, arm), []).append(k)
        for places in families.values():
            for k, item in zip(places, _judged([found[k] for k in places]), strict=True):
                found[k] = item
        return found

    def _contrast(self, score: Score, task: str | None, arm: str) -> Contrast:
        values = [self.values(score.tag, name, task) for name in (self.reference, arm)]
        result, equal = paired(values[0], values[1], score.better), None
        margin = self.margin(task) if score.primary else None
        if margin is not None:
            first = margin.fresh_from
            fresh = [{seed: value for seed, value in part.items() if seed >= first} for part in values]
            found = paired(fresh[0], fresh[1], score.better)
            equal = equivalence(found, margin.value, self._barred(score, margin, task, arm, fresh))
        return Contrast(task, arm, score, result, math.nan, None, equal)

    def _barred(
        self, score: Score, margin: Margin, task: str | None, arm: str, fresh: Sequence[Mapping[int, float | None]]
    ) -> str:
        """Why these runs cannot show equivalence, whatever their scores are."""
        pairs = len([seed for seed, value in fresh[0].items() if value is not None and fresh[1].get(seed) is not None])
        if pairs < CONCLUDING and any(seed < margin.fresh_from for seed in self.seeds):
            return (f"the margin was set after runs of seeds below {margin.fresh_from} were seen, and of later ones "
                    f"{pairs} are paired, {CONCLUDING} are needed")  # fmt: skip
        spec = study_spec(self.study)
        for row in (*self.of(self.reference, task), *self.of(arm, task)):
            if row.cell.seed < margin.fresh_from:
                continue
            wrong = f"failed ({row.error})" if row.error else ""
            if not wrong and row.state == "complete" and row.run:
                undefined = row.scores.get(score.tag) is None
                wrong = "has no value" if undefined else spec.failed(row.run.config, row.scores)
            if wrong:
                return f"{row.cell}: {wrong}"
        known = [[value for value in part.values() if value is not None] for part in fresh]
        if at_ceiling(known[0], known[1], score.best, margin.value):
            return f"both arms come within the margin of {score.best:g}, the best there is"
        return ""


def _judged(items: Sequence[Contrast]) -> list[Contrast]:
    """The verdicts of a family: its p values corrected together, and those of its claims of equivalence."""
    adjusted = holm([item.stats.p_t for item in items])
    compared = max(1, sum(not math.isnan(item.stats.p_t) for item in items))
    claims = [math.nan if item.equal is None or item.equal.barred or item.equal.pairs < CONCLUDING else item.equal.p
              for item in items]  # fmt: skip
    count = sum(not math.isnan(p) for p in claims)
    judged = []
    for item, p, claim in zip(items, adjusted, holm(claims), strict=True):
        equal = item.equal and item.equal.adjusted(claim, count)
        found = verdict(item.stats, item.score.better, p, compared, equal)
        judged.append(replace(item, p_adjusted=p, verdict=found, equal=equal, compared=compared))
    return judged


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
        if folder.is_symlink() or (folder.is_dir() and any(path.name != ".lock" for path in folder.iterdir())):
            error = error or f"{folder} has no config.yaml: what run that was is not known, and it is left out"
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
    costs.pop("points", None)  # of an older run
    there = (folder / "metrics.jsonl").exists() or state == "complete"
    curves = read_metrics(folder, costs.pop("curves", None)) if there else []
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
