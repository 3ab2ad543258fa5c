"""The shift study: what a shift is, what the loss measures, and what consistency says of networks that are known."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.base.errors import UserError
from sandbox.experiment.spec import study_spec
from sandbox.train.device import make_fabric
from vision.classify.networks import STRIDE
from vision.shift.spec import ShiftConfig
from vision.shift.study import ShiftStudy, shifted

SMALL: dict[str, Any] = {"width": 2, "images": 32, "test_images": 12, "batch": 8, "steps": 2, "coord": False}


def study(**fields: Any) -> ShiftStudy:
    return ShiftStudy(ShiftConfig.model_validate({**SMALL, **fields}), make_fabric("cpu", "32"))


@given(st.integers(-8, 8), st.integers(-8, 8))
@settings(max_examples=20, deadline=None)
def test_a_shift_moves_the_image_and_loses_nothing(down: int, right: int) -> None:
    image = torch.rand(1, 3, 64, 64)
    canvas = torch.nn.functional.pad(image, (8,) * 4, value=1.0)
    moved = shifted(canvas, torch.tensor([[down, right]]))
    place = moved[:, :, 8 + down : 72 + down, 8 + right : 72 + right]
    assert torch.equal(place, image)
    place.fill_(1.0)
    assert torch.equal(moved, torch.ones_like(moved))


def test_images_lie_on_their_margin() -> None:
    made = study(margin=16)
    images = made.test.inputs(made.test.rows())
    assert images.shape == (12, 3, 96, 96)
    assert images[:, :, :16].min() == images[:, :, :, -16:].min() == 1


@pytest.mark.parametrize(("network", "stride"), [("small", STRIDE), ("resnet18", 16)])
@torch.no_grad()
def test_a_circular_network_pools_the_same_after_a_shift_by_its_stride(network: str, stride: int) -> None:
    for padding, coord in (("circular", False), ("zeros", False), ("circular", True)):
        made = study(padding=padding, coord=coord, network=network, margin=16, test_images=2)
        made.network.eval()
        images = made.test.inputs(made.test.rows())
        moved = shifted(images, torch.tensor([[stride, -stride]] * 2))
        first, second = (made.network.maps(part).mean((2, 3)) for part in (images, moved))
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-5) == (padding == "circular" and not coord)


@torch.no_grad()
def test_a_network_that_always_says_the_same_is_consistent_and_no_better() -> None:
    made = study()
    made.network.head.weight.zero_()
    made.network.head.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    found = made.shifts(12)
    assert found["consistency"] == 1
    assert found["shifted_accuracy"] == pytest.approx(float((made.test.labels == 2).float().mean()))


@torch.no_grad()
def test_equal_features_differ_by_nothing_and_unrelated_ones_by_about_their_length() -> None:
    made = study(coord=True)
    for parameter in made.network.stages[-1][-2].parameters():
        parameter.zero_()
    made.network.stages[-1][-2].bias.fill_(1.0)
    assert made.shifts(12)["feature_difference"] == 0
    assert 0 < study(coord=True).shifts(12)["feature_difference"] < 1


@torch.no_grad()
def test_features_at_right_angles_differ_by_twice_their_squared_length(monkeypatch: pytest.MonkeyPatch) -> None:
    made, calls = study(), itertools.count()
    width = made.network.head.in_features

    def maps(images: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(images), width, 2, 2)
        found[:, next(calls) % 2] = 3.0
        return found

    monkeypatch.setattr(made.network, "maps", maps)
    assert made.shifts(12)["feature_difference"] == pytest.approx(2)


def test_the_loss_makes_features_more_alike() -> None:
    ends = {}
    for weight in (0.0, 100.0):
        made = study(invariance=weight, coord=True, padding="circular", lr=3e-3, steps=40, decay=0.0)
        for step in range(1, 41):
            losses = made.step(step)
        ends[weight] = made.shifts(12)["feature_difference"]
        assert ("loss/invariance" in losses) == (weight > 0)
    assert ends[100.0] < ends[0.0] / 2


def test_without_a_weight_the_loss_is_the_classification_s() -> None:
    losses = study().step(1)
    assert losses["loss/train"] == losses["loss/classification"]
    both = study(invariance=2.0).step(1)
    torch.testing.assert_close(both["loss/train"], both["loss/classification"] + 2 * both["loss/invariance"])


def test_a_run_says_what_it_declares_and_the_same_twice() -> None:
    made = study(invariance=1.0, shown="shifted")
    made.step(1)
    found = made.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.shift").scores_of(made.config)}
    assert found == made.evaluate()
    picture, preview = made.preview()
    assert picture.dtype == np.uint8
    assert preview.keys() == {"preview/test_accuracy", "preview/consistency"}
    assert made.film(frames=3, count=2, path="loop", seed=0).shape[:2] == (3, 2)


def test_cifar_lies_on_grey_and_is_read_where_it_is(cifar: Path) -> None:
    made = study(data="cifar10", data_root=str(cifar), margin=4, images=40, test_images=10)
    images = made.test.inputs(made.test.rows())
    assert images.shape == (10, 3, 40, 40)
    assert images[:, :, :4].abs().max() == 0
    torch.testing.assert_close(images[0, 0, 4:36, 4:36], torch.full((32, 32), 5 / 127.5 - 1))
    assert made.test.labels.tolist() == [*range(10)]
    made.step(1)
    assert made.evaluate().keys() == {score.tag for score in study_spec("vision.shift").scores_of(made.config)}
    assert made.film(frames=2, count=1, path="loop", seed=0).shape[:2] == (2, 1)
    with pytest.raises(UserError, match=r"--data-root: .* does not hold CIFAR-10"):
        study(data="cifar10", data_root=str(cifar / "elsewhere"))
