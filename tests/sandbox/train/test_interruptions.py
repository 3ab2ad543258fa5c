import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import SmokeRun, Workshop, curves, fault, files, outcome, wrapped

from sandbox.train.checkpoints import newest_checkpoint
from sandbox.train.loop import _stop_requests

pytestmark = pytest.mark.slow

PLACE = Path("toy/toy/coord/seed-0")
CODES = {"kill": -signal.SIGKILL, "interrupt": 130, "terminate": 130, "full": 1}


# ---- killed, stopped, out of space: at every moment


@pytest.mark.parametrize(("kind", "stride"), [("kill", 2), ("interrupt", 7), ("terminate", 11), ("full", 4)])
def test_a_fault_at_any_moment_loses_nothing(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path, kind: str, stride: int
) -> None:
    """Before every operation on files that a run does, in the middle of its checkpoints too."""
    expected, operations = untouched
    assert operations > 60
    for operation in range(1, operations - 1, stride):
        root = tmp_path / str(operation)
        stopped = workshop.toy("--root", root, before=fault(operation, kind))
        assert stopped.wait() == CODES[kind]
        lines = stopped.complaints()
        assert [line.split(":")[0] for line in lines] == {"kill": [], "full": ["error"]}.get(kind, ["interrupted"])
        if kind == "full":
            assert lines[0].startswith(f"error: No space left on device: {root}")
        again = workshop.toy("--root", root)
        assert (again.wait(), again.complaints()) == (0, []), "no warning either: what a kill leaves is whole"
        assert outcome(root / PLACE) == expected
        shutil.rmtree(root)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.tuples(st.sampled_from(list(CODES)), st.integers(5, 60)), min_size=2, max_size=4))
def test_faults_that_follow_each_other_lose_nothing(
    workshop: Workshop,
    untouched: tuple[dict[str, Any], int],
    tmp_path_factory: pytest.TempPathFactory,
    faults: list[tuple[str, int]],
) -> None:
    root = tmp_path_factory.mktemp("run")
    for kind, operation in faults:
        assert workshop.toy("--root", root, before=fault(operation, kind)).wait() in (CODES[kind], 0)
    assert workshop.toy("--root", root).wait() == 0
    assert outcome(root / PLACE) == untouched[0]


