"""The arms side by side while they train: which samples are shown, and what is passed over."""

from pathlib import Path

import numpy as np
import pytest
from shop import WORKSHOP

from sandbox.cli.compare_parser import parse
from sandbox.data.pictures import read_picture
from sandbox.film.encode import png
from sandbox.launcher.plan import Cell
from sandbox.launcher.preview import Preview

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def preview(tmp_path: Path) -> Preview:
    plan = parse([str(WORKSHOP / "toy.yaml"), "--root", str(tmp_path), "--arms", "conv", "coord"])
    made = Preview(plan, Cell(None, "coord", 1))
    made.path.parent.mkdir(parents=True)  # as the runner has it, for the experiment's copy
    return made


def _sample(preview: Preview, arm: str, step: int, colour: tuple[int, ...] = RED, size: int = 40) -> Path:
    file = preview.path.parents[1] / arm / f"seed-1/samples/step-{step:08d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(png(np.full((size, 300, 3), colour, np.uint8)))
    return file


def test_the_newest_step_that_all_arms_have_is_shown_left_to_right(preview: Preview) -> None:
    assert not preview.renew()
    for arm, steps in {"conv": (0, 3, 6), "coord": (0, 3)}.items():
        for step in steps:
            _sample(preview, arm, step, RED if arm == "conv" else BLUE)
    assert preview.renew()
    assert preview.step == 3
    picture = np.asarray(read_picture(preview.path))
    row = picture[-20]
    assert row.tolist().index(list(RED)) < row.tolist().index(list(BLUE))
    assert (row == RED).all(1).sum() == (row == BLUE).all(1).sum() == 300


def test_it_says_so_once_and_goes_on(preview: Preview) -> None:
    for step in (3, 6):
        for arm in ("conv", "coord"):
            _sample(preview, arm, step)
        assert preview.renew() == (step == 3)
        assert not preview.renew()
    assert preview.step == 6


def test_untrained_networks_are_no_preview(preview: Preview) -> None:
    for arm in ("conv", "coord"):
        _sample(preview, arm, 0)
    assert not preview.renew()
    assert not preview.path.exists()


def test_what_is_damaged_or_of_another_size_waits_for_the_next(preview: Preview) -> None:
    _sample(preview, "conv", 3)
    _sample(preview, "coord", 3).write_bytes(b"no picture")
    assert not preview.renew()
    _sample(preview, "conv", 6)
    _sample(preview, "coord", 6, size=50)
    assert not preview.renew()
    for arm in ("conv", "coord"):
        _sample(preview, arm, 9)
    assert preview.renew()


def test_where_it_cannot_be_written_nothing_stops(preview: Preview) -> None:
    for arm in ("conv", "coord"):
        _sample(preview, arm, 3)
    preview.path.parent.rmdir()
    assert not preview.renew()
