"""The coordinate layers against the convolution of concatenated planes, and in everything torch does with a layer."""

import copy
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jaxtyping import config as jaxtyping_config
from parallel import layers, train_in_parallel
from shop import CHECKOUT
from torch import Tensor, nn

from sandbox.nn import planes
from sandbox.nn.coordconv import (
    CoordConv,
    CoordConv2d,
    CoordConvTranspose2d,
    add_map,
    content_bound,
    coordify,
    coordinate_planes,
    from_concatenated,
)

PADDING_MODES = ["zeros", "reflect", "replicate", "circular"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unchecked() -> Any:
    """Without the import hook's checks: compilers would trace through them, and they answer before ours do."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


def concatenate(x: Tensor, groups: int = 1, with_r: bool = False, order: str = "rows_first") -> Tensor:
    """The planes behind the content of each group, computed without any code of ours."""
    *_, height, width = x.shape
    ramps = [np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in (height, width)]
    grid = list(np.meshgrid(*ramps, indexing="ij"))
    grid = grid[::-1] if order == "columns_first" else grid
    grid += [np.hypot(*grid)] if with_r else []
    extra = torch.tensor(np.stack(grid), dtype=x.dtype).expand(len(x), -1, -1, -1)
    return torch.cat([part for content in x.chunk(groups, dim=1) for part in (content, extra)], dim=1)


def concatenating(layer: CoordConv, x: Tensor) -> Tensor:
    """What the layer must compute, as the paper writes it."""
    full = concatenate(x, layer.groups, layer.with_r)
    kind = (layer.stride, layer.padding)
    if isinstance(layer, CoordConvTranspose2d):
        extra = (layer.output_padding, layer.groups, layer.dilation)
        return F.conv_transpose2d(full, layer.weight, layer.bias, *kind, *extra)
    if layer.padding_mode != "zeros":
        full = F.pad(full, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        kind = (layer.stride, 0)
    weight = layer.weight
    if layer.groups > 1:  # the stored weight is one group's; the groups of `full` match it
        assert weight.shape[1] == full.shape[1] // layer.groups
    return F.conv2d(full, weight, layer.bias, *kind, layer.dilation, layer.groups)


def gradients(out: Tensor, *inputs: Tensor | None) -> list[Tensor]:
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return list(torch.autograd.grad(out, [each for each in inputs if each is not None], cotangent))


def assert_equal_to_concatenation(layer: CoordConv, x: Tensor, tolerance: float = 1e-10) -> None:
    x = x.requires_grad_()
    out, reference = layer(x), concatenating(layer, x)
    assert out.shape == reference.shape
    torch.testing.assert_close(out, reference, rtol=0, atol=tolerance)
    inputs = (x, layer.weight, layer.bias)
    for ours, theirs in zip(gradients(out, *inputs), gradients(reference, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def pair(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def layers_and_images(draw: st.DrawFn, transposed: bool) -> tuple[CoordConv, Tensor]:
    groups = draw(st.integers(1, 3))
    kernel, dilation, stride = draw(pair(1, 6)), draw(pair(1, 2)), draw(pair(1, 3))
    arguments: dict[str, Any] = {
        "stride": stride, "dilation": dilation, "groups": groups, "bias": draw(st.booleans()),
        "with_r": draw(st.booleans()), "padding": draw(pair(0, 3)), "dtype": torch.float64,
    }  # fmt: skip
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    size = draw(pair(1, 9))
    kind: type[CoordConv] = CoordConvTranspose2d if transposed else CoordConv2d
    if transposed:
        room = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        arguments["output_padding"] = tuple(draw(st.integers(0, most)) for most in room)
    layer = kind(*channels, kernel, **arguments)
    x = torch.randn(draw(st.integers(1, 3)), channels[0], *size, dtype=torch.float64)
    if draw(st.booleans()):
        layer, x = layer.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    return layer, x


def fits(layer: CoordConv, x: Tensor) -> bool:
    """Whether the output has at least one pixel."""
    for axis in (0, 1):
        size, padding = x.shape[2 + axis], layer.padding[axis]
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        if isinstance(layer, CoordConvTranspose2d):
            grown = (size - 1) * layer.stride[axis] - 2 * padding + reach + layer.output_padding[axis] + 1
        else:
            grown = size + 2 * padding - reach
        if grown < 1:
            return False
    return True


@given(layers_and_images(transposed=False))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_convolution_equals_concatenation(case: tuple[CoordConv, Tensor]) -> None:
    assume(fits(*case))
    assert_equal_to_concatenation(*case)


@given(layers_and_images(transposed=True))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_transposed_convolution_equals_concatenation(case: tuple[CoordConv, Tensor]) -> None:
    assume(fits(*case))
    assert_equal_to_concatenation(*case)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [2, (1, 2), "same", "valid"])
def test_every_padding(mode: str, padding: Any) -> None:
    layer = CoordConv2d(2, 3, 3, padding=padding, padding_mode=mode, with_r=True, dtype=torch.float64)
    assert_equal_to_concatenation(layer, torch.randn(2, 2, 5, 7, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch's, of the reference
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_same_padding_with_an_even_kernel_pads_the_end_more(mode: str) -> None:
    layer = CoordConv2d(2, 3, (4, 3), padding="same", padding_mode=mode, dtype=torch.float64)
    assert_equal_to_concatenation(layer, torch.randn(2, 2, 5, 7, dtype=torch.float64))


def test_padding_set_after_construction_holds_as_in_torch() -> None:
    layer = CoordConv2d(2, 3, 3, dtype=torch.float64)
    layer.padding = (2, 1)
    assert_equal_to_concatenation(layer, torch.randn(2, 2, 5, 7, dtype=torch.float64))


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
def test_an_image_too_large_for_the_cached_basis(kind: type[CoordConv], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "_BASIS_ELEMENTS", 0)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(3, 4, 5, 7, dtype=torch.float64).contiguous(memory_format=memory_format)
        assert_equal_to_concatenation(kind(4, 6, 3, stride=2, groups=2, dtype=torch.float64), x)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_double_backward(transposed: bool, groups: int) -> None:
    kind = CoordConvTranspose2d if transposed else CoordConv2d
    for kernel in (3, 6):  # 6: the basis in two factors
        layer = kind(2, 2, kernel, stride=2, padding=2, groups=groups, dtype=torch.float64)
        x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)

        def run(x: Tensor, weight: Tensor, bias: Tensor, layer: CoordConv = layer) -> Tensor:
            del layer.weight, layer.bias
            layer.weight, layer.bias = weight, bias
            return layer(x)

        inputs = (x, layer.weight, layer.bias)
        assert torch.autograd.gradcheck(run, inputs)
        assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_gradient_penalty_reaches_the_weight(autocast: bool) -> None:
    results = []
    for network in (lambda layer, x: layer(x), concatenating):
        torch.manual_seed(0)
        layer, x = CoordConv2d(3, 4, 3), torch.randn(2, 3, 6, 6, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = torch.tanh(network(layer, x)).sum()
            (slope,) = torch.autograd.grad(out, x, create_graph=True)
        slope.float().square().sum().backward()
        results.append(layer.weight.grad)
    tolerance = 5e-2 if autocast else 1e-5
    scale = float(results[1].abs().max())
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("frozen", ["weight", "bias", "input", "weight and bias"])
def test_frozen_parts_get_no_gradient(frozen: str) -> None:
    layer, x = CoordConv2d(2, 3, 3), torch.randn(2, 2, 5, 5, requires_grad="input" not in frozen)
    layer.weight.requires_grad_("weight" not in frozen)
    layer.bias.requires_grad_("bias" not in frozen)
    inputs = [each for each in (x, layer.weight, layer.bias) if each.requires_grad]
    for ours, theirs in zip(gradients(layer(x), *inputs), gradients(concatenating(layer, x), *inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


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


def test_wrong_inputs_fail_as_in_torch() -> None:
    layer = CoordConv2d(3, 4, 3)
    with pytest.raises(RuntimeError, match="channels"):
        layer(torch.randn(2, 4, 5, 5))
    with pytest.raises(RuntimeError, match="type"):
        layer(torch.randn(2, 3, 5, 5).double())
    with pytest.raises(RuntimeError, match="size"):
        layer(torch.randn(2, 3, 2, 2))
    with pytest.raises(ValueError, match="groups"):
        CoordConv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="zeros"):
        CoordConvTranspose2d(3, 4, 3, padding_mode="reflect")


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
def test_channels_last_is_kept(kind: type[CoordConv]) -> None:
    layer = kind(8, 16, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    out = layer(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.stride() == layer.weight.stride()


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
def test_unbatched_and_empty_batches(kind: type[CoordConv]) -> None:
    layer, x = kind(2, 3, 3, padding=1), torch.randn(2, 5, 6)
    torch.testing.assert_close(layer(x), layer(x[None])[0])
    assert layer(torch.zeros(0, 2, 5, 6)).shape == (0, 3, 5, 6)
    layer(torch.zeros(0, 2, 5, 6)).sum().backward()
    assert layer.weight.grad is not None
    assert not layer.weight.grad.any()


def test_output_size_of_the_transposed_layer() -> None:
    layer, x = CoordConvTranspose2d(2, 3, 3, stride=2, padding=1), torch.randn(2, 2, 4, 5)
    for size in ([7, 9], [8, 10], [8, 9]):
        out = layer(x, output_size=size)
        layer.output_padding = (size[0] - 7, size[1] - 9)
        torch.testing.assert_close(out, concatenating(layer, x))
    with pytest.raises(ValueError, match="output size"):
        layer(x, output_size=[20, 20])


@pytest.mark.parametrize("kind", [CoordConv2d, CoordConvTranspose2d])
def test_copies_pickles_and_meta_tensors(kind: type[CoordConv]) -> None:
    layer, x = kind(2, 3, 3, with_r=True), torch.randn(2, 2, 5, 6)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    hollow = kind(2, 3, 3, with_r=True, device="meta")
    assert hollow(x.to("meta")).shape == layer(x).shape
    filled = hollow.to_empty(device="cpu")
    filled.load_state_dict(layer.state_dict())
    assert torch.equal(filled(x), layer(x))


def test_fake_tensors_are_not_cached() -> None:
    planes._cache.clear()
    with torch._subclasses.FakeTensorMode():
        layer = CoordConv2d(2, 3, 3)
        assert layer(torch.randn(2, 2, 5, 6)).shape == (2, 3, 3, 4)
        coordinate_planes(5, 6)
    assert type(coordinate_planes(5, 6)) is Tensor


def test_per_sample_gradients() -> None:
    layer, x = CoordConv2d(2, 3, 3), torch.randn(4, 2, 5, 6)
    parameters = dict(layer.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, (image[None],)).square().sum()

    ours = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)["weight"]
    for image, gradient in zip(x, ours, strict=True):
        layer.zero_grad()
        layer(image[None]).square().sum().backward()
        torch.testing.assert_close(gradient, layer.weight.grad)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_start_of_the_content_does_not_depend_on_the_coordinates(transposed: bool) -> None:
    plain = (nn.ConvTranspose2d if transposed else nn.Conv2d)(32, 64, 3, groups=2)
    layer = (CoordConvTranspose2d if transposed else CoordConv2d)(32, 64, 3, groups=2, with_r=True)
    bound = content_bound(layer)
    assert bound == content_bound(plain)
    for weight in (plain.weight, *layer.split_weight()):
        assert 0.95 * bound < weight.abs().max() <= bound


def test_add_map_adds_in_place_and_sums_the_gradient() -> None:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(3, 4, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
        position = torch.randn(1, 4, 5, 6, requires_grad=True)
        fresh = x * 1
        out = add_map(fresh, position)
        assert out.data_ptr() == fresh.data_ptr()
        torch.testing.assert_close(out, x + position)
        for ours, theirs in zip(gradients(out, x, position), gradients(x + position, x, position), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("order", ["rows_first", "columns_first"])
@pytest.mark.parametrize("with_r", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_a_concatenating_port_load(order: Any, with_r: bool, groups: int) -> None:
    coordinates = groups * (3 if with_r else 2)
    x = torch.randn(2, 4, 5, 7)
    full = concatenate(x, groups, with_r, order)
    port = nn.Conv2d(4 + coordinates, 6, 3, groups=groups)
    ours = CoordConv2d(4, 6, 3, groups=groups, with_r=with_r)
    ours.load_state_dict({**port.state_dict(), "weight": from_concatenated(ours, port.weight, order)})
    torch.testing.assert_close(ours(x), port(full))
    port_up = nn.ConvTranspose2d(4 + coordinates, 6, 3, groups=groups)
    ours_up = CoordConvTranspose2d(4, 6, 3, groups=groups, with_r=with_r)
    ours_up.load_state_dict({**port_up.state_dict(), "weight": from_concatenated(ours_up, port_up.weight, order)})
    torch.testing.assert_close(ours_up(x), port_up(full))


def test_weights_that_do_not_fit_are_refused() -> None:
    layer = CoordConv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"\(4, 3, 3, 3\).*\(4, 5, 3, 3\)"):
        from_concatenated(layer, torch.zeros(4, 3, 3, 3))


def generator() -> nn.Sequential:
    up = [nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*up, nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1, bias=False), nn.Tanh())


@pytest.mark.parametrize("where", ["first", "all"])
@pytest.mark.parametrize("with_r", [False, True])
def test_coordify_keeps_what_a_network_computes(where: Any, with_r: bool) -> None:
    resnet = torchvision.models.resnet18(num_classes=10)
    for network, x in ((resnet, torch.randn(2, 3, 40, 56)), (generator(), torch.randn(2, 8, 4, 5))):
        network.eval()
        before, random_state = network(x), torch.get_rng_state()
        assert coordify(network, where=where, with_r=with_r) is network
        assert torch.equal(torch.get_rng_state(), random_state)
        torch.testing.assert_close(network(x), before, rtol=0, atol=1e-6)
        converted = [module for module in network.modules() if isinstance(module, CoordConv)]
        plain = [module for module in network.modules() if type(module) in (nn.Conv2d, nn.ConvTranspose2d)]
        assert len(converted) == (1 if where == "first" else len(converted))
        assert (not plain) == (where == "all")
        assert all(layer.with_r == with_r and not layer.training for layer in converted)
        network(x).square().sum().backward()
        assert all(layer.split_weight()[1].shape[1 - layer.transposed] == 2 + with_r for layer in converted)
        assert any(layer.weight.grad[:, -1].any() for layer in converted)
    assert isinstance(resnet.conv1, CoordConv2d)
    assert resnet.conv1.kernel_size == (7, 7)


def test_coordify_keeps_shared_layers_shared() -> None:
    network = nn.Module()
    network.a = network.b = nn.Conv2d(3, 3, 3)
    network.c = nn.Sequential(network.a, nn.Conv2d(3, 3, 3))
    network.d = nn.Conv2d(3, 3, 3)
    network.d.weight = network.c[1].weight
    coordify(network, where="all")
    assert isinstance(network.a, CoordConv2d)
    assert network.a is network.b is network.c[0]
    assert network.d is not network.c[1]
    assert network.d.weight is network.c[1].weight


def test_coordify_returns_a_bare_convolution_converted() -> None:
    plain = nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, dilation=2, groups=2, padding_mode="circular", bias=False)
    plain.weight.requires_grad_(False)
    plain.to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 12, 11)
    layer = coordify(plain)
    assert isinstance(layer, CoordConv2d)
    torch.testing.assert_close(layer(x), plain(x))
    assert not layer.weight.requires_grad
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert type(plain) is nn.Conv2d
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2)
    torch.testing.assert_close(coordify(up)(x), up(x))


@pytest.mark.usefixtures("unchecked")
def test_coordify_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"where='last'.*'first' or 'all'"):
        coordify(nn.Conv2d(1, 1, 1), where="last")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Linear holds no"):
        coordify(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="norm"):
        coordify(nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 3))))


def test_spectral_norm_of_a_coordinate_layer() -> None:
    layer = torch.nn.utils.parametrizations.spectral_norm(CoordConv2d(3, 4, 3), n_power_iterations=30)
    layer(torch.randn(2, 3, 5, 5)).sum().backward()
    assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=1e-3)


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
def test_compile_under_autocast() -> None:
    torch._dynamo.reset()
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
    assert "goal 1.05" in done.stdout
    settings = json.loads((tmp_path / "ratios.json").read_text())["settings"]
    assert {"cpu, contiguous, float32", "cpu, channels last, float32"} <= set(settings)
    assert all(cell["ratio"] > 0 and cell["concatenating"] > 0 for cells in settings.values() for cell in cells)


def test_the_benchmark_refuses_wrong_flags() -> None:
    done = benchmark("--device", "abacus")
    assert done.returncode == 2
    assert "invalid choice: 'abacus'" in done.stderr
