"""Disks that are small or may only be read, and one of two runs at work killed."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import commanded_apart, snapshot
from shop import WORKSHOP, Command, Said, Workshop, fault, outcome

pytestmark = pytest.mark.slow
PLACE = Path("toy/toy/coord/seed-0")
Mount = Callable[..., None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A folder, and what mounts a disk there, or changes it: ``mount("size=64k")``, ``mount("remount,ro")``."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no mount")
        if done.returncode:
            pytest.skip(f"may not mount: {done.stderr.strip()}")

    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def _compare(workshop: Workshop, root: Path, *flags: object) -> Command:
    return workshop.module("sandbox.compare", WORKSHOP / "toy.yaml", "--root", root, "--seeds", 2, *flags)


@pytest.mark.parametrize("size", [0, 4, 8, 16, 32, 48, 64, 96])
def test_a_run_on_a_small_disk_ends_with_one_line_and_goes_on_when_there_is_room(
    workshop: Workshop, disk: tuple[Path, Mount], untouched: tuple[dict[str, Any], int], size: int
) -> None:
    root, mount = disk
    mount(f"size={max(size, 4)}k,nr_inodes={4 if not size else 10_000}")
    full = commanded_apart(workshop.toy("--root", root))
    assert full.code in (1, 2), "it fits"
    (line,) = full.lines
    assert "No space left" in line
    assert str(root) in line
    mount("remount,size=64m,nr_inodes=10000")
    again = commanded_apart(workshop.toy("--root", root))
    assert (again.code, again.lines) == (0, [])
    assert outcome(root / PLACE) == untouched[0]


@pytest.mark.parametrize("size", [16, 64, 256, 512])
def test_a_comparison_on_a_small_disk_says_so_and_goes_on_when_there_is_room(
    workshop: Workshop, disk: tuple[Path, Mount], compared: tuple[Path, Said], size: int
) -> None:
    root, mount = disk
    mount(f"size={size}k")
    full = _compare(workshop, root)
    assert full.wait() in (1, 2)
    assert "No space left" in full.stderr
    assert "Traceback" not in full.stderr
    mount("remount,size=64m")
    again = _compare(workshop, root)
    assert again.wait() == 0, again.stderr
    for arm in ("conv", "coord"):
        assert outcome(root / f"toy/toy/{arm}/seed-1") == outcome(compared[0] / f"{arm}/seed-1")


def test_a_finished_run_on_a_disk_that_may_only_be_read_stays_as_it_is(
    workshop: Workshop, disk: tuple[Path, Mount]
) -> None:
    root, mount = disk
    mount("size=64m")
    assert workshop.toy("--root", root).wait() == 0
    before = snapshot(root)
    mount("remount,ro")
    for flags in ([], ["--evaluate"], ["--overwrite"]):
        answer = commanded_apart(workshop.toy("--root", root, *flags))
        assert answer.code == 2, (flags, answer)
        (line,) = answer.lines
        assert "Read-only" in line
        assert str(root) in line
    assert snapshot(root) == before


def test_nothing_new_is_begun_on_a_disk_that_may_only_be_read(workshop: Workshop, disk: tuple[Path, Mount]) -> None:
    root, mount = disk
    mount("size=64m")
    assert workshop.toy("--root", root, before=fault(60, "kill")).wait() == -signal.SIGKILL
    before = snapshot(root)
    mount("remount,ro")
    for flags in ([], ["--no-coord"]):
        answer = commanded_apart(workshop.toy("--root", root, *flags))
        assert answer.code == 2
        (line,) = answer.lines
        assert "Read-only" in line
        assert str(root) in line
    for flags in ([], ["--report-only"]):
        command = _compare(workshop, root, *flags)
        assert command.wait() == 2
        (line,) = command.complaints()
        assert "Read-only" in line
    assert snapshot(root) == before


def test_of_two_runs_at_work_one_is_killed_and_the_other_ends(
    workshop: Workshop, tmp_path: Path, compared: tuple[Path, Said]
) -> None:
    flags = ("--jobs", 2, "--steps", 4000, "--seeds", 1)
    command = _compare(workshop, tmp_path, *flags)
    curve = tmp_path / "toy/toy/coord/seed-0/metrics.jsonl"
    until = time.monotonic() + 90
    while not (curve.exists() and curve.stat().st_size > 1000):
        assert time.monotonic() < until
        time.sleep(0.02)
    done = subprocess.run(["pkill", "-KILL", "-f", f"sandbox.launcher.worker .*{tmp_path}.*coord"], check=False)
    assert done.returncode == 0
    assert command.wait() == 1
    assert "1 of 2 runs failed" in command.stderr
    assert "killed by SIGKILL" in command.stderr
    assert (tmp_path / "toy/toy/conv/seed-0/result.json").exists()
    again = _compare(workshop, tmp_path, *flags)
    assert again.wait() == 0, again.stderr
    log = (tmp_path / "toy/toy/comparison/logs/coord/seed-0.log").read_text()
    assert "interrupted, cpu, 32" in log
