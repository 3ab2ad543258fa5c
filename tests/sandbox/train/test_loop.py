import json
import math
import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shop import SmokeRun, Workshop, curves, files, python, wrapped
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from sandbox.base.errors import UserError
from sandbox.experiment.run import read_run
from sandbox.nn.counting import multiply_adds
from sandbox.train.device import resolve_device, resolve_precision
from sandbox.train.finish import _growth
from sandbox.train.loop import _Curve
from sandbox.train.tracking import read_metrics

PLACE = Path("toy/toy/coord/seed-0")


# ---- a curve's points are what they say


def test_a_point_is_the_mean_since_the_last_point_and_steps_are_images(workshop: Workshop, tmp_path: Path) -> None:
    body = """
def new(self, step):
    import torch
    old(self, step)
    return {"loss/toy": torch.tensor(float(step))} | ({"loss/rare": torch.tensor(-1.0)} if step % 3 == 0 else {})
"""
    assert workshop.toy("--root", tmp_path, before=wrapped("step", body)).wait() == 0
    points = [point for point in read_metrics(tmp_path / PLACE) if "loss/toy" in point]
    batch, rare = 8, {4: True, 6: True, 10: True}  # steps 3, 6 and 9 are read at 4, 6 and 10
    assert points == [
        {"images": step * batch, "loss/toy": step - 0.5} | ({"loss/rare": -1.0} if step in rare else {})
        for step in (2, 4, 6, 8, 10)
    ]
    found = {(tag, images) for tag, images, _ in curves(tmp_path / PLACE)}
    assert {("samples", 0), ("samples", 32), ("samples", 64), ("samples", 88), ("interpolation", 88)} <= found
    assert ("score/error", 88) in found
    assert ("score/undefined", 88) in found


def test_tensorboard_shows_the_pictures_that_a_study_draws_at_the_end(workshop: Workshop, tmp_path: Path) -> None:
    body = """import io
from PIL import Image
import toy.spec
object.__setattr__(toy.spec.SPEC.captions, "pictures", {"map": "where it errs", "later": "of settings that draw none"})
def new(self):
    content = io.BytesIO()
    Image.new("RGB", (12, 8), "red").save(content, "PNG")
    return {"map.png": content.getvalue(), "map.csv": b"1\\n"}
"""
    assert workshop.toy("--root", tmp_path, before=wrapped("files", body)).wait() == 0
    assert [(tag, images) for tag, images, _ in curves(tmp_path / PLACE) if tag in ("map", "later")] == [("map", 88)]
    assert (tmp_path / PLACE / "samples/map.png").is_file()


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


def test_the_sample_grids_become_a_film_whatever_is_left_of_them(smoke_run: SmokeRun, tmp_path: Path) -> None:
    with Image.open(smoke_run.folder / "samples/training.gif") as found:
        assert (getattr(found, "n_frames", 0), found.size) == (4, (530, 530))  # before step 1, after 3, 6 and 8
    run = replace(read_run(smoke_run.folder), folder=tmp_path)
    run.samples.mkdir()
    assert _growth(run) is None
    for step, size in ((0, 9), (3, 8), (6, 8), (8, 8)):  # the first under other code
        Image.new("RGB", (size, size), (step, 0, 0)).save(run.samples / f"step-{step:08d}.png")
    film = _growth(run)
    assert film is not None
    assert film[:, 0, 0, 0].tolist() == [3, 6, 8] + 5 * [8]


@pytest.mark.slow
def test_both_arms_draw_the_same_curves_in_the_run_itself(
    workshop: Workshop, smoke_run: SmokeRun, tmp_path: Path
) -> None:
    # The other arm needs no full scores: a histogram of 20 samples instead of 1000, short films.
    other = workshop.start(f"""
import sys, runpy
import gan.study, sandbox.scores.samples
sandbox.scores.samples.LOCATED = 20
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


# ---- the bar


def test_the_bar_has_the_losses_and_the_primary_score_s_curve(workshop: Workshop, tmp_path: Path) -> None:
    done = workshop.toy("--root", tmp_path)
    assert done.wait() == 0
    last = done.stderr.splitlines()[-1]
    assert "toy=" in last
    assert "error=" in last
    assert "undefined" not in last


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


def test_a_cpu_computes_channels_last_and_bf16_refuses_to_continue_a_float32_run(
    workshop: Workshop, tmp_path: Path
) -> None:
    seen = workshop.start("""
import torch, sandbox.train.device, gan.study
for precision in ("bf16", "32"):
    fabric = sandbox.train.device.make_fabric("cpu", precision)
    with fabric.autocast():
        print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    study = gan.study.GanStudy(gan.study.GanConfig(width=2, d_width=2, images=64), fabric)
    weights = [p for m in study.modules.values() for p in m.parameters() if p.dim() == 4]
    print(all(p.is_contiguous(memory_format=torch.channels_last) for p in weights))
""")
    assert seen.wait() == 0, seen.stderr
    bf16, last, full, other = seen.stdout.split()
    assert (bf16, last, full) == ("torch.bfloat16", "True", "torch.float32")
    assert other == "True"
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


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_freed_block_is_used_again_without_asking_the_kernel() -> None:
    code = """
import resource, sys
import numpy as np
from sandbox.base.memory import keep_freed_memory
assert sys.argv[1] == "as it is" or keep_freed_memory()
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(2**24, np.uint8) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [int(python("-c", code, how, cwd=Path.cwd()).stdout) for how in ("as it is", "kept")]
    assert faults[1] < 100 < faults[0]  # in the last of eight rounds


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
