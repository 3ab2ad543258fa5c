"""The coordinate layers compiled, exported and over several processes, and the benchmark that times them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from concatenation import gradients
from odd import Standardised, given_weights
from parallel import layers, train_in_parallel
from shop import CHECKOUT
from torch import nn

from sandbox.nn.coordconv import CoordConv2d
from sandbox.nn.coordify import coordify, freeze_size

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.usefixtures("unchecked")
def test_compile_takes_the_whole_graph_at_any_size() -> None:
    torch._dynamo.reset()
    net, x = layers(), torch.randn(2, 3, 8, 12)
    compiled = torch.compile(net, fullgraph=True, dynamic=True)
    for image in (x, torch.randn(3, 3, 10, 14)):
        out, expected = compiled(image), net(image)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(gradients(out, *net.parameters()), gradients(expected, *net.parameters()), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_compile_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.delattr(torch.amp, "is_autocast_available")  # torch 2.11 breaks a graph where it is asked
    layer, x = CoordConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 8, 12)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        out, expected = compiled(x), layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dynamic", [False, True])
def test_export_and_onnx(dynamic: bool, tmp_path: Path) -> None:
    net, x = layers().eval(), torch.randn(2, 3, 8, 12)
    axes = {name: torch.export.Dim(name, min=2, max=64) for name in ("batch", "rows", "columns")}
    shapes = {0: axes["batch"], 2: 2 * axes["rows"], 3: 2 * axes["columns"]} if dynamic else None
    program = torch.export.export(net, (x,), dynamic_shapes=(shapes,))
    images = [x, torch.randn(3, 3, 10, 6)] if dynamic else [x]
    for image in images:
        torch.testing.assert_close(program.module()(image), net(image))
    torch.onnx.export(program, (), tmp_path / "net.onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for image in images:
        (out,) = session.run(None, {name: image.numpy()})
        torch.testing.assert_close(torch.tensor(out), net(image), rtol=1e-4, atol=1e-5)


def test_two_processes_get_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train_in_parallel, (str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    net, images = layers(), torch.randn(4, 3, 8, 12)
    net(images).square().mean().backward()
    for parameter, gradient in zip(net.parameters(), torch.load(tmp_path / "gradients.pt"), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


BENCHMARK = CHECKOUT / "benchmarks" / "coordconv.py"


def benchmark(*flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, BENCHMARK, *flags], capture_output=True, text=True, check=False)


def test_the_benchmark_runs_and_writes_its_ratios(tmp_path: Path) -> None:
    done = benchmark("--quick", "--device", "cpu", "--threads", "1", "--json", str(tmp_path / "ratios.json"))
    assert done.returncode == 0, done.stderr
    assert "goal 1.03" in done.stdout
    settings = json.loads((tmp_path / "ratios.json").read_text())["settings"]
    assert {"cpu, contiguous, float32", "cpu, channels last, float32"} <= set(settings)
    assert all(cell["ratio"] > 0 and cell["concatenating"] > 0 for cells in settings.values() for cell in cells)


def test_the_benchmark_refuses_wrong_flags() -> None:
    done = benchmark("--device", "abacus")
    assert done.returncode == 2
    assert "invalid choice: 'abacus'" in done.stderr


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("build", [
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 5, stride=3, padding=1)),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 7, stride=2, padding=3), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2)),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1)),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=2, dilation=2, padding_mode="circular")),
])  # fmt: skip
def test_export_allows_every_size_that_the_plain_network_allows(build: Callable[[], nn.Sequential]) -> None:
    dynamic = torch.export.Dim.DYNAMIC
    ranges, x = [], torch.randn(2, 3, 40, 56)
    for network in (build(), coordify(build(), "all")):
        program = torch.export.export(network, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},))
        ranges.append(sorted(str(each) for each in program.range_constraints.values()))
    assert ranges[0] == ranges[1]
    given_weights(network)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},))
    for size in ((40, 56), (23, 31), (64, 41)):
        image = torch.randn(3, 3, *size)
        torch.testing.assert_close(program.module()(image), network(image))


@pytest.mark.usefixtures("unchecked")
def test_layers_of_their_own_kind_are_compiled_and_exported_too() -> None:
    torch._dynamo.reset()
    network = coordify(nn.Sequential(Standardised(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)), "all")
    given_weights(network)
    x = torch.randn(2, 3, 8, 12)
    expected = network(x)
    torch.testing.assert_close(torch.compile(network, backend="aot_eager")(x), expected)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), expected)
    freeze_size(network, 8, 12)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), expected)
