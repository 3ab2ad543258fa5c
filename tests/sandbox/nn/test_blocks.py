"""The switch between plain and coordinate convolutions, the folded upsampling, and weights that pair two arms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate

from sandbox.base.seeding import keyed_generator
from sandbox.nn.blocks import Convolutions, DownBlock, UpBlock, upsampled_conv
from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d
from sandbox.nn.seeding import seed_parameters

MODES = ("zeros", "reflect", "replicate", "circular")


@pytest.mark.parametrize("layers", ["first", "all"])
@pytest.mark.parametrize("coord", [False, True])
def test_the_switch_decides_every_layer(coord: bool, layers: str) -> None:
    convs = Convolutions(coord, layers)  # type: ignore[arg-type]
    made = [convs.conv(3, 4, 3, first=True), convs.conv(4, 4, 3), convs.conv_transpose(4, 4, 5)]
    knows = [isinstance(layer, CoordConv2d | CoordConvTranspose2d) for layer in made]
    assert knows == ([True, layers == "all", layers == "all"] if coord else [False] * 3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_sizes_are_kept_divided_and_multiplied(kernel: int, stride: int) -> None:
    convs, x = Convolutions(True, with_r=True), torch.zeros(2, 3, 8, 12)
    assert convs.conv(3, 5, kernel, stride)(x).shape == (2, 5, 8 // stride, 12 // stride)
    if kernel >= stride:
        assert convs.conv_transpose(3, 5, kernel, stride)(x).shape == (2, 5, 8 * stride, 12 * stride)
    assert UpBlock(convs, 3, 5)(x).shape == (2, 5, 16, 24)
    assert DownBlock(convs, 3, 5)(x).shape == (2, 5, 4, 6)


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    coord=st.booleans(),
    with_r=st.booleans(),
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    bias=st.booleans(),
)
def test_folded_upsampling_equals_upsampling(
    mode: str, coord: bool, with_r: bool, height: int, width: int, bias: bool
) -> None:
    torch.manual_seed(height * 13 + width)
    conv = Convolutions(coord, with_r=with_r, padding_mode=mode).conv(3, 4, 3).double()  # type: ignore[arg-type]
    if not bias:
        conv.bias = None
    images = [torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    images[1].data.copy_(images[0].data)
    expected, folded = conv(interpolate(images[0], scale_factor=2.0)), upsampled_conv(conv, images[1])
    torch.testing.assert_close(folded, expected, atol=1e-12, rtol=0)
    seeds = torch.randn_like(expected)
    grads = []
    for out, x in zip((expected, folded), images, strict=True):
        grads.append(torch.autograd.grad(out, [x, *conv.parameters()], seeds))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_folding_refuses_what_it_cannot_fold() -> None:
    with pytest.raises(ValueError, match="3x3"):
        upsampled_conv(nn.Conv2d(3, 3, 5, padding=2), torch.zeros(1, 3, 8, 8))


def _network(coord: bool) -> nn.Sequential:
    convs = Convolutions(coord)
    return nn.Sequential(convs.conv(3, 8, 3), nn.BatchNorm2d(8), convs.conv_transpose(8, 4, 5), nn.Flatten())


def test_arms_share_their_content_weights_and_nothing_else_is_drawn_from_their_stream() -> None:
    plain, coord = _network(False), _network(True)
    for network in (plain, coord):
        torch.manual_seed(id(network) % 1000)  # what torch's own stream holds must not matter
        seed_parameters(network, 7, "net")
    for name in ("0", "2"):
        content, coordinate = (coord.get_parameter(f"{name}.{part}weight") for part in ("", "coordinate_"))
        torch.testing.assert_close(content, plain.get_parameter(f"{name}.weight"), atol=0, rtol=0)
        bound = content.abs().max().item()
        assert 0.5 * bound < coordinate.abs().max().item() <= 1.05 * bound
    with torch.no_grad():
        for name in ("0", "2"):
            coord.get_submodule(name).coordinate_weight.zero_()  # type: ignore[operator]
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(coord.eval()(x), plain.eval()(x), atol=1e-6, rtol=0)


def test_seeds_and_keys_give_other_weights() -> None:
    draws = []
    for seed, key in ((0, "a"), (1, "a"), (0, "b"), (0, "a")):
        layer = nn.Linear(4, 4)
        seed_parameters(layer, seed, key)
        draws.append(layer.weight.detach().clone())
    assert torch.equal(draws[0], draws[3])
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_weights_have_the_stated_spread(gain: float) -> None:
    layer = nn.Conv2d(64, 256, 3)
    seed_parameters(layer, 0, gain=gain)
    assert layer.weight.std().item() == pytest.approx(gain / (64 * 9) ** 0.5, rel=0.01)
    assert layer.bias is not None
    assert not layer.bias.any()


def test_a_keyed_generator_depends_on_its_key_alone() -> None:
    first = torch.rand(3, generator=keyed_generator(0, "x", 1))
    torch.rand(5)
    assert torch.equal(first, torch.rand(3, generator=keyed_generator(0, "x", 1)))
    assert not torch.equal(first, torch.rand(3, generator=keyed_generator(0, "x", 2)))
