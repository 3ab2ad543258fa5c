"""The primary score over tasks that are steps of one quantity: drawn only where a study says so."""

import math
from pathlib import Path

import numpy as np
import pytest

from sandbox.experiment.spec import Captions, Score
from sandbox.film.figures import draw
from sandbox.report.across import tasks_figure
from sandbox.report.comparison import Cell, Comparison, Row
from sandbox.report.page import write_report

SCORES = (Score("score/a", "higher", "a", primary=True), Score("score/b", "lower", "b"))
TASKS = ("grid1", "grid2")


def made(tmp: Path, tasks: tuple[str | None, ...] = TASKS, seeds: int = 2) -> Comparison:
    """Seed s of arm k at task t has a = s + 10 k + 100 t; of the second arm's last task there is no run."""
    rows = [
        Row(Cell(task, arm, seed), tmp / f"{task}-{arm}-{seed}", "complete", None,
            {"score/a": seed + 10.0 * k + 100 * t, "score/b": None}, {}, {}, [])
        for t, task in enumerate(tasks) for k, arm in enumerate(("conv", "coord")) for seed in range(seeds)
        if (t, k) != (1, 1)
    ]  # fmt: skip
    return Comparison("toy", "x", tmp, "x.yaml", "again", ("conv", "coord"), scores=SCORES, budget="steps",
                      tasks=tasks, seeds=tuple(range(seeds)), rows=tuple(rows))  # fmt: skip


@pytest.fixture(autouse=True)
def captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comparison, "captions", Captions(across="pixels", beside=("score/b",)))


def test_points_are_means_and_bars_intervals(tmp_path: Path) -> None:
    figure = tasks_figure(made(tmp_path))
    assert figure is not None
    first, second = figure.axes
    assert [label.get_text() for label in first.get_xticklabels()] == list(TASKS)
    assert first.get_xlabel() == "pixels"
    conv, coord = first.containers
    np.testing.assert_allclose(conv.lines[0].get_ydata().astype(float), [0.5, 100.5])
    np.testing.assert_allclose(coord.lines[0].get_ydata().astype(float), [10.5])
    half = 12.7062047 * math.sqrt(0.5) / math.sqrt(2)  # t(1) at .975
    (low, high) = conv.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))
    assert not second.containers  # a score that no run has


def test_there_is_none_unless_the_study_says_what_its_tasks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tasks_figure(made(tmp_path, tasks=(None,))) is None
    monkeypatch.setattr(Comparison, "captions", Captions())
    assert tasks_figure(made(tmp_path)) is None


def test_single_seeds_have_no_bars_and_the_page_shows_the_figure(tmp_path: Path) -> None:
    assert draw(lambda: tasks_figure(made(tmp_path, seeds=1))) is not None
    write_report(made(tmp_path))
    assert (tmp_path / "comparison" / "tasks.png").is_file()
    assert "Points: means over seeds" in (tmp_path / "comparison" / "report.html").read_text()
    assert "tasks.png" in (tmp_path / "comparison" / "report.md").read_text()
