"""Objects found in images made by hand, with answers worked out by hand, and in the data themselves."""

import numpy as np
import pytest
from drawn import BLUE, COLUMNS, RED, ROWS, Image, blank, blend, paint, place, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sandbox.data.shapes import SortOfClevr, ideal_mask
from sandbox.scores.objects import parse
from sandbox.scores.samples import validity


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 2**32))
def test_clear_data_are_measured_exactly_and_all_valid(seed: int, start: int) -> None:
    shapes = SortOfClevr(seed).render(np.arange(start, start + 50))
    objects = parse(shapes.images)
    np.testing.assert_array_equal(objects.centres, shapes.centres)
    np.testing.assert_array_equal(objects.kinds, shapes.kinds)
    np.testing.assert_array_equal(objects.areas, np.where(shapes.kinds == 0, 441, 317))
    assert (objects.ious == 1).all()
    assert not objects.seconds.any()
    assert not objects.clutter.any()
    assert validity(shapes.images).scores() == {"valid": 1.0, "located": 1.0}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sigma=st.floats(0.5, 6))
def test_parse_agrees_with_a_loop_over_images(seed: int, sigma: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(4, 3, 64, 64)), (0, 0, sigma, sigma))
    images = np.where(noise > 0, 255, 0).astype(np.uint8)
    objects = parse(images)
    for i, image in enumerate(images):
        on = image >= 128
        found = np.zeros((64, 64), dtype=bool)
        for k, channel in enumerate((0, 2)):
            mask = on[channel] & (on.sum(axis=0) == 1)
            labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
            sizes = [*sorted(np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist(), reverse=True), 0, 0]
            assert (objects.areas[i, k], objects.seconds[i, k]) == (sizes[0], sizes[1])
            largest = np.argmax(np.bincount(labels.ravel(), minlength=2)[1:]) + 1  # of equals the first
            found |= labels == largest
            if sizes[0] > sizes[1]:
                np.testing.assert_allclose(objects.centres[i, k], ndimage.center_of_mass(labels == largest))
        edge = ndimage.binary_dilation(found, np.ones((3, 3)))
        blend = edge & ~on.all(axis=0) & ~((on.sum(axis=0) == 1) & ~on[1])
        assert objects.clutter[i] == np.sum(~on.all(axis=0) & ~found & ~blend)


def test_the_blend_along_an_edge_is_no_clutter_but_a_stain_is() -> None:
    image = scene((20, 20), (45, 45))
    image[:, 9, 10:31] = np.array([200, 90, 140], np.uint8)[:, None]  # magenta beside the red square's upper edge
    assert parse(image[None]).clutter[0] == 0
    image[:, 7, 10:31] = np.array([200, 90, 140], np.uint8)[:, None]  # two pixels away
    assert parse(image[None]).clutter[0] == 21


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), order=st.permutations(range(6)))
def test_an_image_is_measured_alone(seed: int, order: list[int]) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (6, 3, 64, 64), dtype=np.uint8)
    images[1::2] = SortOfClevr(seed, "paper").render(np.arange(3)).images
    here, there = parse(images), parse(images[order])
    for name in ("areas", "seconds", "centres", "ious", "kinds", "clutter"):
        np.testing.assert_array_equal(getattr(here, name)[order], getattr(there, name))


