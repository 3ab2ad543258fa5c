"""The coordinate layers against the convolution of concatenated planes, and in everything torch does with a layer."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from concatenation import assert_equal_to_concatenation, concatenate, concatenating, gradients
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sandbox.nn import coordconv, maps, planes
from sandbox.nn.convolve import add_map
from sandbox.nn.coordconv import (
    CoordConv,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    content_bound,
    from_concatenated,
    to_concatenated,
)

DOWN: dict[int, type[CoordConv]] = {1: CoordConv1d, 2: CoordConv2d, 3: CoordConv3d}
UP: dict[int, type[CoordConv]] = {1: CoordConvTranspose1d, 2: CoordConvTranspose2d, 3: CoordConvTranspose3d}
KINDS = [*DOWN.values(), *UP.values()]
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}

PADDING_MODES = ["zeros", "reflect", "replicate", "circular"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@st.composite
def layers_and_images(draw: st.DrawFn, transposed: bool) -> Callable[[], tuple[CoordConv, Tensor]]:
    """What makes a layer and images for it: outside, for the checks of types draw from Python's random stream."""
    axes = draw(st.sampled_from((1, 2, 2, 2, 3)))
    most = {1: 6, 2: 6, 3: 3}[axes]

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    groups = draw(st.integers(1, 3))
    kernel, dilation, stride = each(1, most), each(1, 2), each(1, 3)
    with_r = draw(st.booleans())
    arguments: dict[str, Any] = {
        "stride": stride, "dilation": dilation, "groups": groups, "bias": draw(st.booleans()),
        "with_r": with_r, "padding": each(0, 3), "dtype": torch.float64,
        "radius": draw(st.sampled_from(("centred", "offset"))) if with_r else "centred",
    }  # fmt: skip
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    size = each(1, 9 if axes < 3 else 5)
    if transposed:
        room = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        arguments["output_padding"] = tuple(draw(st.integers(0, most)) for most in room)
    batch, last = draw(st.integers(1, 3)), axes > 1 and draw(st.booleans())

    def make() -> tuple[CoordConv, Tensor]:
        layer = (UP if transposed else DOWN)[axes](*channels, kernel, **arguments)
        x = torch.randn(batch, channels[0], *size, dtype=torch.float64)
        return (layer.to(memory_format=LAST[axes]), x.contiguous(memory_format=LAST[axes])) if last else (layer, x)

    return make


def fits(layer: CoordConv, x: Tensor) -> bool:
    """Whether the output has at least one pixel."""
    for axis in range(x.dim() - 2):
        size, padding = x.shape[2 + axis], layer.padding[axis]
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        if layer.transposed:
            grown = (size - 1) * layer.stride[axis] - 2 * padding + reach + layer.output_padding[axis] + 1
        else:
            grown = size + 2 * padding - reach
        if grown < 1:
            return False
    return True


# A table is multiplied at once where it has few elements; else the map is interpolated; else the planes are convolved.
WAYS = pytest.mark.parametrize(("few", "most"), [(maps._FEW, maps._MOST), (0, maps._MOST), (0, 0)])


