"""The grid on Ray: two workers on this machine, one of them killed in the middle."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shop import WORKSHOP, Workshop, outcome

from sandbox.base.errors import UserError
from sandbox.cli.compare import main

pytestmark = pytest.mark.slow

TOY = str(WORKSHOP / "toy.yaml")
LONG = ("--steps", "1000", "--checkpoint-every", "100", "--log-every", "100", "--preview-every", "1000")


def _worker(root: Path, arm: str) -> tuple[int, int]:
    """The process that makes a run, and its parent, which is Ray's."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    ((pid, parent),) = [(int(pid), int(parent)) for pid, parent, line in rows
                        if "launcher.worker" in line and str(root) in line and f"/{arm}/" in line]  # fmt: skip
    return pid, parent


def test_what_is_killed_is_retried_and_ends_as_the_local_runs_do(workshop: Workshop, tmp_path: Path) -> None:
    root = tmp_path / "ray"
    command = workshop.module("sandbox.compare", TOY, "--root", root, *LONG, "--ray", "--jobs", 2)
    runs = [root / f"toy/toy/{arm}/seed-0" for arm in ("conv", "coord")]
    until = time.monotonic() + 120
    spared = dict(zip(runs, (0, 1), strict=True))  # of conv the run's own process, of coord Ray's worker above it
    while spared:
        assert command.is_running(), command.stderr
        assert time.monotonic() < until
        for run in [run for run in spared if any((run / "checkpoints").glob("step-*"))]:
            os.kill(_worker(root, run.parent.name)[spared.pop(run)], signal.SIGKILL)
        time.sleep(0.05)
    assert command.wait() == 0, command.stderr
    assert "coord against conv: inconclusive" in command.stdout
    for run, flag in zip(runs, ("--no-coord", "--coord"), strict=True):
        assert "interrupted, cpu, 32" in (root / f"toy/toy/comparison/logs/{run.parent.name}/seed-0.log").read_text()
        assert workshop.toy("--root", tmp_path / "local", *LONG, flag).wait() == 0
        assert outcome(run) == outcome(tmp_path / "local" / run.relative_to(root))


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1 (Connection refused)"),
     ("ray://127.0.0.1:1", "no Ray cluster at ray://127.0.0.1:1"),
     ("localhost", "'localhost': allowed are auto, HOST:PORT"),
     ("host:99999", "allowed are auto, HOST:PORT")],
)  # fmt: skip
def test_no_cluster_at_the_address_is_one_line(tmp_path: Path, toy: str, address: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        main([TOY, "--root", str(tmp_path), "--ray", address])


def test_without_ray_the_extra_is_named(tmp_path: Path, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'coordconv-sandbox\[cluster\]'"):
        main([TOY, "--root", str(tmp_path), "--ray"])
