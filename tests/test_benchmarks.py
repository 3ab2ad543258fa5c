"""The benchmarks run, and write what they measured; what they measure is for them to say, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gan_step.py"


def test_the_step_benchmark_checks_that_both_sides_agree_and_writes_its_ratio(tmp_path: Path) -> None:
    output = tmp_path / "ratio.json"
    command = [sys.executable, str(SCRIPT), "--smoke", "--rounds", "2", "--json", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert len(document["rounds"]) == 2
    assert document["ratio"] > 0
    assert f"ratio {document['ratio']:.2f}" in done.stdout


def test_a_wrong_flag_is_one_line() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--stepz", "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--steps" in done.stderr


def test_the_coordinate_benchmark_writes_both_arms_on_both_splits(tmp_path: Path) -> None:
    script, output = SCRIPT.with_name("coordinates.py"), tmp_path / "times.json"
    short = ["--seeds", "1", "--seconds", "1e-3", "--pair-seconds", "1e-3", "--batch", "4", "--c", "1"]
    command = [sys.executable, str(script), *short, "--json", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["coord"].keys() == document["pairs"].keys() == {"uniform", "quadrant"}
    assert document["coord"]["quadrant"][0]["perfect"] is False
    assert "0 of 1 seeds reached 100 %; 0 within 20 s" in done.stdout
    assert "quadrant, matched: " in done.stdout
    for plain, found in zip(("conv", "matched"), document["pairs"]["uniform"], strict=True):
        seconds, accuracy = found["curves"][plain][-1]
        assert (seconds, accuracy) == (found[plain], found["accuracy"])


def test_the_rooms_benchmark_writes_both_rates(tmp_path: Path) -> None:
    script, output = SCRIPT.with_name("rooms.py"), tmp_path / "rooms.json"
    command = [sys.executable, str(script), "--size", "16", "--rounds", "2", "--batch", "100", "--json", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert [len(document[name]) for name in ("processor", "clock")] == [2, 2]
    assert min(document["processor"]) > 0
    assert "rooms/s" in done.stdout


@pytest.mark.parametrize(
    ("beside", "env"),
    [
        ([], "Pong"),
        (["--subproc"], "Pong"),
        (["--agent", "ppo", "--no-coord"], "Pong"),
        (["--no-coord"], "minatar:breakout"),
    ],
    ids=["one process", "subproc", "ppo", "minatar"],
)
def test_the_atari_benchmark_writes_both_ratios(tmp_path: Path, beside: list[str], env: str) -> None:
    script, output = SCRIPT.with_name("atari.py"), tmp_path / "ratio.json"
    short = ["--smoke", "--rounds", "1", "--stretch", "8", "--env", env.lower(), "--device", "cpu"]
    command = [sys.executable, str(script), *short, "--json", str(output), *beside]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["env"] == env
    assert all(document[what]["ratio"] > 0 for what in ("games", "training"))
    assert f"training: theirs {document['training']['theirs_steps_per_second']:.0f}" in done.stdout


@pytest.mark.parametrize("flags", [[], ["--layouts"]], ids=["arms", "layouts"])
def test_the_steps_benchmark_says_what_it_ran_on_and_writes_a_ratio_for_each_pair(
    tmp_path: Path, flags: list[str]
) -> None:
    script, output = SCRIPT.with_name("steps.py"), tmp_path / "steps.json"
    short = ["--only", "padding", "--rounds", "1", "--seconds", "0.1", "--precision", "32", "--json", str(output)]
    done = subprocess.run([sys.executable, str(script), *short, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert list(document["pairs"]) == (["padding zeros", "padding zeros_coord"] if flags else ["padding"])
    assert all(row["ratio"] > 0 and len(row["rounds"]) == 1 for row in document["pairs"].values())
    assert "bf16 instructions" in done.stdout.splitlines()[0]
    assert ("goal 1.03" in done.stdout) == (not flags)


def test_a_wrong_flag_of_the_steps_benchmark_is_one_line() -> None:
    command = [sys.executable, str(SCRIPT.with_name("steps.py")), "--only", "gam"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