def test_components_join_at_corners_and_never_across_images() -> None:
    corner = paint(blank(), ((ROWS < 10) & (COLUMNS < 10)) | ((ROWS // 10 == 1) & (COLUMNS // 10 == 1)), RED)
    below = paint(blank(), (ROWS > 50) & (COLUMNS < 20), RED)
    above = paint(blank(), (ROWS < 13) & (COLUMNS < 20), RED)
    assert parse(np.stack([corner, below, above])).areas[:, 0].tolist() == [200, 260, 260]
    assert not parse(np.stack([corner, below, above])).seconds.any()


def test_channels_are_cut_at_128_and_of_equal_components_the_first_counts() -> None:
    almost, just = (paint(blank(), ROWS < 5, np.array([128, level, 127], np.uint8)) for level in (128, 127))
    objects = parse(np.stack([almost, just]))  # yellow, red
    assert (objects.areas[:, 0].tolist(), objects.clutter.tolist()) == ([0, 320], [320, 0])
    equals = paint(blank(), (abs(ROWS - 30) == 20) & (COLUMNS < 4), RED)
    objects = parse(equals[None])
    assert (objects.centres[0, 0].tolist(), objects.seconds[0, 0], objects.clutter[0]) == ([10, 1.5], 4, 4)


def test_iou_by_hand() -> None:
    shorter = paint(blank(), (abs(ROWS - 30) <= 9) & (abs(COLUMNS - 30) <= 10), RED)  # 19 x 21 of 21 x 21
    even = paint(blank(), (ROWS >= 20) & (ROWS < 40) & (abs(COLUMNS - 30) <= 10), RED)  # 20 x 21, centroid at a half
    cut = paint(blank(), (ROWS < 19) & (abs(COLUMNS - 30) <= 10), RED)  # a square at row 8, over the edge by two rows
    objects = parse(np.stack([shorter, even, cut]))
    np.testing.assert_allclose(objects.ious[:, 0], [19 / 21, 20 / 21, 19 / 21])
    assert objects.kinds[:, 0].tolist() == [0, 0, 0]
    assert objects.centres[1, 0].tolist() == [29.5, 30]


def test_a_missing_colour_has_no_centre() -> None:
    objects = parse(scene(blue=None)[None])
    assert (objects.areas[0].tolist(), objects.kinds[0].tolist(), objects.ious[0].tolist()) == (
        [441, 0],
        [0, -1],
        [1, 0],
    )
    assert np.isnan(objects.centres[0, 1]).all()
    assert objects.located.tolist() == [[True, False]]
    assert parse(np.zeros((0, 3, 64, 64), dtype=np.uint8)).areas.shape == (0, 2)


def is_valid(image: Image) -> bool:
    return validity(image[None]).valid == 1


def test_eight_pixels_of_clutter_are_allowed_and_nine_are_not() -> None:
    assert is_valid(scene())
    for colour in (
        RED,
        BLUE,
        np.zeros(3, np.uint8),
        np.array([0, 255, 0], np.uint8),
        np.array([255, 0, 255], np.uint8),
    ):
        assert is_valid(paint(scene(), (ROWS == 62) & (COLUMNS < 8), colour))
        assert not is_valid(paint(scene(), (ROWS == 62) & (COLUMNS < 9), colour))
    apart = (ROWS % 4 == 0) & (COLUMNS == 62)  # 16 single pixels: no second component above the limit, still clutter
    assert parse(paint(scene(), apart, RED)[None]).whole.all()
    assert not is_valid(paint(scene(), apart, RED))


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.25, 0.25)])
def test_no_diamond_is_valid(offset: tuple[float, float]) -> None:
    distance = abs(ROWS - 20 - offset[0]) + abs(COLUMNS - 20 - offset[1])
    radii = np.arange(1, 24, 0.25)
    images = np.stack([paint(scene(red=None, blue=(53, 53)), distance <= radius, RED) for radius in radii])
    objects = parse(images)
    assert objects.located.all(axis=1).any()
    assert objects.ious[:, 0].max() < 0.82
    assert validity(images).valid == 0


def test_a_slightly_wrong_shape_is_valid() -> None:
    lower = paint(scene(red=None), (abs(COLUMNS - 20) <= 10) & (ROWS >= 12) & (ROWS < 30), RED)  # 18 of 21 rows
    larger = paint(scene(red=None), (ROWS - 20) ** 2 + (COLUMNS - 20) ** 2 <= 10.5**2, RED)
    assert is_valid(lower)
    assert is_valid(larger)


def test_faults_of_generators_are_not_valid() -> None:
    one, other = scene((14, 14), (14, 49)), scene((49, 14), (49, 49))
    faults = {
        "fade": blend(one, other, 0.5),
        "pale": blend(blank(), scene(), 0.4),
        "twice": paint(scene(), place(ideal_mask(1, 10), 50, 12), RED),
        "small": paint(scene(red=None), (ROWS - 20) ** 2 + (COLUMNS - 20) ** 2 <= 49, RED),
        "purple": paint(scene(blue=None), place(ideal_mask(0, 10), 45, 45), np.array([200, 0, 200], np.uint8)),
        "no red": scene(red=None),
        "no blue": scene(blue=None),
        "nothing": blank(),
        "negative": 255 - scene(),
    }
    assert {name for name, image in faults.items() if is_valid(image)} == set()
    assert is_valid(one)
    assert is_valid(other)


def test_located_asks_for_one_clear_component_of_any_shape() -> None:
    def located(mask: np.ndarray) -> bool:
        return bool(parse(paint(blank(), mask, RED)[None]).located[0, 0])

    strip = np.arange(4096).reshape(64, 64)
    assert [located(strip < area) for area in (157, 158, 661, 662)] == [False, True, True, False]
    second = (ROWS == 62) & (COLUMNS < 8)
    assert located((strip < 300) | second)
    assert not located((strip < 300) | second | ((ROWS == 62) & (COLUMNS == 8)))
