"""The arms of the default comparison: paired where they claim it, and free of position where they claim that."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan.discriminators import MatchedDiscriminator
from gan.generators import MatchedGenerator
from gan.spec import GanConfig
from gan.study import GanStudy, make_networks
from sandbox.base.errors import UserError
from sandbox.experiment.config import validated
from sandbox.experiment.file import load_experiment
from sandbox.nn.coordconv import CoordConv2d, to_concatenated
from sandbox.nn.planes import coordinate_planes
from sandbox.train.device import make_fabric

EXPERIMENT = load_experiment("gan/sort_of_clevr")
PAIRS = [("conv", "coord"), ("conv", "coord_r"), ("conv", "coord_g"), ("conv", "coord_d"),
         ("position_free", "position_free_coord")]  # fmt: skip
STRIDE = 16  # pixels of the image to a cell of the 4x4 maps, in either network


def _config(arm: str, **fields: object) -> GanConfig:
    config = EXPERIMENT.resolve(arm, fields, smoke=True)
    assert isinstance(config, GanConfig)
    return config


def _networks(arm: str) -> tuple[MatchedGenerator, MatchedDiscriminator]:
    generator, discriminator = make_networks(_config(arm, seed=3))
    assert isinstance(generator, MatchedGenerator)
    assert isinstance(discriminator, MatchedDiscriminator)
    return generator, discriminator


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# ---- every arm


def test_the_default_comparison_is_of_two_arms() -> None:
    assert EXPERIMENT.compared == ("conv", "coord")
    assert {arm for pair in PAIRS for arm in pair} | {"wide"} == set(EXPERIMENT.arms)


@pytest.mark.parametrize("arm", EXPERIMENT.arms)
def test_every_arm_trains(arm: str) -> None:
    study = GanStudy(_config(arm, penalty_every=1), make_fabric("cpu", "32"))
    losses = study.step(1)
    assert "loss/penalty" in losses
    assert all(torch.isfinite(value) for value in losses.values())


def _sizes(arm: str, **fields: int) -> list[int]:
    config = EXPERIMENT.resolve(arm, fields)
    assert isinstance(config, GanConfig)
    return [sum(parameter.numel() for parameter in network.parameters()) for network in make_networks(config)]


def test_the_wide_arm_is_the_narrowest_that_has_the_coordinate_arms_parameters() -> None:
    wide, coord = EXPERIMENT.resolve("wide"), _sizes("coord")
    assert isinstance(wide, GanConfig)
    assert not wide.coord
    narrower = _sizes("wide", width=wide.width - 1, d_width=wide.d_width - 1)
    assert all(below < size <= above for below, size, above in zip(narrower, coord, _sizes("wide"), strict=True))


def test_an_older_run_is_read_as_what_it_was() -> None:
    written = {key: value for key, value in _config("conv").model_dump().items() if key not in ("stem", "head")}
    assert GanConfig.model_validate(written) == _config("conv")


@pytest.mark.parametrize("field", [{"stem": "tiled"}, {"head": "pooled"}])
def test_the_published_networks_have_neither_a_tiled_stem_nor_a_pooled_head(field: Mapping[str, str]) -> None:
    with pytest.raises(UserError, match="architecture matched") as refused:
        validated(GanConfig, {"architecture": "paper", **field}, "the command line")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "others", [{}, {"architecture": "paper", "coord": False}, {"architecture": "paper", "coord_in": "d"}]
)
def test_before_tanh_is_of_the_published_coordinate_generator(others: Mapping[str, object]) -> None:
    with pytest.raises(UserError, match="before_tanh is for architecture paper with coordinates in the generator"):
        validated(GanConfig, {"before_tanh": True, **others}, "the command line")


# ---- paired designs


def _coordinate_layers(*networks: nn.Module) -> list[CoordConv2d]:
    return [layer for network in networks for layer in network.modules() if isinstance(layer, CoordConv2d)]


def _first_losses(arm: str, *, zeroed: bool) -> dict[str, float]:
    # The discriminator's update moves its coordinate weights too: at this rate the generator's loss feels nothing.
    study = GanStudy(_config(arm, penalty_every=1, lr_d=1e-12, width=4, d_width=4), make_fabric("cpu", "32"))
    if zeroed:
        for layer in _coordinate_layers(study.modules["generator"], study.modules["discriminator"]):
            nn.init.zeros_(layer.coordinate_weight)
    return {tag: float(value) for tag, value in study.step(1).items() if tag.startswith("loss/")}


@pytest.mark.parametrize(("plain", "coord"), PAIRS)
def test_without_its_coordinate_weights_an_arm_has_the_losses_of_its_plain_one(plain: str, coord: str) -> None:
    expected = _first_losses(plain, zeroed=False)
    assert expected.keys() == {"loss/discriminator", "loss/generator", "loss/penalty"}
    assert _first_losses(coord, zeroed=True) == pytest.approx(expected, rel=1e-4)
    moved = _first_losses(coord, zeroed=False)
    assert all(abs(moved[tag] / expected[tag] - 1) > 1e-3 for tag in expected)


@pytest.mark.parametrize(("plain", "coord"), PAIRS)
def test_the_arms_of_a_pair_start_from_the_same_content_weights(plain: str, coord: str) -> None:
    for a, b in zip(_networks(plain), _networks(coord), strict=True):
        for name, value in a.named_parameters():
            assert torch.equal(value, b.get_parameter(name)), name


# ---- no source of position but the coordinates


def _rolled(x: Tensor, rows: int, columns: int) -> Tensor:
    return x.roll((rows, columns), (2, 3))


@torch.no_grad()
def _unevenness(arm: str, rows: int, columns: int) -> tuple[float, float]:
    """How far the pixel part of the generator is from equivariance, and the discriminator from invariance."""
    generator, discriminator = _networks(arm)
    maps, images = _random(4, generator.stem_norm.num_features, 4, 4), _random(4, 3, 64, 64)
    painted = generator.paint(_rolled(maps, rows, columns))
    moved = _rolled(generator.paint(maps), rows * STRIDE, columns * STRIDE)
    scores = discriminator(_rolled(images, rows * STRIDE, columns * STRIDE)) - discriminator(images)
    return float((painted - moved).abs().max()), float(scores.abs().max())


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (0, 1), (3, 2)])
def test_without_coordinates_a_shift_by_the_total_stride_is_a_shift(rows: int, columns: int) -> None:
    assert max(_unevenness("position_free", rows, columns)) < 1e-5
    assert min(_unevenness("position_free_coord", rows, columns)) > 1e-2
    assert min(_unevenness("conv", rows, columns)) > 1e-2  # its padding, and its dense head, tell places apart


@torch.no_grad()
def test_the_position_free_networks_are_not_blind() -> None:
    generator, discriminator = _networks("position_free")
    images = _random(4, 3, 64, 64)
    assert (discriminator(_rolled(images, 1, 0)) - discriminator(images)).abs().max() > 1e-3  # below the stride
    assert generator.paint(_random(4, generator.stem_norm.num_features, 4, 4)).std((2, 3)).min() > 1e-2


@torch.no_grad()
def test_position_free_draws_one_flat_colour_and_its_coordinate_arm_does_not() -> None:
    z = _random(4, 64)
    flat, structured = (_networks(arm)[0](z) for arm in ("position_free", "position_free_coord"))
    assert flat.std((2, 3)).max() < 1e-5
    assert flat.std(0).max() > 1e-2  # each latent its own colour
    assert structured.std((2, 3)).min() > 1e-2


@torch.no_grad()
def test_the_planes_are_padded_as_the_image_is() -> None:
    layers = _coordinate_layers(*_networks("position_free_coord"))
    assert len(layers) == 9
    for layer in layers:
        x, pad = _random(2, layer.in_channels, 64, 64), layer.kernel_size[0] // 2
        both = torch.cat([x, coordinate_planes(64, 64).expand(2, -1, -1, -1)], 1)
        wrapped = torch.from_numpy(np.pad(both.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), "wrap"))
        expected = nn.functional.conv2d(wrapped, to_concatenated(layer), layer.bias, layer.stride)
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
