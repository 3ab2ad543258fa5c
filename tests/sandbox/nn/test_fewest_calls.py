"""The way that coordinate layers go on a GPU, on a CPU: the same result in fewer operations."""

from collections.abc import Iterator

import pytest
import torch
from concatenation import assert_equal_to_concatenation

from sandbox.nn import blocks, convolve, maps, planes
from sandbox.nn.blocks import Convolutions, upsampled_conv
from sandbox.nn.coordconv import CoordConv, CoordConv2d, CoordConvTranspose2d


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The layers go the way of fewest calls, as on a GPU."""
    for module in (blocks, convolve, maps):
        monkeypatch.setattr(module, "counts_calls", lambda device: True)
    planes.kept.clear()
    yield
    planes.kept.clear()


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_way_of_a_gpu_equals_concatenation(kind: type[CoordConv], memory_format: torch.memory_format) -> None:
    for size in ((5, 7), (96, 80)):  # the larger one would be interpolated on a CPU, and its sum a node of its own
        layer = kind(3, 8, 3, stride=2, padding=1, with_r=True, dtype=torch.float64)
        x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=memory_format)
        assert_equal_to_concatenation(layer, x)
        torch.testing.assert_close(layer(x[0]), layer(x)[0])


def test_the_way_of_a_gpu_rounds_to_the_precision_of_the_output() -> None:
    layer, x = CoordConv2d(3, 8, 3, padding=1), torch.randn(4, 3, 40, 40)
    slope = torch.randn(4, 8, 40, 40)
    grads = []
    for bf16 in (True, False):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = layer(x)
            assert torch.is_autocast_enabled("cpu") is bf16
        assert out.dtype == (torch.bfloat16 if bf16 else torch.float32)
        out.backward(slope.to(out.dtype))
        grads.append([p.grad.clone() for p in layer.parameters() if p.grad is not None])
    assert len(grads[0]) == 3
    for coarse, fine in zip(*grads, strict=True):
        assert coarse.dtype == torch.float32
        assert (coarse - fine).norm() < 0.02 * fine.norm()


def test_upsampling_is_not_folded() -> None:
    conv, x = Convolutions(True).conv(3, 4, 3), torch.randn(2, 3, 16, 16)
    upsampled = torch.nn.functional.interpolate(x, scale_factor=2.0)
    assert torch.equal(upsampled_conv(conv, x), conv(upsampled))
