"""What a comparison found over all of its tasks together, by one score that compares between them.

Method: Agarwal et al. 2021 (arXiv 2108.13264), on games whose scores are normalised: interquartile mean over all runs
of all tasks, probability of improvement averaged over tasks, and 95 % percentile intervals of a bootstrap that draws
runs anew within each task. It describes: the tasks are those that were chosen, and the interval speaks of other runs,
not of other tasks. Each task's own verdict stands in the report's first table.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import stats

from sandbox.experiment.spec import Score
from sandbox.report.comparison import Comparison
from sandbox.report.stats import LEVEL, Better
from sandbox.report.stats import improvement as on_one_task

RESAMPLES = 2000
Tasks = Sequence[Float64[np.ndarray, "..."]]  # the runs of each task


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap interval at `sandbox.report.stats.LEVEL`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OverTasks:
    """One arm over all tasks.

    Attributes:
        arm: its name.
        tasks: on how many it has a complete run.
        runs: in all.
        iqm: interquartile mean of the score.
        improvement: probability of improvement over the reference, 0 to 1; None for the reference itself, or where no
            task has runs of both.
        better, equivalent, inconclusive, worse: tasks by the verdict of the primary score.
    """

    arm: str
    tasks: int
    runs: int
    iqm: Estimate
    improvement: Estimate | None
    better: int
    equivalent: int
    inconclusive: int
    worse: int


def interquartile_mean(tasks: Tasks) -> float:
    """Mean of the middle half of all runs; of all of them below four."""
    return float(stats.trim_mean(np.concatenate(list(tasks)), 0.25))


def improvement(reference: Tasks, arm: Tasks, better: Better) -> float:
    """How often a run of the arm beats one of the reference on the same task, ties half; mean over tasks."""
    return float(np.mean([on_one_task(a, r, better) for r, a in zip(reference, arm, strict=True)]))


def bootstrap(groups: Sequence[Tasks], statistic: Callable[..., float]) -> Estimate:
    """``statistic(*groups)`` and its interval; runs are drawn anew within each task of each group, always alike.

    Single runs say nothing about their spread: without two of any task the interval is NaN.
    """
    if all(len(task) < 2 for group in groups for task in group):
        return Estimate(statistic(*groups), math.nan, math.nan)
    random = np.random.default_rng(0)
    draws = [
        statistic(*([task[random.integers(len(task), size=len(task))] for task in group] for group in groups))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(statistic(*groups), float(low), float(high))


def over_tasks(c: Comparison) -> list[OverTasks]:
    """Every arm over all tasks; empty with a single task or without a score that compares between tasks."""
    pooled = next((score for score in c.scores if score.pooled), None)
    if pooled is None or len(c.tasks) < 2:
        return []
    return [found for arm in c.arms if (found := _over_tasks(c, arm, pooled))]


def _over_tasks(c: Comparison, arm: str, score: Score) -> OverTasks | None:
    ours, theirs = (
        {task: found for task in c.tasks if len(found := _runs(c, name, task, score))} for name in (arm, c.reference)
    )
    if not ours:
        return None
    both = [task for task in ours if task in theirs]
    gain = None
    if arm != c.reference and both:
        groups = [theirs[task] for task in both], [ours[task] for task in both]
        gain = bootstrap(groups, lambda r, a: improvement(r, a, score.better))
    outcomes = [item.verdict.outcome for item in c.contrasts() if item.verdict and item.arm == arm]
    counts = (outcomes.count(name) for name in ("better", "equivalent", "inconclusive", "worse"))
    runs = list(ours.values())
    return OverTasks(arm, len(runs), sum(map(len, runs)), bootstrap([runs], interquartile_mean), gain, *counts)


def _runs(c: Comparison, arm: str, task: str | None, score: Score) -> Float64[np.ndarray, " n"]:
    return np.array([value for value in c.values(score.tag, arm, task).values() if value is not None], np.float64)
