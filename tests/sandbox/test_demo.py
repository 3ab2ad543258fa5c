"""What `make demo` runs, shrunk: both arms, one picture of both, one table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def _demo(root: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sandbox.demo", "--smoke", "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_demo_trains_both_arms_and_lays_them_side_by_side(tmp_path: Path) -> None:
    first = _demo(tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "smoke/gan/sort_of_clevr"
    assert {path.parent.name for path in folder.glob("*/seed-0")} == {"conv", "coord"}
    with Image.open(folder / "seed-0.gif") as film:
        assert getattr(film, "n_frames", 1) >= 15
        assert film.width > 1.8 * film.height
        picture = np.asarray(film.convert("RGB"))
    assert picture.std() > 10
    assert str(folder / "seed-0.gif") in first.stdout
    assert f"tensorboard --logdir {folder}" in first.stdout
    rows = [line.split() for line in first.stdout.splitlines() if line.startswith("valid")]
    assert rows == [["valid", "0.000", "0.000", "1.000"]]  # untrained networks make nothing valid, the data all
    again = _demo(tmp_path)
    assert again.returncode == 0
    assert again.stdout.count("is complete") == 2


def test_the_demo_takes_the_flags_of_the_door_and_refuses_others() -> None:
    done = subprocess.run([sys.executable, "-m", "sandbox.demo", "--smok"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--smoke" in done.stderr
    assert "Traceback" not in done.stderr
