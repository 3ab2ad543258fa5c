"""The arms of the default comparison: paired where they claim it, and free of position where they claim that."""

import pytest
import torch
from torch import Tensor, nn

from sandbox.experiment.file import load_experiment
from sandbox.nn.coordconv import CoordConv2d
from sandbox.train.device import make_fabric
from vae.networks import Encoder, make_networks
from vae.spec import VaeConfig
from vae.study import VaeStudy

EXPERIMENT = load_experiment("vae/sort_of_clevr")
PAIRS = [("conv", "coord"), ("conv", "coord_r"), ("conv", "coord_encoder"), ("conv", "coord_decoder"),
         ("position_free", "position_free_coord"), ("broadcast", "broadcast_coord"),
         ("broadcast_free", "broadcast_free_coord")]  # fmt: skip


def _config(arm: str, **fields: object) -> VaeConfig:
    config = EXPERIMENT.resolve(arm, fields, smoke=True)
    assert isinstance(config, VaeConfig)
    return config


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# ---- every arm


def test_the_default_comparison_is_of_two_arms() -> None:
    assert EXPERIMENT.compared == ("conv", "coord")
    assert {arm for pair in PAIRS for arm in pair} | {"wide"} == set(EXPERIMENT.arms)


@pytest.mark.parametrize("arm", EXPERIMENT.arms)
def test_every_arm_trains(arm: str) -> None:
    study = VaeStudy(_config(arm), make_fabric("cpu", "32"))
    assert all(torch.isfinite(value) for value in study.step(1).values())


def _sizes(arm: str, **fields: int) -> list[int]:
    config = EXPERIMENT.resolve(arm, fields)
    assert isinstance(config, VaeConfig)
    return [sum(parameter.numel() for parameter in network.parameters()) for network in make_networks(config)]


def test_the_wide_arm_is_the_narrowest_that_has_the_coordinate_arms_parameters() -> None:
    wide, coord = EXPERIMENT.resolve("wide"), _sizes("coord")
    assert isinstance(wide, VaeConfig)
    assert not wide.coord
    narrower = _sizes("wide", width=wide.width - 1, e_width=wide.e_width - 1)
    assert all(below < size <= above for below, size, above in zip(narrower, coord, _sizes("wide"), strict=True))


# ---- paired designs


def _coordinate_layers(*networks: nn.Module) -> list[CoordConv2d]:
    return [layer for network in networks for layer in network.modules() if isinstance(layer, CoordConv2d)]


def _first_losses(arm: str, *, zeroed: bool) -> dict[str, float]:
    study = VaeStudy(_config(arm, width=4, e_width=4), make_fabric("cpu", "32"))
    if zeroed:
        for layer in _coordinate_layers(study.modules["encoder"], study.decoder):
            nn.init.zeros_(layer.coordinate_weight)
    return {tag: float(value) for tag, value in study.step(1).items() if tag.startswith("loss/")}


@pytest.mark.parametrize(("plain", "coord"), PAIRS)
def test_without_its_coordinate_weights_an_arm_has_the_losses_of_its_plain_one(plain: str, coord: str) -> None:
    expected = _first_losses(plain, zeroed=False)
    assert expected.keys() == {"loss/recon", "loss/kl", "loss/elbo"}
    assert _first_losses(coord, zeroed=True) == pytest.approx(expected, rel=1e-4)
    assert _first_losses(coord, zeroed=False)["loss/elbo"] != pytest.approx(expected["loss/elbo"], rel=1e-4)


@pytest.mark.parametrize(("plain", "coord"), PAIRS)
def test_the_arms_of_a_pair_say_that_they_are_one(plain: str, coord: str) -> None:
    assert _config(plain).differs_by_coordinates_alone(_config(coord))
    assert _config(plain).sees_the_same(_config(coord))
    assert not EXPERIMENT.resolve("wide").differs_by_coordinates_alone(EXPERIMENT.resolve(coord))


@pytest.mark.parametrize(("plain", "coord"), PAIRS)
def test_the_arms_of_a_pair_start_from_the_same_content_weights(plain: str, coord: str) -> None:
    for a, b in zip(make_networks(_config(plain, seed=3)), make_networks(_config(coord, seed=3)), strict=True):
        for name, value in a.named_parameters():
            assert torch.equal(value, b.get_parameter(name)), name


# ---- no source of position but the coordinates


@torch.no_grad()
@pytest.mark.parametrize("plain", ["position_free", "broadcast_free"])
def test_without_a_place_every_image_is_one_flat_colour_and_coordinates_change_that(plain: str) -> None:
    z = 3 * _random(4, _config(plain).latent)
    flat, structured = (make_networks(_config(arm, seed=3))[1](z) for arm in (plain, f"{plain}_coord"))
    assert flat.std((2, 3)).max() < 1e-5
    assert flat.std(0).max() > 1e-2  # each latent its own colour
    assert structured.std((2, 3)).min() > 1e-2


@torch.no_grad()
def _unevenness(arm: str) -> float:
    """How far the posterior is from one that does not see a roll by 16 pixels, the encoder's total stride."""
    encoder, images = make_networks(_config(arm, seed=3))[0], _random(4, 3, 64, 64).sigmoid()
    assert isinstance(encoder, Encoder)
    return float((encoder(images.roll((16, 32), (2, 3))).mean - encoder(images).mean).abs().max())


def test_a_pooled_encoder_does_not_see_a_roll_by_its_stride() -> None:
    assert _unevenness("position_free") < 1e-5
    assert min(_unevenness("position_free_coord"), _unevenness("conv")) > 1e-2
