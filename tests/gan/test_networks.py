"""The published sizes, and one topology in both arms."""

from copy import deepcopy

import pytest
import torch

from gan.discriminators import MatchedDiscriminator, PaperDiscriminator
from gan.generators import MatchedGenerator, PaperCoordGenerator, PaperGenerator
from gan.spectral import normed
from gan.study import GanConfig, make_networks
from sandbox.nn.blocks import Convolutions
from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d
from sandbox.nn.counting import multiply_adds

PLAIN, FIRST = Convolutions(), Convolutions(True, "first")


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_paper_networks_have_the_published_sizes() -> None:
    plain, coord = PaperGenerator(PLAIN, 256), PaperCoordGenerator(FIRST, 256)
    assert _parameters(plain) / 1e6 == pytest.approx(6.4, abs=0.05)
    assert _parameters(coord) / 1e6 == pytest.approx(0.44, abs=0.005)
    z = torch.zeros(1, 256)
    first = 64 * 64 * 256 * 512  # as published; here one vector an image
    assert (multiply_adds(coord, z) + first) / multiply_adds(plain, z) == pytest.approx(11, abs=0.7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_published_generator_computes_what_the_latent_on_every_pixel_would(dtype: torch.dtype) -> None:
    generator, z = PaperCoordGenerator(FIRST, 8).double(), torch.randn(3, 8, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        images = generator(z)
        expected = torch.tanh(generator.layers(z[:, :, None, None].expand(-1, -1, 64, 64)))
    tolerance = 1e-12 if dtype == torch.float64 else 0.03
    torch.testing.assert_close(images, expected, rtol=tolerance, atol=tolerance)
    gradients = [torch.autograd.grad(out.square().sum(), list(generator.parameters())) for out in (images, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


def test_only_training_sees_the_published_generator_before_its_tanh() -> None:
    generator, z = PaperCoordGenerator(FIRST, 8, before_tanh=True), torch.randn(3, 8)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(4)
        raw, shown = generator(z), generator.eval()(z)
    assert raw.abs().max() > 1
    torch.testing.assert_close(shown, torch.tanh(raw))


@pytest.mark.parametrize(
    "generator",
    [
        PaperGenerator(PLAIN, 8),
        PaperCoordGenerator(FIRST, 8),
        MatchedGenerator(PLAIN, 8, 2),
        MatchedGenerator(FIRST, 8, 2, "tiled"),
    ],
    ids=("paper", "paper coord", "matched", "matched tiled"),
)
def test_generators_make_images_in_range(generator: torch.nn.Module) -> None:
    images = generator(3 * torch.randn(3, 8))
    assert images.shape == (3, 3, 64, 64)
    assert images.abs().max() <= 1


@pytest.mark.parametrize(
    "discriminator",
    [PaperDiscriminator(FIRST), MatchedDiscriminator(PLAIN, 2), MatchedDiscriminator(PLAIN, 2, "pooled")],
    ids=("paper", "matched", "matched pooled"),
)
def test_discriminators_give_a_score_an_image(discriminator: torch.nn.Module) -> None:
    assert discriminator(torch.zeros(3, 3, 64, 64)).shape == (3,)


def _coordinate_layers(network: torch.nn.Module) -> int:
    return sum(isinstance(layer, CoordConv2d | CoordConvTranspose2d) for layer in network.modules())


@pytest.mark.parametrize(
    ("fields", "in_g", "in_d"),
    [
        ({"coord": False}, 0, 0),
        ({"coord": True}, 5, 4),
        ({"coord": True, "coord_in": "g"}, 5, 0),
        ({"coord": True, "coord_in": "d"}, 0, 4),
        ({"coord": True, "coord_layers": "first"}, 1, 1),
        ({"coord": True, "architecture": "paper"}, 1, 1),
        ({"coord": False, "architecture": "paper"}, 0, 0),
    ],
)
def test_coordinates_are_where_the_configuration_puts_them(fields: dict[str, object], in_g: int, in_d: int) -> None:
    generator, discriminator = make_networks(GanConfig.model_validate({"width": 2, "d_width": 2, **fields}))
    assert (_coordinate_layers(generator), _coordinate_layers(discriminator)) == (in_g, in_d)


def test_matched_arms_with_zero_coordinate_weights_are_one_network() -> None:
    arms = [make_networks(GanConfig(coord=coord, width=2, d_width=2, seed=5)) for coord in (False, True)]
    for network in arms[1]:
        for layer in network.modules():
            if isinstance(layer, CoordConv2d):
                torch.nn.init.zeros_(layer.coordinate_weight)
    z, images = torch.randn(4, 256), torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(arms[1][0](z), arms[0][0](z), atol=1e-5, rtol=0)
    torch.testing.assert_close(arms[1][1](images), arms[0][1](images), atol=1e-5, rtol=1e-5)


def test_a_spectral_norm_is_that_of_content_and_coordinates_together() -> None:
    torch.manual_seed(0)
    layer = normed(CoordConv2d(3, 4, 3)).train()
    for _ in range(30):
        out = layer(torch.randn(2, 3, 5, 5))
    whole = torch.cat([layer.weight, layer.coordinate_weight], 1).detach().flatten(1)
    assert float(torch.linalg.matrix_norm(whole, 2)) == pytest.approx(1, abs=1e-3)
    out.sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())
    layer.eval()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(layer(x), layer(x))
    twin = deepcopy(layer)
    with torch.no_grad():
        twin.parametrizations.weight.original.mul_(100)
        assert not torch.allclose(twin(x), layer(x))  # it is of its own weights
    restored = normed(CoordConv2d(3, 4, 3)).eval()
    restored.load_state_dict(layer.state_dict())
    assert torch.equal(restored(x), layer(x))
    assert normed(torch.nn.Linear(2, 2)).weight.shape == (2, 2)
