"""The Red-Green control: what its images show, and which paddings cannot tell the two halves apart."""

from typing import Any

import numpy as np
import pytest
import torch

from sandbox.experiment.spec import study_spec
from sandbox.nn.padded import PaddedConv, make_convolutions
from sandbox.train.device import make_fabric
from vision.red_green.spec import RedGreenConfig
from vision.red_green.study import HALF, RedGreenStudy, draw

SMALL: dict[str, Any] = {"width": 4, "images": 32, "test_images": 24, "batch": 16, "steps": 2}


def study(padding: str, **fields: Any) -> RedGreenStudy:
    config = RedGreenConfig.model_validate({"padding": padding, "coord": False, **SMALL, **fields})
    return RedGreenStudy(config, make_fabric("cpu", "32"))


def test_the_order_of_the_colours_is_the_class_and_the_half_goes_with_it() -> None:
    for swapped in (False, True):
        examples = draw(200, "some", swapped)
        for image, label in zip(examples.images, examples.labels.tolist(), strict=True):
            (red_rows, red), (green_rows, green) = (torch.where(image[c]) for c in (0, 1))
            assert len(red) == len(green) == 16
            assert int(label) == int(red.min() > green.min())
            assert abs(red.min() - green.min()) >= 5
            assert image[2].max() == 0
            upper = max(red_rows.max(), green_rows.max()) < HALF
            assert upper == ((label == 0) != swapped)
            assert upper or min(red_rows.min(), green_rows.min()) >= HALF


def test_dissimilar_images_are_the_similar_ones_in_the_other_half() -> None:
    similar, dissimilar = draw(20, "test"), draw(20, "test", swapped=True)
    assert torch.equal(similar.images.roll(HALF, 2), dissimilar.images)
    assert not torch.equal(similar.images, draw(20, "train").images)


@pytest.mark.parametrize("padding", ["circular", "full"])
def test_two_paddings_cannot_tell_the_halves_apart(padding: str) -> None:
    made = study(padding)
    said = [made.logits(examples.inputs(examples.rows())) for examples in (made.test, made.dissimilar)]
    torch.testing.assert_close(said[0], said[1], rtol=1e-4, atol=1e-5)
    assert said[0].std(0).min() > 1e-3  # they say something


@pytest.mark.parametrize(("padding", "coord"), [("valid", False), ("zeros", False), ("circular", True), ("full", True)])
def test_the_others_can(padding: str, coord: bool) -> None:
    made = study(padding, coord=coord)
    said = [made.logits(examples.inputs(examples.rows())) for examples in (made.test, made.dissimilar)]
    assert (said[0] - said[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("padding", "sizes"),
    [
        ("valid", [30, 14, 6, 2]),
        ("full", [34, 18, 10, 6]),
        ("none", [32, 16, 8, 4]),
        ("partial", [32, 16, 8, 4]),
        ("zeros", [32, 16, 8, 4]),
    ],
)
def test_sizes_are_those_of_the_code(padding: str, sizes: list[int]) -> None:
    x = torch.rand(1, 3, 32, 32)
    assert [(x := conv(x)).shape[-1] for conv in study(padding).network.convs] == sizes


def test_a_strided_partial_convolution_is_a_mean_over_what_is_there() -> None:
    layer = PaddedConv(make_convolutions(False, "all", False, "partial"), 1, 1, "partial",
                       first=True, kernel_size=7, stride=2, bias=False)  # fmt: skip
    with torch.no_grad():
        layer.conv.weight.fill_(1 / 49)
    out = layer(torch.full((1, 1, 8, 10), 3.0))
    torch.testing.assert_close(out, torch.full((1, 1, 4, 5), 3.0))


def test_a_run_says_what_it_declares() -> None:
    made = study("zeros")
    for step in (1, 2):
        assert torch.isfinite(made.step(step)["loss/train"])
    found = made.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.red_green").scores_of(made.config)}
    picture, preview = made.preview()
    assert picture.dtype == np.uint8
    declared = {score.curve for score in study_spec("vision.red_green").scores_of(made.config)}
    assert preview.keys() == declared - {None}
    assert made.film(frames=3, count=2, path="loop", seed=0).shape[:2] == (3, 2)
