"""Curves over runs of different length, pictures that are the same every time."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sandbox.experiment.spec import Score
from sandbox.film.figures import draw, looks
from sandbox.report.comparison import Cell, Comparison, Row
from sandbox.report.page import plots

SCORES = (Score("score/a", "higher", "a ($ and %)", primary=True, curve="preview/a"), Score("score/b", "lower", "b"))


def made(tmp: Path, seeds: int = 3, arms: tuple[str, ...] = ("conv", "coord"), **settings: Any) -> Comparison:
    """Complete runs without folders: seed s of arm k has the score s / 10 + k / 100 and a curve of five points."""
    rows = []
    for seed in range(seeds):
        for k, arm in enumerate(arms):
            curves = [{"images": 100.0 * i, "preview/a": float(seed + i), "loss/x": 1.0 / (i + 1)} for i in range(5)]
            folder = tmp / arm / f"seed-{seed}"
            value = {"score/a": seed / 10 + k / 100, "score/b": 1.0}
            rows.append(Row(Cell(None, arm, seed), folder, "complete", None, value, {}, {}, curves))
    values = {"tasks": (None,), "seeds": tuple(range(seeds)), "rows": tuple(rows), **settings}
    return Comparison("toy", "x", tmp, "x.yaml", "again", arms, scores=SCORES, budget="steps", **values)


def row(points: dict[float, float], seed: int = 0) -> Row:
    curves = [{"images": float(x), "y": y} for x, y in points.items()] + [{"images": 7.0, "other": 0.0}]
    return Row(Cell(None, "a", seed), Path("nowhere"), "complete", None, {}, {}, {}, curves)


def primary(comparison: Comparison) -> list[Any]:
    return [item for item in comparison.contrasts() if item.score.primary]


# Curves


def test_the_band_of_a_curve_worked_out_by_hand() -> None:
    line = plots.curve([row({0: 1.0, 10: 5.0}), row({0: 2.0, 10: 5.0}), row({0: 3.0, 10: 5.0})], "y")
    assert line is not None
    assert line.x.tolist() == [0, 10]
    assert line.mean.tolist() == [2, 5]
    half = 4.302652729911275 / math.sqrt(3)  # t(2) at .975, sd 1
    assert line.low.tolist() == pytest.approx([2 - half, 5])
    assert line.high.tolist() == pytest.approx([2 + half, 5])


def test_a_shorter_run_counts_as_far_as_it_got() -> None:
    line = plots.curve([row({0: 0.0, 10: 2.0, 20: 4.0}), row({0: 2.0, 10: 4.0})], "y")
    assert line is not None
    assert line.n.tolist() == [2, 2, 1]
    assert line.mean.tolist() == [1, 3, 4]
    assert np.isnan(line.low[2])


def test_runs_of_other_x_are_interpolated_and_never_extrapolated() -> None:
    line = plots.curve([row({0: 0.0, 20: 4.0}), row({10: 10.0, 30: 30.0})], "y")
    assert line is not None
    assert line.x.tolist() == [0, 10, 20, 30]
    assert line.n.tolist() == [1, 2, 2, 1]
    assert line.mean.tolist() == [0, (2 + 10) / 2, (4 + 20) / 2, 30]


def test_a_long_curve_is_thinned() -> None:
    line = plots.curve([row({x: float(x) for x in range(3000)})], "y")
    assert line is not None
    assert len(line.x) == plots.POINTS
    assert np.allclose(line.mean, line.x)


def test_no_curve_without_points() -> None:
    assert plots.curve([row({})], "y") is None
    assert plots.curve([], "y") is None


# Figures


@pytest.mark.parametrize("arms", [("conv",), ("conv", "coord"), ("a", "b", "c", "a_name_as_long_as_they_come")])
def test_pictures_are_the_same_every_time(tmp_path: Path, arms: tuple[str, ...]) -> None:
    comparison = made(tmp_path, arms=arms)
    for make in (
        lambda: plots.scores_figure(comparison, primary(comparison)),
        lambda: plots.curves_figure(comparison),
    ):
        first, second = draw(make), draw(make)
        assert first is not None
        assert first == second
        assert Image.open(io.BytesIO(first["png"])).width > 500
        svg = first["svg"].decode()
        assert "<dc:date>" not in svg
        assert str(tmp_path) not in svg


def test_the_users_own_settings_change_no_picture(tmp_path: Path) -> None:
    import matplotlib

    comparison = made(tmp_path)
    before = draw(lambda: plots.curves_figure(comparison))
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.hashsalt": "other"}):
        assert draw(lambda: plots.curves_figure(comparison)) == before
        assert matplotlib.rcParams["font.size"] == 20  # and the report leaves them alone


@pytest.mark.parametrize("name", ["日本", "_underscored", "naïve", "x" * 64])
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    comparison = made(tmp_path, arms=("conv", name))
    assert draw(lambda: plots.scores_figure(comparison, primary(comparison))) is not None
    assert draw(lambda: plots.curves_figure(comparison)) is not None


def test_nothing_to_show(tmp_path: Path) -> None:
    comparison = made(tmp_path, rows=())
    assert draw(lambda: plots.scores_figure(comparison, primary(comparison))) is None
    assert draw(lambda: plots.curves_figure(comparison)) is None


def test_one_seed_has_no_interval_and_is_drawn(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    assert draw(lambda: plots.scores_figure(comparison, primary(comparison))) is not None


def test_panels_are_the_scores_curves_and_the_losses(tmp_path: Path) -> None:
    tags = plots.curve_tags(made(tmp_path))
    assert list(tags) == ["preview/a", "loss/x"]


def test_no_two_of_twenty_arms_look_alike() -> None:
    look = looks([f"arm{i}" for i in range(20)])
    assert len(set(look.values())) == 20
    assert len({(part.marker, part.dash) for part in look.values()}) == 20  # in grey too
    assert len({(part.marker, part.colour) for part in look.values()}) == 20  # where there are points and no lines
