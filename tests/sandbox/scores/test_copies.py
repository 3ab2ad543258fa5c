"""Copies of training images: planted ones, moved ones, others, and how often real images repeat one by chance."""

import numpy as np
import pytest

from sandbox.data.shapes import FEW, Factors, SortOfClevr
from sandbox.scores.copies import NEAR, copies

DATA = SortOfClevr()
TRAINING = DATA.render(np.arange(500))


def test_training_images_are_copies_and_so_are_those_a_pixel_away() -> None:
    found = copies(TRAINING.images[:100], TRAINING)
    np.testing.assert_allclose(found.distances, 0, atol=1e-12)
    assert found.scores() == pytest.approx({"new_valid": 0, "copies": 1, "nearest_training": 0})
    rows = np.flatnonzero((TRAINING.centres[:, :, 1] <= 50).all(1))[:40]
    one, three = (copies(np.roll(TRAINING.images[rows], by, 3), TRAINING).distances for by in (1, 3))
    assert one.max() <= 1 < NEAR
    assert np.median(three) == pytest.approx(3)


def test_the_same_places_with_other_shapes_are_no_copy() -> None:
    alone = Factors(TRAINING.centres[:1], TRAINING.kinds[:1], TRAINING.colours[:1])
    other = Factors(alone.centres, 1 - alone.kinds, alone.colours)
    assert copies(TRAINING.images[:1], alone).distances == 0
    assert np.isinf(copies(TRAINING.images[:1], other).distances)


def test_what_is_not_valid_is_neither_new_nor_a_copy() -> None:
    blank = np.full((4, 3, 64, 64), 255, np.uint8)
    half = copies(np.concatenate([blank, DATA.render(np.arange(600, 604)).images]), TRAINING)
    assert half.valid.tolist() == [False] * 4 + [True] * 4
    assert half.scores()["new_valid"] <= 0.5
    nothing = copies(blank, TRAINING).scores()
    assert nothing["new_valid"] == 0
    assert np.isnan([nothing["copies"], nothing["nearest_training"]]).all()


@pytest.mark.parametrize(("count", "share"), [(500, 0.01), (FEW, 0.06)])
def test_real_images_seldom_repeat_one_of_few(count: int, share: float) -> None:
    fresh = DATA.render(np.arange(10**6, 10**6 + 1000)).images
    assert copies(fresh, DATA.factors(np.arange(count))).scores()["copies"] <= share


def test_the_nearest_is_found_as_by_looking_at_each() -> None:
    fresh = DATA.render(np.arange(1000, 1020))
    found = copies(fresh.images, TRAINING).distances
    for distance, centres, kinds in zip(found, fresh.centres, fresh.kinds, strict=True):
        same = (TRAINING.kinds == kinds).all(1)
        assert distance == pytest.approx(np.abs(TRAINING.centres[same] - centres).max((1, 2)).min())
