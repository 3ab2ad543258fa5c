"""The coordinate planes: their values, what is cached and saved of them, and their precision."""

import io

import pytest
import torch
from concatenation import concatenating
from torch import Tensor

from sandbox.nn import planes
from sandbox.nn.coordconv import CoordConv, CoordConv2d, CoordConvTranspose2d, coordinate_planes


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("with_r", [False, True])
@pytest.mark.parametrize(("height", "width"), [(5, 9), (9, 5), (1, 7), (7, 1), (1, 1), (2, 300)])
def test_planes_run_from_minus_one_to_one_on_their_own_axis(height: int, width: int, with_r: bool) -> None:
    """Known bugs of ports: H and W swapped, one scaled by the other's size, division by zero on a one-pixel axis."""
    made = coordinate_planes(height, width, with_r=with_r)
    assert made.shape == (3 if with_r else 2, height, width)
    assert made.isfinite().all()
    rows, columns = made[0], made[1]
    for line, size in ((rows[:, 0], height), (columns[0], width)):
        expected = torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1)
        torch.testing.assert_close(line, expected, rtol=0, atol=1e-6)
        assert line[-1] == -line[0]
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()


def test_the_radius_is_centred() -> None:
    """Known bug of ports: the distance to (0.5, 0.5) in coordinates from -1 to 1."""
    radius = coordinate_planes(5, 7, with_r=True)[2]
    assert radius[2, 3] == 0
    for corner in (radius[0, 0], radius[0, -1], radius[-1, 0], radius[-1, -1]):
        assert float(corner) == pytest.approx(2**0.5)
    assert torch.equal(radius, radius.flip(0))
    assert torch.equal(radius, radius.flip(1))


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
def test_channels_count_the_radius_and_every_group(kind: type[CoordConv]) -> None:
    """Known bug of ports: the channel count forgets the radius plane."""
    for with_r, coordinates in ((False, 2), (True, 3)):
        layer = kind(4, 6, 3, groups=2, with_r=with_r)
        grouped = (6, 2 + coordinates, 3, 3) if kind is CoordConv2d else (4 + 2 * coordinates, 3, 3, 3)
        assert layer.weight.shape == grouped
        assert f"with_r={with_r}" in repr(layer)
        assert layer(torch.randn(2, 4, 5, 5)).shape[1] == 6


def test_the_state_dict_holds_weight_and_bias_only() -> None:
    """Known bug of ports: the planes are saved with the weights."""
    layer = CoordConv2d(3, 4, 3)
    layer(torch.randn(2, 3, 5, 5)).sum().backward()
    assert list(layer.state_dict()) == ["weight", "bias"]
    saved = io.BytesIO()
    torch.save(layer.state_dict(), saved)
    saved.seek(0)
    other = CoordConv2d(3, 4, 3)
    other.load_state_dict(torch.load(saved, weights_only=True))
    x = torch.randn(2, 3, 6, 4)
    assert torch.equal(layer(x), other(x))


def test_planes_and_basis_are_built_once() -> None:
    """Known bug of ports: the planes are built at every call."""
    assert coordinate_planes(6, 11) is coordinate_planes(6, 11)
    layer, x = CoordConv2d(2, 2, 3), torch.randn(1, 2, 6, 11)
    layer(x)
    size = len(planes._cache)
    layer(x)
    CoordConv2d(2, 5, 3)(x)
    assert len(planes._cache) == size
    geometry = layer._geometry()
    basis = planes.position_basis(geometry, x, False, torch.float32)
    assert basis is planes.position_basis(geometry, x, False, torch.float32)


def test_the_cache_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "_CACHE_ENTRIES", 3)
    for size in range(20, 30):
        coordinate_planes(size, size)
    assert len(planes._cache) <= 3


def test_training_works_after_a_first_call_in_inference_mode() -> None:
    """Known bug of caches: a tensor born in inference mode cannot take part in a backward pass."""
    planes._cache.clear()
    layer, x = CoordConv2d(2, 3, 3), torch.randn(2, 2, 13, 12)
    with torch.inference_mode():
        layer(x)
        layer.position_map(x)
        coordinate_planes(13, 12)
    layer(x).sum().backward()
    layer.position_map(x).sum().backward()
    assert not coordinate_planes(13, 12).is_inference()


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_autocast_computes_the_map_in_float32(kind: type[CoordConv], memory_format: torch.memory_format) -> None:
    """Known bug of ports: the planes stay float32, and the output with them, under mixed precision."""
    layer = kind(3, 8, 3, padding=1).to(memory_format=memory_format)
    x = torch.randn(4, 3, 40, 300).contiguous(memory_format=memory_format)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
        silent = layer(torch.zeros_like(x))
        assert out.is_contiguous(memory_format=memory_format)
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() < 0.02 * exact.abs().max()
    # Without content only the map is left: rounded once, and not at each step.
    rounded = layer.position_map(x).to(torch.bfloat16).expand_as(silent)
    assert torch.equal(silent, rounded)
    out.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_whole_layer_in_another_precision(dtype: torch.dtype) -> None:
    layer, x = CoordConv2d(3, 4, 3).to(dtype), torch.randn(2, 3, 5, 300, dtype=dtype)
    out = layer(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), concatenating(layer.double(), x.double()), rtol=2e-2, atol=2e-2)


def test_fake_tensors_are_not_cached() -> None:
    planes._cache.clear()
    with torch._subclasses.FakeTensorMode():
        layer = CoordConv2d(2, 3, 3)
        assert layer(torch.randn(2, 2, 5, 6)).shape == (2, 3, 3, 4)
        coordinate_planes(5, 6)
    assert type(coordinate_planes(5, 6)) is Tensor