@pytest.mark.parametrize("dies", [True, False])
@pytest.mark.parametrize("size", [1100, 2000, 3000, 6000])
def test_a_write_that_stops_half_way_loses_nothing(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path, size: int, dies: bool
) -> None:
    stopped = workshop.toy("--root", tmp_path, before=f"import faults\nfaults.file_limit({size}, dies={dies})")
    assert stopped.wait() == (-signal.SIGXFSZ if dies else 1)
    assert [line.startswith(f"error: File too large: {tmp_path}") for line in stopped.complaints()] == [True] * (
        not dies
    )
    again = workshop.toy("--root", tmp_path)
    assert (again.wait(), again.complaints()) == (0, [])
    assert outcome(tmp_path / PLACE) == untouched[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_is_whole(
    toy: str, workshop: Workshop, untouched: tuple[dict[str, Any], int], small_disk: Path
) -> None:
    steps = set()
    for free in range(0, 200, 16):  # KiB
        root = small_disk / "runs"
        shutil.rmtree(root, ignore_errors=True)
        (small_disk / "ballast").write_bytes(bytes((1008 - free) * 1024))
        full = workshop.toy("--root", root)
        if full.wait() == 0:
            break
        assert (full.wait(), len(full.complaints())) == (1, 1)
        assert full.complaints()[0].startswith("error: No space left on device")
        found = newest_checkpoint(root / PLACE / "checkpoints")
        steps.add(found.step if found else 0)
        (small_disk / "ballast").unlink()
        again = workshop.toy("--root", root)
        assert (again.wait(), again.complaints()) == (0, [])
        assert outcome(root / PLACE) == untouched[0]
    assert len(steps) > 2, "the disk filled up early and late"


def test_the_second_ctrl_c_does_not_wait_for_the_step(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    body = """
def new(self, step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise SystemExit("the step went on")
    return old(self, step)
"""
    stopped = workshop.toy("--root", tmp_path, before=wrapped("step", body))
    assert stopped.wait() == 130
    assert stopped.complaints() == ["interrupted: what was saved before is whole, the same command goes on from there"]
    assert workshop.toy("--root", tmp_path).wait() == 0
    assert outcome(tmp_path / PLACE) == untouched[0]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("step", [1, 4, 5, 11])
def test_a_stop_finishes_the_step_and_saves_it(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path, number: str, step: int
) -> None:
    body = f"""
def new(self, step):
    if step == {step}:
        os.kill(os.getpid(), signal.{number})
    return old(self, step)
"""
    stopped = workshop.toy("--root", tmp_path, before=wrapped("step", body))
    assert stopped.wait() == 130
    assert stopped.complaints() == [
        f"interrupted: stopped after step {step} of 11: everything is saved, the same command continues"
    ]
    found = newest_checkpoint(tmp_path / PLACE / "checkpoints")
    assert found is not None
    assert found.step == step
    assert workshop.toy("--root", tmp_path).wait() == 0
    assert outcome(tmp_path / PLACE) == untouched[0]


@pytest.mark.parametrize("method", ["__init__", "costs", "evaluate", "film"])
def test_a_stop_outside_the_training_is_one_line(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path, method: str
) -> None:
    body = """
def new(self, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    return old(self, *args, **kwargs)
"""
    stopped = workshop.toy("--root", tmp_path, before=wrapped(method, body))
    assert stopped.wait() == 130
    assert stopped.complaints() == ["interrupted: what was saved before is whole, the same command goes on from there"]
    assert workshop.toy("--root", tmp_path).wait() == 0
    assert outcome(tmp_path / PLACE) == untouched[0]


def test_stop_requests_are_heard_and_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with _stop_requests() as requests:
        assert not requests
        signal.raise_signal(signal.SIGTERM)
        assert requests == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    heard: list[bool] = []

    def elsewhere() -> None:
        with _stop_requests() as requests:
            heard.append(bool(requests))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard == [False], "a thread may train too"


def test_a_damaged_newest_checkpoint_costs_a_warning_and_a_few_steps(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    killed = workshop.toy("--root", tmp_path, before=fault(50, "kill"))
    assert killed.wait() == -9
    newest = sorted((tmp_path / PLACE / "checkpoints").glob("step-*"))[-1]
    (newest / "body.safetensors").write_bytes(b"torn")
    again = workshop.toy("--root", tmp_path)
    assert again.wait() == 0
    reason = "body.safetensors is not what was written: it has 4 bytes, not 624"
    assert again.complaints() == [f"warning: {newest} cannot be used ({reason}): set aside as damaged-{newest.name}"]
    assert outcome(tmp_path / PLACE) == untouched[0]


# ---- the real command


def test_the_real_command_killed_again_and_again_ends_with_the_same_weights(
    workshop: Workshop, smoke_run: SmokeRun, tmp_path: Path
) -> None:
    """SIGKILL at random moments, every one a little later than the one before; in the evaluation at last."""
    checkpoints = tmp_path / "smoke/gan/sort_of_clevr/coord/seed-0/checkpoints"
    chance, kills, patience = random.Random(0), 0, 0.5
    while not (checkpoints / "step-00000008").exists():
        command = workshop.module("sandbox.gan", *smoke_run.flags, "--root", tmp_path)
        until = patience * (1 + chance.random())
        for _ in range(int(until / 0.01)):
            workshop.listen(0.01)
            if (checkpoints / "step-00000008").exists():
                break
        command.kill(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
        kills, patience = kills + 1, patience * 1.3
    assert kills > 1
    found, expected = newest_checkpoint(checkpoints), newest_checkpoint(smoke_run.folder / "checkpoints")
    assert found is not None
    assert expected is not None
    for name in expected.names():
        assert files(found.path)[f"{name}.safetensors"] == files(expected.path)[f"{name}.safetensors"]
    assert repr(found.state) == repr(expected.state)


def test_the_real_command_interrupted_and_continued_draws_the_same_curves_and_scores(
    workshop: Workshop, smoke_run: SmokeRun, tmp_path: Path
) -> None:
    folder = tmp_path / "smoke/gan/sort_of_clevr/coord/seed-0"
    command = workshop.module("sandbox.gan", *smoke_run.flags, "--root", tmp_path)
    while not (folder / "checkpoints" / "step-00000003").exists():
        assert command.is_running()
    command.kill(signal.SIGINT)
    assert command.wait() == 130
    (line,) = command.complaints()
    assert line.startswith("interrupted: stopped after step ")
    again = workshop.module("sandbox.gan", *smoke_run.flags, "--root", tmp_path)
    assert (again.wait(), again.complaints()) == (0, [])
    assert "interrupted, cpu, 32" in again.stdout
    assert outcome(folder) == outcome(smoke_run.folder)
    points = [(tag, images) for tag, images, _ in curves(folder)]
    assert len(points) == len(set(points)) > 40
