import json
import math
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import SmokeRun, Workshop, curves, files, outcome
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from sandbox.checkpoints import newest_checkpoint
from sandbox.errors import UserError
from sandbox.training import _Curve, _stop_requests, multiply_adds, resolve_device, resolve_precision

PLACE = Path("toy/toy/coord/seed-0")
CODES = {"kill": -signal.SIGKILL, "interrupt": 130, "terminate": 130, "full": 1}


def fault(operation: int, kind: str) -> str:
    """Code that puts a fault before an operation on files; see workshop/faults.py."""
    return f"import faults\nfaults.at_operation({operation}, {kind!r})"


def wrapped(method: str, body: str) -> str:
    """Code that replaces a method of the toy study; ``old`` is what stood there."""
    return f"import os, signal, toy.study\nold = toy.study.ToyStudy.{method}\n{body}\ntoy.study.ToyStudy.{method} = new"


@pytest.fixture(scope="module")
def untouched(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What an uninterrupted toy run ends with, and its number of operations on files."""
    root = tmp_path_factory.mktemp("untouched")
    end = "import atexit, os\nend = os._exit\nos._exit = lambda code: (print(faults.count, flush=True), end(code))"
    command = workshop.toy("--root", root, before=f"{fault(0, 'count')}\n{end}")
    assert command.wait() == 0
    return outcome(root / PLACE), int(command.stdout.splitlines()[-1])


# ---- a curve's points are what they say


def test_a_point_is_the_mean_since_the_last_point_and_steps_are_images(workshop: Workshop, tmp_path: Path) -> None:
    body = """
def new(self, step):
    import torch
    old(self, step)
    return {"loss/toy": torch.tensor(float(step))} | ({"loss/rare": torch.tensor(-1.0)} if step % 3 == 0 else {})
"""
    assert workshop.toy("--root", tmp_path, before=wrapped("step", body)).wait() == 0
    points = [line for line in map(json.loads, (tmp_path / PLACE / "metrics.jsonl").read_text().splitlines())
              if "loss/toy" in line]  # fmt: skip
    batch, rare = 8, {4: True, 6: True, 10: True}  # steps 3, 6 and 9 are read at 4, 6 and 10
    assert points == [
        {"images": step * batch, "loss/toy": step - 0.5} | ({"loss/rare": -1.0} if step in rare else {})
        for step in (2, 4, 6, 8, 10)
    ]
    found = {(tag, images) for tag, images, _ in curves(tmp_path / PLACE)}
    assert {("samples", 0), ("samples", 32), ("samples", 64), ("samples", 88), ("interpolation", 88)} <= found
    assert ("score/error", 88) in found
    assert ("score/undefined", 88) in found


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(-1e6, 1e6), min_size=1), min_size=1), st.data())
def test_a_curve_that_travels_through_a_checkpoint_forgets_nothing(
    rows: list[dict[str, float]], data: st.DataObject
) -> None:
    whole, parts, cut = _Curve({}), _Curve({}), data.draw(st.integers(0, len(rows)))
    for number, row in enumerate(rows):
        if number == cut:
            parts = _Curve(json.loads(json.dumps(parts.sums)))
        whole.add(row)
        parts.add(row)
    point = parts.point()
    assert point == whole.point()
    for tag, mean in point.items():
        seen = [row[tag] for row in rows if tag in row]
        assert mean == pytest.approx(math.fsum(seen) / len(seen), abs=1e-6)
    assert parts.point() == {}


def test_both_arms_draw_the_same_curves_in_the_run_itself(
    workshop: Workshop, smoke_run: SmokeRun, tmp_path: Path
) -> None:
    # The other arm needs no full scores: a histogram of 20 samples instead of 1000, short films.
    other = workshop.start(f"""
import sys, runpy
import gan.study, sandbox.metrics
sandbox.metrics.LOCATED = 20
film = gan.study.GanStudy.film
gan.study.GanStudy.film = lambda self, **asked: film(self, **{{**asked, "frames": 3}})
sys.argv = ["gan", *{smoke_run.flags!r}, "--no-coord", "--root", {str(tmp_path)!r}]
runpy.run_module("sandbox.gan", run_name="__main__", alter_sys=True)
""")
    assert other.wait() == 0, other.stderr
    conv = tmp_path / "smoke/gan/sort_of_clevr/conv/seed-0"
    points = [[(tag, images) for tag, images, _ in curves(folder)] for folder in (conv, smoke_run.folder)]
    assert points[0] == points[1]
    assert len(set(points[0])) == len(points[0])
    assert {"loss/generator", "loss/discriminator", "grad/generator", "score/valid", "samples"} <= dict(
        points[0]
    ).keys()
    assert max(images for _, images in points[0]) == 8 * 4
    assert not [path for path in conv.iterdir() if path.is_dir() and path.name not in ("checkpoints", "samples")]
    events = EventAccumulator(str(conv))
    events.Reload()
    assert "_hparams_/session_start_info" in events.summary_metadata


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
    reason = "body.safetensors is not what was written"
    assert again.complaints() == [f"warning: checkpoint {newest} is damaged ({reason}): using the one before it"]
    assert outcome(tmp_path / PLACE) == untouched[0]


# ---- losses that are not finite


def test_a_loss_that_is_not_finite_stops_the_run_with_what_is_needed_to_look_into_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    stopped = workshop.toy("--root", tmp_path, "--explode-at", 8)
    assert stopped.wait() == 1
    (line,) = stopped.complaints()
    assert line.startswith("error: loss/toy not finite at step 8. Last losses: step 4: ")
    assert "step 7: loss/toy " in line
    assert "step 8: loss/toy inf" in line
    assert line.endswith(f"Last good checkpoint: {tmp_path / PLACE / 'checkpoints' / 'step-00000006'}")
    before = files(tmp_path / PLACE / "checkpoints")
    again = workshop.toy("--root", tmp_path, "--explode-at", 8)
    assert again.wait() == 1
    assert "step 8: loss/toy inf" in again.complaints()[0]
    assert files(tmp_path / PLACE / "checkpoints") == before


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_gradient_that_is_not_finite_stops_the_run_too(workshop: Workshop, tmp_path: Path, value: str) -> None:
    body = f"""
def new(self, step):
    import torch
    return old(self, step) | ({{"grad/toy": torch.tensor(float("{value}"))}} if step == 2 else {{}})
"""
    stopped = workshop.toy("--root", tmp_path, before=wrapped("step", body))
    assert stopped.wait() == 1
    (line,) = stopped.complaints()
    assert line.startswith("error: grad/toy not finite at step 2. Last losses: step 1: ")
    assert line.endswith("Last good checkpoint: none")


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


# ---- device, precision, costs


@pytest.mark.parametrize(
    ("capabilities", "device", "precision"),
    [
        ({"avx512_bf16": True}, "cpu", "bf16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "cpu", "bf16"),
        ({"bf16": True}, "cpu", "bf16"),
        ({"avx512_bf16": False, "avx2": True}, "cpu", "32"),
        ({}, "cpu", "32"),
        ({"avx512_bf16": True}, "mps", "32"),
    ],
)
def test_auto_is_bf16_where_the_processor_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], device: str, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", device) == precision
    assert [resolve_precision(asked, device) for asked in ("32", "bf16")] == ["32", "bf16"]


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16"), (False, "32")])
def test_auto_on_a_gpu_asks_the_gpu(monkeypatch: pytest.MonkeyPatch, has: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert resolve_precision("auto", "cuda") == precision


def test_bf16_computes_channels_last_and_refuses_to_continue_a_float32_run(workshop: Workshop, tmp_path: Path) -> None:
    seen = workshop.start("""
import torch, sandbox.training, gan.study
for precision in ("bf16", "32"):
    fabric = sandbox.training.make_fabric("cpu", precision)
    with fabric.autocast():
        print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    study = gan.study.GanStudy(gan.study.GanConfig(width=2, d_width=2, images=64), fabric)
    weights = [p for m in study.modules.values() for p in m.parameters() if p.dim() == 4]
    print(all(p.is_contiguous(memory_format=torch.channels_last) for p in weights))
""")
    assert seen.wait() == 0, seen.stderr
    bf16, last, full, other = seen.stdout.split()
    assert (bf16, last, full) == ("torch.bfloat16", "True", "torch.float32")
    assert other == "False"
    assert workshop.toy("--root", tmp_path).wait() == 0  # its config says 32
    refused = workshop.toy("--root", tmp_path, "--precision", "bf16")
    assert refused.wait() == 2
    assert "precision: '32' -> 'bf16'" in refused.stderr


def test_a_run_of_auto_precision_is_refused_where_auto_is_another(workshop: Workshop, tmp_path: Path) -> None:
    machine = "import torch\ntorch.cpu.get_capabilities = lambda: {{'avx512_bf16': {}}}"
    flags = ("--root", tmp_path, "--precision", "auto", "--device", "cpu")
    assert workshop.toy(*flags, before=machine.format(True)).wait() == 0
    assert workshop.toy(*flags, before=machine.format(True)).wait() == 0
    refused = workshop.toy(*flags, before=machine.format(False))
    assert refused.wait() == 2
    assert "holds a run of another configuration (precision: 'bf16' -> '32')" in refused.stderr


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda", "mps")
    for device in ("cuda", "mps"):
        if resolve_device("auto") != device:
            with pytest.raises(UserError, match=f"device '{device}' is not available: here are auto, cpu"):
                resolve_device(device)  # type: ignore[arg-type]


def test_multiply_adds_of_a_convolution_and_a_linear_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 5 * 5, 7)).train()
    assert multiply_adds(network, torch.zeros(2, 3, 5, 5)) == 3 * 4 * 9 * 25 + 4 * 25 * 7
    assert network.training


def test_the_result_tells_the_time_over_all_sessions_and_the_memory_of_the_training(
    workshop: Workshop, tmp_path: Path
) -> None:
    body = """
import time
def new(self, step):
    time.sleep(0.1)
    if step == 5:
        os.kill(os.getpid(), signal.SIGINT)
    return old(self, step)
"""
    assert workshop.toy("--root", tmp_path, before=wrapped("step", body)).wait() == 130
    assert workshop.toy("--root", tmp_path).wait() == 0
    first = json.loads((tmp_path / PLACE / "result.json").read_text())
    assert first["seconds"] >= 0.5, "the first five steps took as long"
    assert first["steps_per_second"] == pytest.approx(11 / first["seconds"], rel=0.01)
    assert first["images"] == 88
    assert first["peak_memory_mb"] > 10
    assert workshop.toy("--root", tmp_path, "--evaluate").wait() == 0
    assert json.loads((tmp_path / PLACE / "result.json").read_text()) == first
