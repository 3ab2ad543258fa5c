"""Arms' films of different size and length side by side, and the pictures that a study draws."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from sandbox.experiment.spec import Captions, Score
from sandbox.film.encode import encode_gif
from sandbox.report import gallery
from sandbox.report.comparison import Cell, Comparison
from sandbox.report.page import write_report
from tests.sandbox.report.test_plots import made

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
    film = gallery.film(comparison, None, "interpolation")
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
    film = gallery.film(comparison, None, "interpolation")
    assert film is not None
    label = ImageFont.load_default(14).getlength("coord: a ($ and %) 0.01")
    assert film.frames.shape[1:3] == (22 + 8 + 12, 12 + 2 * (int(label) + 4 + 12))


def test_a_long_label_takes_several_lines(tmp_path: Path) -> None:
    long = Score("score/a", "higher", "displacement (pixels), crops, receptive fields inside", primary=True)
    comparison = replace(made(tmp_path, seeds=1), scores=(long,))
    for arm in comparison.arms:
        write_gif(tmp_path / arm / "seed-0", 3, (8, 200))
    film = gallery.film(comparison, None, "interpolation")
    assert film is not None
    assert film.frames.shape[1] == 3 * 22 + 8 + 12, "three lines of at most 28 letters"
    assert film.frames.shape[2] < 2 * (240 + 12)


def test_a_film_of_half_the_frames_at_half_the_rate_keeps_step(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    write_gif(tmp_path / "conv/seed-0", 8, (8, 8), fps=50)
    write_gif(tmp_path / "coord/seed-0", 4, (8, 8), fps=25)
    film = gallery.film(comparison, None, "interpolation")
    assert film is not None
    assert (len(film.frames), film.fps) == (8, 50)


def test_frames_that_stay_keep_their_time(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    write_gif(tmp_path / "conv/seed-0", 6, (8, 8))
    still = np.zeros((6, 8, 8, 3), np.uint8)
    still[4:] = 255  # stored as two frames, of four and of two times the length
    (tmp_path / "coord/seed-0/samples").mkdir(parents=True)
    (tmp_path / "coord/seed-0/samples/interpolation.gif").write_bytes(encode_gif(still, 20))
    film = gallery.film(comparison, None, "interpolation")
    assert film is not None
    middle = film.frames[:, 22 + 4, -12 - (film.frames.shape[2] - 36) // 4, 0]
    assert middle.tolist() == [0, 0, 0, 0, 255, 255]


def test_a_damaged_film_is_left_out_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(tmp_path, seeds=1)
    for arm in comparison.arms:
        write_gif(tmp_path / arm / "seed-0", 3, (8, 8))
    (tmp_path / "conv/seed-0/samples/interpolation.gif").write_bytes(b"GIF89a, torn")
    assert gallery.film(comparison, None, "interpolation") is None
    assert "interpolation.gif is no film that can be read" in capsys.readouterr().err


def test_an_arm_without_film_means_none(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1)
    write_gif(tmp_path / "conv/seed-0", 3, (8, 8))
    assert gallery.film(comparison, None, "interpolation") is None


def test_nothing_to_show(tmp_path: Path) -> None:
    assert gallery.film(made(tmp_path, rows=()), None, "interpolation") is None
    assert gallery.drawing(made(tmp_path, rows=()), None, "map") is None


def test_many_arms_lie_in_several_rows(tmp_path: Path) -> None:
    comparison = made(tmp_path, seeds=1, arms=tuple(f"arm{k}" for k in range(9)))
    for arm in comparison.arms:
        write_gif(tmp_path / arm / "seed-0", 3, (20, 400))
    film = gallery.film(comparison, None, "interpolation")
    assert film is not None
    assert film.frames.shape == (3, 3 * (22 + 20 + 12), 12 + 3 * (400 + 12), 3), "nine as three rows of three"


# Pictures


def draw_map(folder: Path, size: tuple[int, int], grey: int) -> None:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), grey, np.uint8)).save(folder / "samples/map.png")


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """A study that draws ``map.png``; the runs of seed 0 were made before it did."""
    monkeypatch.setattr(Comparison, "captions", Captions(pictures={"map": "Where it errs."}))
    comparison = made(tmp_path)
    for k, arm in enumerate(comparison.arms):
        for seed in (1, 2):
            draw_map(tmp_path / arm / f"seed-{seed}", (30, 300 - 60 * k), 100 + k)
    return comparison


def test_pictures_lie_side_by_side_in_the_report(mapped: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    html = write_report(mapped).read_text()
    with Image.open(mapped.folder / "map.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (22 + 30 + 12, 12 + 2 * (300 + 12), 3)
    assert (pixels[22 + 15, 12 + 150, 0], pixels[22 + 15, 324 + 150, 0]) == (100, 101)
    assert html.count("Where it errs. Seed 1.") == 2  # the caption, and what is read aloud
    assert "![Where it errs. Seed 1.](map.png)" in (mapped.folder / "report.md").read_text()
    assert "the report's picture is made of other seeds" in capsys.readouterr().err


def test_a_picture_that_is_gone_leaves_no_old_one(mapped: Comparison) -> None:
    write_report(mapped)
    for seed in (1, 2):
        (mapped.folder.parent / f"conv/seed-{seed}/samples/map.png").unlink()
    assert "Where it errs" not in write_report(mapped).read_text()
    assert not (mapped.folder / "map.png").exists()


def test_a_damaged_picture_is_left_out_with_a_warning(mapped: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    (mapped.folder.parent / "conv/seed-1/samples/map.png").write_bytes(b"no picture")
    assert gallery.drawing(mapped, None, "map") is None
    assert re.search(r"map\.png .*the report goes without this picture", capsys.readouterr().err)


def test_every_task_has_its_pictures(mapped: Comparison) -> None:
    rows = tuple(replace(row, cell=Cell("near", row.cell.arm, row.cell.seed)) for row in mapped.rows)
    assert [*gallery.drawings(replace(mapped, tasks=("near",), rows=rows))] == ["map-near"]
