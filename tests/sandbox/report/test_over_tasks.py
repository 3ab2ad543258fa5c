"""Statistics over all tasks together."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64

from sandbox.experiment.spec import Score
from sandbox.launcher.plan import Cell
from sandbox.report.comparison import Comparison, Row
from sandbox.report.over_tasks import bootstrap, improvement, interquartile_mean, over_tasks
from sandbox.report.tables import over_tasks_table

SCORES = (
    Score("score/points", "higher", "points", primary=True),
    Score("score/share", "higher", "share of a human", pooled=True),
)
tasks = st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=5), min_size=1, max_size=4)


def arrays(values: list[list[float]]) -> list[Float64[np.ndarray, " n"]]:
    return [np.array(task, np.float64) for task in values]


def test_the_interquartile_mean_leaves_out_the_best_and_the_worst_quarter() -> None:
    assert interquartile_mean(arrays([[100.0, 1.0], [3.0, -50.0]])) == 2.0
    assert interquartile_mean(arrays([[1.0], [2.0, 6.0]])) == 3.0  # of three, none


def test_improvement_is_an_average_over_tasks_whatever_their_runs() -> None:
    reference, arm = arrays([[0.0], [5.0, 5.0]]), arrays([[1.0], [5.0, 0.0]])
    assert improvement(reference, arm, "higher") == (1 + 0.25) / 2
    assert improvement(reference, arm, "lower") == (0 + 0.75) / 2
    assert improvement(arrays([[0.3]]), arrays([[0.1 + 0.2]]), "higher") == 0.5  # rounding alone, as of two arms


@given(tasks, st.sampled_from(["higher", "lower"]))
def test_an_arm_is_as_good_as_itself_and_the_two_sides_add_up(values: list[list[float]], better: str) -> None:
    one, other = arrays(values), arrays([[x / 2 + 1 for x in task] for task in values])
    assert improvement(one, one, better) == pytest.approx(0.5)
    assert improvement(one, other, better) + improvement(other, one, better) == pytest.approx(1)


@settings(max_examples=10, deadline=None)
@given(tasks)
def test_tasks_whose_runs_agree_leave_nothing_to_chance(values: list[list[float]]) -> None:
    same = arrays([[task[0]] * (len(task) + 1) for task in values])
    with patch("sandbox.report.over_tasks.RESAMPLES", 50):  # as good as 2000 where all draws are equal
        found = bootstrap([same], interquartile_mean)
    assert found.low == pytest.approx(found.value, abs=1e-9)
    assert found.high == pytest.approx(found.value, abs=1e-9)


def test_an_interval_has_the_width_of_the_mean_s_spread() -> None:
    values = np.random.default_rng(1).normal(size=(4, 100))
    found = bootstrap([list(values)], lambda part: float(np.concatenate(part).mean()))
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.1)


def made(root: Path, shift: dict[str, float]) -> Comparison:
    """Eight seeds on each task; coord is better by the task's shift."""
    rows = []
    for task, gain in shift.items():
        for seed in range(8):
            for arm in ("conv", "coord"):
                value = seed + (arm == "coord") * (gain + 0.01 * seed)
                scores: dict[str, float | None] = {"score/points": 100 * value, "score/share": value}
                rows.append(Row(Cell(task, arm, seed), root, "complete", None, scores, {}, {}, []))
    arms, seeds = ("conv", "coord"), tuple(range(8))
    return Comparison("toy", "x", root, "x", "again", arms, tuple(shift), seeds, SCORES, "steps", tuple(rows))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the width of an interval is not asked for."""
    monkeypatch.setattr("sandbox.report.over_tasks.RESAMPLES", 100)


@pytest.mark.usefixtures("few")
def test_tasks_are_counted_by_their_verdicts(tmp_path: Path) -> None:
    comparison = made(tmp_path, {"a": 20.0, "b": 30.0, "c": -20.0, "d": -0.035})
    conv, coord = over_tasks(comparison)
    assert (conv.arm, conv.improvement, conv.tasks, conv.runs) == ("conv", None, 4, 32)
    assert (coord.better, coord.equivalent, coord.inconclusive, coord.worse) == (2, 0, 1, 1)
    assert coord.improvement is not None
    assert coord.improvement.low <= coord.improvement.value <= coord.improvement.high
    assert coord.improvement.value == pytest.approx((1 + 1 + 0 + 0.5) / 4, abs=0.02)
    table = over_tasks_table(comparison)
    assert table is not None
    assert table.groups[0].rows[1][-1] == "2 / 0 / 1 / 1"


def test_nothing_to_say_over_one_task_or_without_a_common_score(tmp_path: Path) -> None:
    one = made(tmp_path, {"a": 1.0})
    assert over_tasks(one) == []
    two = made(tmp_path, {"a": 1.0, "b": 1.0})
    assert over_tasks(replace(two, scores=SCORES[:1])) == []
    assert over_tasks_table(replace(two, scores=SCORES[:1])) is None


@pytest.mark.usefixtures("few")
def test_missing_runs_are_missing(tmp_path: Path) -> None:
    two = made(tmp_path, {"a": 1.0, "b": 1.0})
    kept = tuple(row for row in two.rows if row.cell.arm == "conv" or row.cell.task == "a")
    conv, coord = over_tasks(replace(two, rows=kept))
    assert (conv.tasks, coord.tasks, coord.runs) == (2, 1, 8)
    assert over_tasks(replace(two, rows=())) == []


def test_single_runs_have_no_interval() -> None:
    found = bootstrap([[np.array([1.0]), np.array([3.0])]], interquartile_mean)
    assert found.value == 2
    assert np.isnan([found.low, found.high]).all()
