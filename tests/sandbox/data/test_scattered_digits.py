"""Scattered digits: exact boxes, functions of (seed, index), disjoint digits, both layouts."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.base.errors import UserError
from sandbox.data.digits import Digits, read_digits, trimmed
from sandbox.data.scattered_digits import (
    LARGEST,
    LAYOUTS,
    SIZE,
    SMALLEST,
    Layout,
    ScatteredDigits,
    shares_in_view,
    stretch,
)

BLOCK = Digits(np.ones((1, 2, 2), np.float32), np.array([[2, 2]]), np.array([7]))  # a white square


def own() -> ScatteredDigits:
    return ScatteredDigits(read_digits("sklearn", True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_scene_is_a_function_of_seed_and_index(layout: Layout) -> None:
    data = ScatteredDigits(read_digits("sklearn", True), layout)
    whole = data.render(np.arange(70))
    one = data.render(np.array([41]))
    assert np.array_equal(one.images[0], whole.images[41])
    assert np.array_equal(one.boxes[0], whole.boxes[41])
    other = ScatteredDigits(read_digits("sklearn", True), layout, seed=1).render(np.array([41]))
    assert not np.array_equal(other.images, one.images)


def test_boxes_are_those_of_the_ink() -> None:
    scenes = ScatteredDigits(BLOCK, count=1).render(np.arange(200))
    for image, box in zip(scenes.images[:, 0], scenes.boxes[:, 0], strict=True):
        rows, columns = np.nonzero(image)
        # A pixel has ink if its centre lies in the box.
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(edges) - box).max() <= 0.5 + 1e-4
        assert image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].min() == 255
    assert (scenes.labels == 7).all()


def test_canvas64_has_every_digit_in_view_and_crop120_three_in_ten_outside() -> None:
    digits = read_digits("sklearn", True)
    inner, cut = (ScatteredDigits(digits, layout).render(np.arange(2000)).boxes for layout in LAYOUTS)
    assert inner.min() >= 0
    assert inner.max() <= SIZE
    for boxes in (inner, cut):
        sizes = boxes[..., 2:] - boxes[..., :2]
        assert SMALLEST - 1e-3 < sizes.min() < SMALLEST + 0.1
        assert LARGEST - 0.1 < sizes.max() < LARGEST + 1e-3
    seen = shares_in_view(cut)
    assert (seen == 0).mean() == pytest.approx(0.29, abs=0.01)
    assert (seen == 1).mean() == pytest.approx(0.19, abs=0.01)
    centres = (cut[..., :2] + cut[..., 2:]) / 2
    assert ((centres > 0) & (centres < SIZE)).all(-1).mean() == pytest.approx(0.41, abs=0.02)


def test_digits_of_training_and_of_test_are_others() -> None:
    train, test = (read_digits("sklearn", part) for part in (True, False))
    assert len(train) + len(test) == 1797
    known = {image.tobytes() for image in train.images}
    assert sum(image.tobytes() in known for image in test.images) == 0
    assert np.bincount(test.labels).min() > 25


def test_greys_are_summed_up_to_white() -> None:
    grey = Digits(np.full((1, 2, 2), 0.4, np.float32), np.array([[2, 2]]), np.array([0]))
    image = ScatteredDigits(grey, count=60).render(np.array([0])).images
    assert image.max() == 255
    assert {102, 204} <= set(np.unique(image).tolist())


def test_a_scene_may_be_empty() -> None:
    scenes = ScatteredDigits(BLOCK, count=0).render(np.arange(2))
    assert scenes.images.shape == (2, 1, 64, 64)
    assert not scenes.images.any()
    assert scenes.boxes.shape == (2, 0, 4)


def test_stretching_is_bilinear() -> None:
    weights = stretch(np.float32([10]), np.float32([14]), np.array([2]), 3)[0]
    assert not weights[:10].any()
    assert not weights[14:].any()
    np.testing.assert_allclose(weights[10:14], [[1, 0, 0], [0.75, 0.25, 0], [0.25, 0.75, 0], [0, 1, 0]])


@settings(max_examples=30)
@given(st.floats(-60, 60), st.floats(15, 25), st.integers(1, 20))
def test_what_is_in_the_box_has_weights_that_sum_to_one(low: float, length: float, pixels: int) -> None:
    weights = stretch(np.float32([low]), np.float32([low + length]), np.array([pixels]), 20)[0]
    inside = weights.sum(1)
    assert np.all((np.abs(inside - 1) < 1e-4) | (inside == 0))
    assert not weights[:, pixels:].any()


def test_at_least_2000_scenes_a_second() -> None:
    data = own()
    data.render(np.arange(32))
    spent = []
    for k in range(3):
        began = time.process_time()
        data.render(np.arange(200) + 200 * k)
        spent.append(time.process_time() - began)
    assert 200 / min(spent) > 2000


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="index -1 is not in the data"):
        own().render(np.array([-1]))
    with pytest.raises(ValueError, match="there must be some"):
        ScatteredDigits(trimmed(np.zeros((1, 4, 4), np.float32), np.zeros(1, np.int64)))


# ---- MNIST


def idx(kind: int, content: np.ndarray) -> bytes:  # type: ignore[type-arg]
    return struct.pack(f">BBBB{content.ndim}I", 0, 0, 8, kind, *content.shape) + content.astype(np.uint8).tobytes()


def mnist(root: Path) -> Path:
    """MNIST's four files with three digits each."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, value in (("train", 50), ("t10k", 90)):
        images = np.zeros((3, 28, 28), np.uint8)
        images[0, 4:24, 10:13] = value
        images[1, 9:19, 3:27] = value  # the third is empty
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(3, images))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(1, np.array([1, 2, 3])))
    return root


def test_mnist_is_cut_to_its_ink(tmp_path: Path) -> None:
    digits = read_digits("mnist", True, str(mnist(tmp_path)))
    assert digits.sizes.tolist() == [[20, 3], [10, 24]]
    assert digits.labels.tolist() == [1, 2]
    assert digits.images.shape == (2, 24, 24)
    assert digits.images[0, :20, :3].min() == digits.images.max() == pytest.approx(50 / 255)
    assert read_digits("mnist", False, str(tmp_path)).images.max() == pytest.approx(90 / 255)


def test_without_mnist_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not hold MNIST .* nothing is downloaded"):
        read_digits("mnist", True, str(tmp_path))
    root = mnist(tmp_path / "broken")
    (root / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"\x00\x00")
    with pytest.raises(UserError, match="does not hold MNIST"):
        read_digits("mnist", True, str(root))
