"""The classifiers of the padding study: which of them can know a place, and that a run is trained and probed."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.base.types import Padding
from sandbox.experiment.spec import study_spec
from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv, make_convolutions
from sandbox.nn.seeding import seed_parameters
from sandbox.train.device import make_fabric
from vision.classify.networks import STRIDE, PooledLinear, SmallVgg
from vision.padding.spec import PaddingConfig
from vision.padding.study import PaddingStudy

PADDINGS = get_args(Padding)
SMALL: dict[str, Any] = {
    "width": 2, "images": 64, "test_images": 16, "batch": 16, "steps": 2, "probe_images": 16, "probe_steps": 40,
}  # fmt: skip


def network(padding: Padding, **fields: Any) -> SmallVgg:
    config = PaddingConfig(padding=padding, width=2, **{"coord": False, **fields})
    convs = make_convolutions(config.coord, config.coord_layers, config.with_r, padding)
    made = SmallVgg(convs, padding, 2, PooledLinear(16, 4))
    seed_parameters(made, 0, "network")
    return made.eval()


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_a_circular_stack_rolls_with_its_images(down: int, right: int, seed: int) -> None:
    images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))
    moved = images.roll((down * STRIDE, right * STRIDE), (2, 3))
    net = network("circular")
    torch.testing.assert_close(net.maps(moved), net.maps(images).roll((down, right), (2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(moved), net(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [padding for padding in PADDINGS if padding != "circular"])
@torch.no_grad()
def test_no_other_padding_does(padding: Padding) -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = network(padding)
    gap = net.maps(images.roll(STRIDE, 3)) - net.maps(images).roll(1, 3)
    assert gap.abs().max() > 1e-3


@torch.no_grad()
def test_coordinates_break_it_under_any_padding() -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = network("circular", coord=True)
    assert (net(images.roll(STRIDE, 3)) - net(images)).abs().max() > 1e-3


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("coord", [False, True])
def test_every_padding_keeps_the_size_and_the_parameters(padding: Padding, coord: bool) -> None:
    net, reference = network(padding, coord=coord), network("zeros", coord=coord)
    assert net.maps(torch.rand(2, 3, 32, 48)).shape == (2, 16, 4, 6)
    for (name, value), (other, same) in zip(net.named_parameters(), reference.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(value, same)


def test_partial_convolution_is_a_mean_over_what_is_there() -> None:
    layer = PaddedConv(Convolutions(), 1, 1, "partial", first=True)
    with torch.no_grad():
        layer.conv.weight.fill_(1 / 9)
        assert layer.conv.bias is not None
        layer.conv.bias.fill_(5.0)
    out = layer(torch.full((1, 1, 6, 7), 3.0))
    torch.testing.assert_close(out, torch.full_like(out, 8.0))


def test_white_images_show_whether_there_is_position() -> None:
    """Untrained networks will do: the probe of a circular one answers with a constant, of a padded one it does not."""
    scores = {}
    for padding in ("circular", "zeros"):
        study = PaddingStudy(PaddingConfig(padding=padding, coord=False, **SMALL), make_fabric("cpu", "32"))
        study.network.eval()
        scores[padding] = study.probing.scores()
    for shown in ("black", "white"):
        assert scores["circular"][f"score/spc_h_{shown}"] == scores["circular"][f"score/spc_g_{shown}"] == 0
        assert scores["zeros"][f"score/spc_g_{shown}"] > 0.2
    assert abs(scores["circular"]["score/spc"]) < 0.1


def test_a_run_is_trained_then_probed() -> None:
    study = PaddingStudy(PaddingConfig(**SMALL), make_fabric("cpu", "bf16"))
    for step in (1, 2):
        assert torch.isfinite(study.step(step)["loss/train"])
    picture, preview = study.preview()
    assert picture.shape[1] > 4 * 100
    assert preview.keys() == {"preview/test_accuracy"}
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.padding").scores_of(study.config)}
    assert found == study.evaluate()
    assert study.film(frames=3, count=2, path="loop", seed=0).shape[:2] == (3, 2)
    assert {"network"} == study.costs()["parameters"].keys()


def test_the_labels_are_the_kinds_and_the_data_has_no_place() -> None:
    study = PaddingStudy(PaddingConfig(**{**SMALL, "images": 2048}), make_fabric("cpu", "32"))
    counts = np.bincount(study.train.labels.numpy(), minlength=4) / 2048
    assert counts.min() > 0.2
    ink = (study.train.images.float() < 128).any(1).float().mean(0)  # how often each pixel is covered
    rows, columns = ink.mean(1), ink.mean(0)
    assert max(rows.std() / rows.mean(), columns.std() / columns.mean()) < 0.05


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_without_padding_a_mirrored_image_gives_the_mirrored_maps(kernel: int) -> None:
    layer = PaddedConv(Convolutions(), 1, 1, "none", first=True, kernel_size=kernel)
    weight = layer.conv.weight.data
    weight.copy_(weight + weight.flip(3))  # a kernel that is its own mirror image
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(image.flip(3)), layer(image).flip(3))
    assert layer(image).shape == image.shape
