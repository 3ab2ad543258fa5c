"""Every configuration that needs no files of one's own, shrunk, on a GPU: two arms of its first task."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sandbox.experiment.file import load_experiment

ROOT = Path(__file__).parents[1]
OTHERS = {"vision/position_own"}  # looks into runs that must be there
OWN_DATA = {"gan/lsun_bedroom", "gan/lsun_bedroom_128", "gan/lsun_small", "vision/imagenet", "vision/location_cifar10",
            "vision/shift_cifar10"}  # fmt: skip
CONFIGS = sorted(f"{path.parent.name}/{path.stem}" for path in (ROOT / "configs").glob("*/*.yaml"))
CASES = [
    *((name, False) for name in CONFIGS if name not in OTHERS | OWN_DATA),
    *((name, True) for name in ("gan/sort_of_clevr", "vae/sort_of_clevr", "vision/padding", "rl/mspacman")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("config", "compiled"), CASES)
def test_a_shrunk_comparison_runs_on_a_gpu(config: str, compiled: bool, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    experiment = load_experiment(config)
    flags = ["--arms", *list(experiment.arms)[:2], *["--compile"] * compiled]
    flags += ["--tasks", next(iter(experiment.tasks))] if experiment.tasks else []
    how = ("--smoke", "--seeds", "1", "--device", "cuda", "--root", str(tmp_path))
    command = [sys.executable, "-m", "sandbox.compare", config, *how, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
