"""A comparison: every arm x task x seed of one experiment, what they scored and what is concluded from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from sandbox.experiment.run import Run, State
from sandbox.experiment.spec import Captions, Margin, Score, study_spec
from sandbox.launcher.plan import Cell
from sandbox.report.stats import CONCLUDING, Paired, Summary, holm, paired, summarise
from sandbox.report.verdicts import (
    NOTHING_LOST,
    Equivalence,
    Lost,
    Verdict,
    at_bound,
    equivalence,
    family,
    verdict,
    with_coordinates,
)

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
        budget: what its comparison gave every arm the same of; ``none``: not known.
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
    budget: str = "none"

    @property
    def exported(self) -> bool:
        """Whether it was read from one small file, not from a folder with pictures."""
        return self.run is not None and self.run.exported


@dataclass(frozen=True)
class Recorded:
    """What configurations say of a comparison, written down: a table of scores has no configurations.

    Attributes:
        margins: of the primary score, by task.
        failed: cell, in words -> what is wrong with its complete run, see `sandbox.experiment.spec.StudySpec.failed`.
        pairings: (arm, task) -> what it has in common with the reference at one seed.
    """

    margins: Mapping[str | None, Margin]
    failed: Mapping[str, str]
    pairings: Mapping[tuple[str, str | None], str]


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
        lost: seeds that one side alone has.
    """

    task: str | None
    arm: str
    score: Score
    stats: Paired
    p_adjusted: float
    verdict: Verdict | None
    equal: Equivalence | None = None
    compared: int = 0
    lost: Lost = NOTHING_LOST


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
        recorded: in place of the runs' configurations, where the rows have none.
        combinations: contrasts of several arms, name -> arm -> weight; where there are some the first of them concludes
            and the differences from the reference are described, see `sandbox.report.combined`.
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
    recorded: Recorded | None = None
    combinations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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
        if self.recorded is not None:
            return self.recorded.margins.get(task)
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
        if self.recorded is not None:
            return self.recorded.pairings.get((arm, task), "no run yet")
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
        return list(self._every)

    def primary_contrasts(self) -> list[Contrast]:
        """Those of the primary score."""
        return [item for item in self._every if item.score.primary]

    def coordinate_contrasts(self, score: Score) -> list[Contrast]:
        """Arms with coordinates against the same without, but for the reference; described, by task and arm."""
        pairs = [(arm, twin) for arm in self.arms[1:] if (twin := with_coordinates(arm)) in self.arms]
        found = [self._contrast(score, task, twin, arm) for task in self.tasks for arm, twin in pairs]
        return [replace(item, equal=None) for item in found]

    @cached_property
    def _every(self) -> list[Contrast]:
        return [contrast for score in self.scores for contrast in self._contrasts(score)]

    def _contrasts(self, score: Score) -> list[Contrast]:
        cells = [(task, arm) for task in self.tasks for arm in self.arms[1:]]
        found = [self._contrast(score, task, arm, self.reference) for task, arm in cells]
        if not score.primary or self.combinations:
            return [replace(item, equal=None) for item in found]
        families: dict[str, list[int]] = {}
        for k, (_, arm) in enumerate(cells):
            families.setdefault(family(self.reference, arm), []).append(k)
        for places in families.values():
            for k, item in zip(places, judged([found[k] for k in places]), strict=True):
                found[k] = item
        return found

    def failing(self, row: Row) -> str:
        """What is wrong with a complete run that has learned nothing, in a few words; empty: nothing."""
        if self.recorded is not None:
            return self.recorded.failed.get(str(row.cell), "")
        return study_spec(self.study).failed(row.run.config, row.scores) if row.run else ""

    def _contrast(self, score: Score, task: str | None, arm: str, other: str) -> Contrast:
        values = [self.values(score.tag, name, task) for name in (other, arm)]
        result = paired(values[0], values[1], score.better)
        equal = self.equal(task, (other, arm), values) if score.primary else None
        return Contrast(task, arm, score, result, math.nan, None, equal, lost=Lost.between(*values))

    def equal(
        self, task: str | None, arms: Sequence[str], sides: Sequence[Mapping[int, float | None]]
    ) -> Equivalence | None:
        """The test of equivalence of the primary score; None where there is no margin.

        Args:
            task: on which.
            arms: whose runs it rests on.
            sides: the reference's values by seed, and those compared with it: of two arms, or of sums of several.
        """
        margin = self.margin(task)
        if margin is None:
            return None
        first = margin.fresh_from
        fresh = [{seed: value for seed, value in side.items() if seed >= first} for side in sides]
        found = paired(fresh[0], fresh[1], self.primary.better)
        pairs, barred = len(found.differences), self._barred(task, arms, margin)
        wanting = not barred and pairs < CONCLUDING and any(seed < first for seed in self.seeds)
        if wanting:
            barred = (f"the margin was set after runs of seeds below {first} were seen, and of later ones "
                      f"{pairs} are paired, {CONCLUDING} are needed")  # fmt: skip
        return equivalence(found, margin.value, barred, for_pairs=wanting)

    def _barred(self, task: str | None, arms: Sequence[str], margin: Margin) -> str:
        """Why the runs of some arms cannot show equivalence, however many they are."""
        fresh = {arm: [row for row in self.of(arm, task) if row.cell.seed >= margin.fresh_from] for arm in arms}
        if not any(row.state == "complete" for part in fresh.values() for row in part):
            return ""  # nothing is there yet
        for row in (row for arm in arms for row in self.of(arm, task)):  # of all that were planned, not of fresh ones
            if wrong := self._wrong(row):
                return f"{row.cell}: {wrong}"
        values = [[v for row in part if (v := row.scores.get(self.primary.tag)) is not None] for part in fresh.values()]
        for bound, word in ((self.primary.best, "best"), (self.primary.worst, "worst")):
            if at_bound(values, bound, margin.value):
                which = "both" if len(arms) == 2 else "all"
                return f"{which} arms come within the margin of {bound:g}, the {word} there is"
        return ""

    def _wrong(self, row: Row) -> str:
        """Why a planned run shows nothing, in a few words; empty: it does."""
        if row.error:
            return f"failed ({row.error})"
        if row.state != "complete":
            return "no complete run"
        return "has no value" if row.scores.get(self.primary.tag) is None else self.failing(row)


def judged(items: Sequence[Contrast]) -> list[Contrast]:
    """The verdicts of a family: its p values corrected together, and those of its claims of equivalence."""
    adjusted = holm([item.stats.p_t for item in items])
    compared = max(1, sum(not math.isnan(item.stats.p_t) for item in items))
    claims = [math.nan if item.equal is None or item.equal.barred or item.equal.pairs < CONCLUDING else item.equal.p
              for item in items]  # fmt: skip
    count = sum(not math.isnan(p) for p in claims)
    judged = []
    for item, p, claim in zip(items, adjusted, holm(claims), strict=True):
        equal = item.equal and item.equal.adjusted(claim, count)
        found = verdict(item.stats, item.score.better, p, compared, equal, item.lost)
        judged.append(replace(item, p_adjusted=p, verdict=found, equal=equal, compared=compared))
    return judged
