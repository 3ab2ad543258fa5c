"""Shapes, sizes, and networks that differ by coordinates alone."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from sandbox.nn.blocks import Convolutions
from sandbox.nn.coordconv import CoordConv2d
from vae.networks import BroadcastDecoder, Encoder, MatchedDecoder, make_networks
from vae.spec import VaeConfig

PLAIN, COORD, WRAPPED = Convolutions(), Convolutions(True), Convolutions(padding_mode="circular")


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _coordinate_layers(network: nn.Module) -> list[CoordConv2d]:
    return [layer for layer in network.modules() if isinstance(layer, CoordConv2d)]


@pytest.mark.parametrize(
    "decoder",
    [MatchedDecoder(COORD, 5, 2), MatchedDecoder(PLAIN, 5, 2, "tiled"), BroadcastDecoder(PLAIN, 5, 4)],
    ids=("matched", "tiled", "broadcast"),
)
def test_decoders_give_logits(decoder: nn.Module) -> None:
    large = deepcopy(decoder)
    with torch.no_grad():
        for parameter in large.parameters():  # logits grow with the last layer's weights, whatever these were at first
            parameter.mul_(10)
    logits = large(1000 * _random(3, 5))
    assert logits.shape == (3, 3, 64, 64)
    assert logits.abs().max() > 1  # no sigmoid at the end


@pytest.mark.parametrize("head", ["dense", "pooled"])
def test_an_encoder_gives_a_gaussian_an_image(head: str) -> None:
    posterior = Encoder(COORD, 5, 2, head)(torch.rand(3, 3, 64, 64))  # type: ignore[arg-type]
    assert posterior.mean.shape == posterior.log_variance.shape == (3, 5)
    assert not torch.equal(posterior.mean[0], posterior.mean[1])


def test_latents_and_posteriors_stay_in_float32_under_autocast() -> None:
    encoder, decoder = make_networks(VaeConfig(width=2, e_width=2))
    seen: list[torch.dtype] = []
    decoder.mapping.register_forward_hook(lambda layer, inputs, out: seen.append(out.dtype))  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        posterior = encoder(torch.rand(2, 3, 64, 64))
        assert decoder(posterior.mean).dtype == torch.bfloat16
    assert posterior.mean.dtype == posterior.log_variance.dtype == seen[0] == torch.float32


@pytest.mark.parametrize(
    ("fields", "in_encoder", "in_decoder"),
    [
        ({"coord": False}, 0, 0),
        ({"coord": True}, 4, 5),
        ({"coord": True, "coord_in": "encoder"}, 4, 0),
        ({"coord": True, "coord_in": "decoder"}, 0, 5),
        ({"coord": True, "coord_layers": "first"}, 1, 1),
        ({"coord": True, "decoder": "broadcast"}, 4, 1),
        ({"coord": False, "decoder": "broadcast"}, 0, 0),
    ],
)
def test_coordinates_are_where_the_configuration_puts_them(
    fields: dict[str, object], in_encoder: int, in_decoder: int
) -> None:
    networks = make_networks(VaeConfig.model_validate({"width": 2, "e_width": 2, **fields}))
    assert [len(_coordinate_layers(network)) for network in networks] == [in_encoder, in_decoder]


@pytest.mark.parametrize("decoder", ["matched", "broadcast"])
def test_arms_with_zero_coordinate_weights_are_one_network(decoder: str) -> None:
    arms = [
        make_networks(VaeConfig(coord=coord, decoder=decoder, width=2, e_width=2, seed=5)) for coord in (False, True)
    ]
    images, z = torch.rand(4, 3, 64, 64), _random(4, 10)
    assert not torch.allclose(arms[1][1](z), arms[0][1](z), atol=1e-2)
    for network in arms[1]:
        for layer in _coordinate_layers(network):
            nn.init.zeros_(layer.coordinate_weight)
    torch.testing.assert_close(arms[1][1](z), arms[0][1](z), atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(arms[1][0](images), arms[0][0](images), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_padding_or_coordinates_a_broadcast_decoder_paints_one_flat_colour() -> None:
    torch.manual_seed(0)
    z = _random(4, 5)
    convs = {"flat": WRAPPED, "padded": PLAIN, "coordinates": Convolutions(True, "first", padding_mode="circular")}
    spread = {}
    for name, kind in convs.items():
        painted = BroadcastDecoder(kind, 5, 8)(z)
        spread[name] = float(painted.std((2, 3)).max())
        assert painted.std(0).max() > 1e-3  # each latent its own
    assert spread["flat"] < 1e-5
    assert min(spread["padded"], spread["coordinates"]) > 1e-3


def test_the_first_layer_of_a_broadcast_decoder_sees_the_latent_and_the_place() -> None:
    decoder = BroadcastDecoder(Convolutions(True, "first"), 5, 8)
    (layer,) = _coordinate_layers(decoder)
    assert layer.weight.shape == (8, 5, 3, 3)
    assert layer.coordinate_weight.shape == (8, 2, 3, 3)
