"""Curves over runs of different length, pictures that are the same every time, films of different size."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from sandbox.experiment.spec import Score
from sandbox.film.encode import encode_gif
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
    assert plots.film(comparison, None, "interpolation") is None


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


# Films


def write_gif(folder: Path, frames: int, size: tuple[int, int], fps: int = 20) -> None:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    grey = np.linspace(0, 255, frames).astype(np.uint8)
    film = np.broadcast_to(grey[:, None, None, None], (frames, *size, 3)).copy()
    film[:, 0, 0] = (255, 0, 0)
    (folder / "samples/interpolation.gif").write_bytes(encode_gif(film, fps))


def test_films_of_different_length_and_size(tmp_path: Path) -> None:
    comparison = made(tmp_path)
    write_gif(tmp_path / "conv/seed-1", 6, (20, 300))
    write_gif(tmp_path / "coord/seed-1", 9, (30, 240))
    film = plots.film(comparison, None, "interpolation")
    assert film is not None
    assert [row.cell for row in film.rows] == [Cell(None, "conv", 1), Cell(None, "coord", 1)]
    assert film.fps == 20
    assert film.frames.shape == (9, 22 + 30 + 12, 12 + 2 * (300 + 12), 3)
    conv, coord = film.frames[:, 22 + 10, 12 + 150, 0], film.frames[:, 22 + 10, 324 + 150, 0]
    assert (conv[5:] == conv[5]).all(), "the shorter film holds its last frame"
    assert len(set(coord.tolist())) == 9
    assert (film.frames[:, 22 + 25, 12 : 12 + 300] == 255).all(), "the smaller is padded with white"
    assert film.frames[:, :22].min() < 60, "labels"


def test_a_film_is_as_wide_as_its_label(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    for arm in comparison.arms:
        write_gif(tmp_path / arm / "seed-0", 3, (8, 8))
    film = plots.film(comparison, None, "interpolation")
    assert film is not None
    label = ImageFont.load_default(14).getlength("coord: a ($ and %) 0.01")
    assert film.frames.shape[2] >= 2 * label


def test_a_film_of_half_the_frames_at_half_the_rate_keeps_step(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    write_gif(tmp_path / "conv/seed-0", 8, (8, 8), fps=50)
    write_gif(tmp_path / "coord/seed-0", 4, (8, 8), fps=25)
    film = plots.film(comparison, None, "interpolation")
    assert film is not None
    assert (len(film.frames), film.fps) == (8, 50)


def test_frames_that_stay_keep_their_time(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    write_gif(tmp_path / "conv/seed-0", 6, (8, 8))
    still = np.zeros((6, 8, 8, 3), np.uint8)
    still[4:] = 255  # stored as two frames, of four and of two times the length
    (tmp_path / "coord/seed-0/samples").mkdir(parents=True)
    (tmp_path / "coord/seed-0/samples/interpolation.gif").write_bytes(encode_gif(still, 20))
    film = plots.film(comparison, None, "interpolation")
    assert film is not None
    middle = film.frames[:, 22 + 4, -12 - (film.frames.shape[2] - 36) // 4, 0]
    assert middle.tolist() == [0, 0, 0, 0, 255, 255]


def test_a_damaged_film_is_left_out_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(tmp_path, seeds=1)
    for arm in comparison.arms:
        write_gif(tmp_path / arm / "seed-0", 3, (8, 8))
    (tmp_path / "conv/seed-0/samples/interpolation.gif").write_bytes(b"GIF89a, torn")
    assert plots.film(comparison, None, "interpolation") is None
    assert "interpolation.gif is no film that can be read" in capsys.readouterr().err


def test_an_arm_without_film_means_none(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    write_gif(tmp_path / "conv/seed-0", 3, (8, 8))
    assert plots.film(comparison, None, "interpolation") is None
