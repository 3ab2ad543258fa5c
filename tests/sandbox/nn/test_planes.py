"""The coordinate planes: their values, what is cached and saved of them, and their precision."""

import io

import pytest
import torch
from concatenation import concatenating
from torch import Tensor

from sandbox.nn import planes
from sandbox.nn.coordconv import CoordConv, CoordConv2d, CoordConvTranspose2d
from sandbox.nn.maps import table_of
from sandbox.nn.planes import coordinate_planes


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


def test_the_radius_of_older_ports_is_measured_from_a_half() -> None:
    """What the authors' first release and its ports compute; their weights need it."""
    rows, columns, radius = coordinate_planes(5, 9, with_r=True, radius="offset")
    torch.testing.assert_close(radius, ((rows - 0.5) ** 2 + (columns - 0.5) ** 2).sqrt())
    assert radius[3, 6] == 0
    layers = [CoordConv2d(2, 3, 3, with_r=True, radius=kind) for kind in ("centred", "offset")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(1, 2, 8, 8)
    assert (layers[0](x) - layers[1](x)).abs().max() > 0.01
    assert "radius='offset'" in repr(layers[1])


@pytest.mark.usefixtures("unchecked")
def test_a_radius_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'middle' is unknown: it is 'centred' or 'offset'"):
        CoordConv2d(2, 3, 3, with_r=True, radius="middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs with_r=True"):
        CoordConv2d(2, 3, 3, radius="offset")


def test_signals_and_volumes_have_a_plane_for_each_axis() -> None:
    (positions,) = coordinate_planes(5)
    assert positions.tolist() == [-1, -0.5, 0, 0.5, 1]
    depth, rows, columns, radius = coordinate_planes(3, 5, 7, with_r=True)
    assert (depth[0] == -1).all()
    assert (rows[:, 1] == -0.5).all()
    assert (columns[..., 3] == 0).all()
    assert float(radius[0, 0, 0]) == pytest.approx(3**0.5)


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
def test_channels_count_the_radius_and_every_group(kind: type[CoordConv]) -> None:
    """Known bug of ports: the channel count forgets the radius plane."""
    for with_r, coordinates in ((False, 2), (True, 3)):
        layer = kind(4, 6, 3, groups=2, with_r=with_r)
        own = (6, coordinates, 3, 3) if kind is CoordConv2d else (coordinates, 6, 3, 3)
        assert layer.coordinate_weight.shape == own
        assert f"with_r={with_r}" in repr(layer)
        assert layer(torch.randn(2, 4, 5, 5)).shape[1] == 6


def test_the_state_dict_holds_weights_and_bias_only() -> None:
    """Known bug of ports: the planes are saved with the weights."""
    layer = CoordConv2d(3, 4, 3)
    layer(torch.randn(2, 3, 5, 5)).sum().backward()
    assert list(layer.state_dict()) == ["weight", "bias", "coordinate_weight"]
    saved = io.BytesIO()
    torch.save(layer.state_dict(), saved)
    saved.seek(0)
    other = CoordConv2d(3, 4, 3)
    other.load_state_dict(torch.load(saved, weights_only=True))
    x = torch.randn(2, 3, 6, 4)
    assert torch.equal(layer(x), other(x))


def test_planes_and_tables_are_built_once() -> None:
    """Known bug of ports: the planes are built at every call."""
    assert coordinate_planes(6, 11) is coordinate_planes(6, 11)
    layer, x = CoordConv2d(2, 2, 3), torch.randn(1, 2, 6, 11)
    layer(x)
    size = len(planes.kept)
    layer(x)
    CoordConv2d(2, 5, 3)(x)
    CoordConv2d(2, 4, 3, groups=2)(x)
    assert len(planes.kept) == size
    wanted = layer._geometry(), (6, 11), torch.float32, x.device
    assert table_of(*wanted) is table_of(*wanted)


def test_the_cache_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes.kept, "limit", 20_000)
    for size in range(20, 40):
        coordinate_planes(size, size)
        held = [tensor for made, _ in planes.kept._found.values() for tensor in planes._tensors(made)]
        own = sum(4 * tensor.numel() for tensor in held)
        assert planes.kept.size == own + len(planes.kept) * planes._ENTRY <= 20_000
    assert coordinate_planes(39, 39) is coordinate_planes(39, 39)
    assert coordinate_planes(200, 200) is not coordinate_planes(200, 200)
    assert len(planes.kept) > 0
    for size in range(1000):
        planes.kept.get(size, lambda: (None,))  # what is found not to be worth keeping takes room as well
    assert len(planes.kept) <= 20_000 / planes._ENTRY
    planes.kept.clear()


def test_a_new_size_at_every_step_keeps_little_and_is_exact() -> None:
    """What a detector asks for. A decomposition for each size took 8 s for 60 of them, and kept 700 MB for 250."""
    planes.kept.clear()
    layer = CoordConv2d(3, 8, 7, stride=2, padding=3)
    for k in range(250):
        layer(torch.randn(1, 3, 150 + k, 400 - k))
    assert planes.kept.size < 16 * 2**20
    planes.kept.clear()


def test_training_works_after_a_first_call_in_inference_mode() -> None:
    """Known bug of caches: a tensor born in inference mode cannot take part in a backward pass."""
    planes.kept.clear()
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
    planes.kept.clear()
    with torch._subclasses.FakeTensorMode():
        layer = CoordConv2d(2, 3, 3)
        assert layer(torch.randn(2, 2, 5, 6)).shape == (2, 3, 3, 4)
        coordinate_planes(5, 6)
    assert type(coordinate_planes(5, 6)) is Tensor
