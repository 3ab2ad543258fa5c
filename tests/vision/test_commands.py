"""The door of the coordinate tasks as a user runs it."""

import signal
from pathlib import Path

import pytest
from shop import Workshop, fault, outcome

PLACE = Path("smoke/vision/regression/quadrant/coord/seed-0")
FLAGS = ("--task", "regression", "--split", "quadrant", "--coord", "--smoke", "--device", "cpu", "--precision", "32")


@pytest.fixture(scope="module")
def whole(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The root of a run that was left alone, and what it printed."""
    root = tmp_path_factory.mktemp("whole")
    command = workshop.module("sandbox.vision", *FLAGS, "--root", root)
    assert command.wait() == 0, command.stderr
    return root, command.stdout


def test_it_prints_its_scores_and_where_everything_lies(whole: tuple[Path, str]) -> None:
    root, printed = whole
    for text in ("score/test_error", "score/train_error_worst", "parameters", str(root / PLACE / "samples")):
        assert text in printed
    assert {"interpolation.gif", "training.gif"} <= {path.name for path in (root / PLACE / "samples").iterdir()}


def test_killed_and_started_again_it_ends_the_same(workshop: Workshop, whole: tuple[Path, str], tmp_path: Path) -> None:
    command = workshop.module("sandbox.vision", *FLAGS, "--root", tmp_path, before=fault(30, "kill"))
    assert command.wait() == -signal.SIGKILL
    assert not (tmp_path / PLACE / "result.json").exists()
    again = workshop.module("sandbox.vision", *FLAGS, "--root", tmp_path)
    assert again.wait() == 0, again.stderr
    ends = [outcome(root / PLACE) for root in (tmp_path, whole[0])]
    for end in ends:
        assert end["weights"].pop("record.safetensors")  # how long it took
    assert ends[0] == ends[1]


def test_a_wrong_task_is_one_line_and_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    command = workshop.module("sandbox.vision", "--task", "classifcation", "--root", tmp_path)
    assert command.wait() == 2
    (line,) = command.stderr.splitlines()
    assert "did you mean 'classification'?" in line
    assert list(tmp_path.iterdir()) == []
