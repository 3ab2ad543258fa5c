"""The benchmarks run, and write what they measured; what they measure is for them to say, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

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
