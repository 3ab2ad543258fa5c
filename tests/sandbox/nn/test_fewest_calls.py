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
        monkeypatch.setattr(module, "is_call_bound", lambda device: True)
    planes.kept.clear()
    yield
    planes.kept.clear()


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_way_of_a_gpu_equals_concatenation(kind: type[CoordConv], memory_format: torch.memory_format) -> None:
    for size in ((5, 7), (96, 80)):
        layer = kind(3, 8, 3, stride=2, padding=1, with_r=True, dtype=torch.float64)
        x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=memory_format)
        assert_equal_to_concatenation(layer, x)
        assert layer(x).grad_fn.name() == "AddBackward0"  # on a CPU the larger sum is a node of our own
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


@pytest.mark.parametrize(("size", "tables"), [(96, 1), (300, 3)])
def test_a_map_is_one_product_but_for_large_images(size: int, tables: int) -> None:
    table = maps.table_of(CoordConv2d(3, 8, 3, padding=1)._geometry(), (size, size), torch.float32, torch.device("cpu"))
    assert table is not None
    assert 1 + sum(spread is not None for spread in table.spreads) == tables


def test_it_is_for_gpus() -> None:
    assert planes.is_call_bound(torch.device("cuda"))
    assert not planes.is_call_bound(torch.device("cpu"))
    assert not planes.is_call_bound(torch.device("meta"))


def test_autocast_is_on_again_after_an_error() -> None:
    def fail() -> None:
        with planes.full_precision(torch.device("cpu")):
            assert not torch.is_autocast_enabled("cpu")
            raise ValueError("inside")

    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match="inside"):
            fail()
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
