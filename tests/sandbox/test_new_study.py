"""A new study is a folder and a YAML: it trains, continues, compares and is probed without a line in the sandbox."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from shop import CHECKOUT, WORKSHOP, Workshop, fault, outcome

YAML = WORKSHOP / "beacon.yaml"
PLACE = Path("beacon/beacon/coord/seed-0")


@pytest.fixture(scope="module")
def whole(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The root of a run that was left alone, and what it printed."""
    root = tmp_path_factory.mktemp("whole")
    command = workshop.module("sandbox", "train", YAML, "--coord", "--root", root)
    assert command.wait() == 0, command.stderr
    return root, command.stdout


def test_it_takes_three_files_and_no_line_elsewhere() -> None:
    assert sorted(path.name for path in (WORKSHOP / "beacon").glob("*.py")) == ["data.py", "spec.py", "study.py"]
    rooms = [CHECKOUT / name for name in ("sandbox", "gan", "vae", "rl", "vision", "pyproject.toml")]
    found = subprocess.run(["grep", "-rwl", "beacon", *map(str, rooms)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_it_trains_scores_and_shows_itself(whole: tuple[Path, str]) -> None:
    root, printed = whole
    assert "score/error" in printed
    assert (root / PLACE / "result.json").is_file()
    assert sorted(path.name for path in (root / PLACE / "samples").iterdir()) == [
        "step-00000000.png", "step-00000006.png", "step-00000012.png", "training.gif",
    ]  # fmt: skip
    costs = json.loads((root / PLACE / "result.json").read_text())
    assert costs["parameters"]["network"] == (1 + 2) * 9 * 8 + 8 + (8 + 2) * 9 * 2 + 2


@pytest.mark.parametrize("kind", ["kill", "interrupt"])
def test_stopped_in_the_middle_it_ends_the_same_whatever_was_prefetched(
    workshop: Workshop, whole: tuple[Path, str], tmp_path: Path, kind: str
) -> None:
    flags: tuple[Any, ...] = ("train", YAML, "--coord", "--root", tmp_path)
    command = workshop.module("sandbox", *flags, before=fault(45, kind))
    assert command.wait() == (-signal.SIGKILL if kind == "kill" else 130), command.stderr
    assert not (tmp_path / PLACE / "result.json").exists()
    assert list((tmp_path / PLACE / "checkpoints").glob("step-*"))
    again = workshop.module("sandbox", *flags)
    assert again.wait() == 0, again.stderr
    assert outcome(tmp_path / PLACE) == outcome(whole[0] / PLACE)


def test_the_number_of_workers_changes_nothing(workshop: Workshop, whole: tuple[Path, str], tmp_path: Path) -> None:
    command = workshop.module("sandbox", "train", YAML, "--coord", "--root", tmp_path, "--workers", 0)
    assert command.wait() == 0, command.stderr
    mine, theirs = (outcome(root / PLACE) for root in (tmp_path, whole[0]))
    assert mine["weights"] == theirs["weights"]


@pytest.mark.slow
def test_it_is_compared_and_probed(workshop: Workshop, whole: tuple[Path, str]) -> None:
    root = whole[0]
    command = workshop.module("sandbox.compare", YAML, "--seeds", 1, "--root", root, "--jobs", 2)
    assert command.wait() == 0, command.stderr
    assert (root / "beacon/beacon/comparison/report.html").is_file()
    names = workshop.module("sandbox", "train", YAML, "--coord-layers", "0,2", "--name", "named", "--root", root)
    assert names.wait() == 0, names.stderr
    wrong = workshop.module("sandbox", "train", YAML, "--coord-layers", "0,stem", "--name", "wrong", "--root", root)
    assert wrong.wait() == 2
    assert "no convolution is called 'stem': allowed are first, all, or names of 0, 2" in wrong.stderr
    video = workshop.module("sandbox.video", root / PLACE)
    assert video.wait() == 2
    assert video.complaints() == [f"error: {root / PLACE}: the study beacon makes no films"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_there", "the study 'broken' cannot be imported: ModuleNotFoundError: No module named"),
        ("SPEC = 1", "the study 'broken' has no StudySpec called SPEC in broken.spec"),
        ("def", "the study 'broken' cannot be imported: SyntaxError: invalid syntax"),
        (None, "no study 'broken': there are beacon, "),
    ],
)
def test_a_study_that_cannot_be_had_is_one_line(
    workshop: Workshop, tmp_path: Path, code: str | None, said: str
) -> None:
    (tmp_path / "broken").mkdir()
    if code is not None:
        (tmp_path / "broken/spec.py").write_text(code)
    (tmp_path / "it.yaml").write_text("study: broken")
    command = workshop.module("sandbox", "train", "it.yaml", cwd=tmp_path, before="import sys\nsys.path.insert(0, '.')")
    assert command.wait() == 2
    (line,) = command.stderr.splitlines()
    assert said.partition("beacon")[0] in line
    assert not (tmp_path / "runs").exists()


def test_a_name_in_a_file_imports_nothing_but_a_spec(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text("study: bomb")
    (tmp_path / "bomb.py").write_text("open('exploded', 'w')")
    command = workshop.module("sandbox", "train", "it.yaml", cwd=tmp_path, before="import sys\nsys.path.insert(0, '.')")
    assert command.wait() == 2
    assert not (tmp_path / "exploded").exists()