@WAYS
@pytest.mark.parametrize("transposed", [False, True])
def test_it_equals_concatenation(few: int, most: int, transposed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_FEW", few)
    monkeypatch.setattr(maps, "_MOST", most)

    @given(layers_and_images(transposed))
    @settings(max_examples=120, deadline=None, derandomize=True)
    def check(make: Callable[[], tuple[CoordConv, Tensor]]) -> None:
        case = make()
        assume(fits(*case))
        planes.kept.clear()
        assert_equal_to_concatenation(*case)

    check()
    planes.kept.clear()


@WAYS
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_equals_concatenation_on_images_of_usual_sizes(
    few: int, most: int, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_FEW", few)
    monkeypatch.setattr(maps, "_MOST", most)
    planes.kept.clear()
    for layer, size in (
        (CoordConv2d(3, 4, 7, stride=2, padding=3, dtype=torch.float64), (56, 41)),
        (CoordConv2d(2, 3, 3, padding=5, dilation=5, padding_mode="circular", dtype=torch.float64), (24, 31)),
        (CoordConv2d(2, 3, 5, padding=2, padding_mode="reflect", dtype=torch.float64), (24, 31)),
        (CoordConvTranspose2d(2, 3, 4, stride=2, padding=1, dtype=torch.float64), (24, 31)),
        (CoordConvTranspose2d(2, 3, 2, stride=3, output_padding=1, dtype=torch.float64), (24, 31)),
        (CoordConvTranspose2d(2, 3, 1, stride=3, dtype=torch.float64), (1, 4)),  # fewer pixels than phases
    ):
        x = torch.randn(2, layer.in_channels, *size, dtype=torch.float64).contiguous(memory_format=memory_format)
        assert_equal_to_concatenation(layer, x)
    planes.kept.clear()


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


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_double_backward(transposed: bool, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = CoordConvTranspose2d if transposed else CoordConv2d
    for few in (maps._FEW, 0):
        monkeypatch.setattr(maps, "_FEW", few)
        planes.kept.clear()
        layer = kind(2, 2, 3, stride=2, padding=2, groups=groups, dtype=torch.float64)
        x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)

        def run(x: Tensor, weight: Tensor, coordinate: Tensor, bias: Tensor, layer: CoordConv = layer) -> Tensor:
            del layer.weight, layer.bias, layer.coordinate_weight
            layer.weight, layer.bias, layer.coordinate_weight = weight, bias, coordinate
            return layer(x)

        inputs = (x, layer.weight, layer.coordinate_weight, layer.bias)
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
        assert layer.coordinate_weight.grad is not None
        results.append(torch.cat([layer.weight.grad, layer.coordinate_weight.grad], 1))
    tolerance = 5e-2 if autocast else 1e-5
    scale = float(results[1].abs().max())
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(
    "frozen", ["weight", "coordinate", "bias", "input", "weight and bias", "all of weight, coordinate, bias"]
)
def test_frozen_parts_get_no_gradient(frozen: str) -> None:
    layer, x = CoordConv2d(2, 3, 3), torch.randn(2, 2, 5, 5, requires_grad="input" not in frozen)
    layer.weight.requires_grad_("weight" not in frozen)
    layer.bias.requires_grad_("bias" not in frozen)
    layer.coordinate_weight.requires_grad_("coordinate" not in frozen)
    inputs = [each for each in (x, layer.weight, layer.coordinate_weight, layer.bias) if each.requires_grad]
    for ours, theirs in zip(gradients(layer(x), *inputs), gradients(concatenating(layer, x), *inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


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
    for weight in (plain.weight, layer.weight, layer.coordinate_weight):
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
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_a_concatenating_port_load_and_go_back(
    kind: type[CoordConv], order: Any, with_r: bool, groups: int
) -> None:
    ours = kind(4, 6, 3, groups=groups, with_r=with_r)
    plain: Any = next(of for of, own in coordconv.KINDS.items() if own is kind)
    size = (5, 7, 6)[: len(ours.kernel_size)]
    x = torch.randn(2, 4, *size)
    port = plain(4 + groups * ours.coordinates, 6, 3, groups=groups)
    weight = from_concatenated(ours, port.weight, order)
    ours.load_state_dict({**port.state_dict(), "weight": weight})
    torch.testing.assert_close(ours(x), port(concatenate(x, groups, with_r, order)))
    assert torch.equal(to_concatenated(ours, order), port.weight)
    ours.load_state_dict(ours.state_dict())


def test_weights_that_do_not_fit_are_refused() -> None:
    layer = CoordConv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"\(4, 3, 3, 3\).*\(4, 5, 3, 3\)"):
        from_concatenated(layer, torch.zeros(4, 3, 3, 3))
