"""The scores on images made by hand, with answers worked out by hand, and on the data themselves."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sandbox.data.shapes import SortOfClevr, ideal_mask
from sandbox.scores.objects import parse
from sandbox.scores.samples import coherence, position_divergence, position_entropies, validity

RED, BLUE = np.array([255, 0, 0], dtype=np.uint8), np.array([0, 0, 255], dtype=np.uint8)
ROWS, COLUMNS = np.indices((64, 64))
Image = np.ndarray


def blank() -> Image:
    return np.full((3, 64, 64), 255, dtype=np.uint8)


def paint(image: Image, mask: np.ndarray, colour: np.ndarray) -> Image:
    image = image.copy()
    image[:, mask] = colour[:, None]
    return image


def place(mask: np.ndarray, row: int, column: int) -> np.ndarray:
    """A mask of the ideal's size on the canvas, centred there."""
    canvas = np.zeros((64, 64), dtype=bool)
    canvas[row - 10 : row + 11, column - 10 : column + 11] = mask
    return canvas


def scene(red: tuple[int, int] | None = (20, 20), blue: tuple[int, int] | None = (45, 45), kind: int = 0) -> Image:
    """A whole red and a whole blue object of one kind, or less."""
    image = blank()
    for centre, colour in ((red, RED), (blue, BLUE)):
        if centre is not None:
            image = paint(image, place(ideal_mask(kind, 10), *centre), colour)
    return image


def blend(one: Image, other: Image, share: float) -> Image:
    return np.rint((1 - share) * one.astype(float) + share * other).astype(np.uint8)


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


def constant(image: Image, batch: int = 500) -> Callable[[int], np.ndarray]:
    return lambda _: np.broadcast_to(image, (batch, 3, 64, 64)).copy()


def test_divergence_by_hand() -> None:
    here, there = [[20, 20], [45, 45]], [[20, 20], [45, 20]]  # red agrees, half of the blue ones do not
    scored = position_divergence(constant(scene()), np.array([here, there]))
    half = 0.5 * (math.log(1 / 0.75) + 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    np.testing.assert_allclose([scored.red, scored.blue, scored.difference], [0, half, half], atol=1e-12)
    np.testing.assert_allclose(scored.mean, 2 / 3 * half)
    assert (scored.located, scored.drawn, scored.entropies) == (1000, 1000, (0.0, 0.0, 0.0))
    elsewhere = position_divergence(constant(scene()), np.array([[[50, 20], [15, 45]]]))
    np.testing.assert_allclose([elsewhere.red, elsewhere.blue, elsewhere.difference], math.log(2))


def test_real_data_reach_the_floor() -> None:
    data, fresh = SortOfClevr(seed=0), SortOfClevr(seed=1)
    scored = position_divergence(
        lambda batch: fresh.render(np.arange(batch * 256, batch * 256 + 256)).images,
        data.factors(np.arange(20_000)).centres,
    )
    scores = scored.scores()
    assert all(scores[name] < 0.015 for name in scores if "divergence" in name)
    assert scores["position_drawn"] == 1000


@pytest.mark.parametrize("batch", [100, 333, 900])
def test_divergence_depends_on_the_images_not_on_the_batches(batch: int) -> None:
    data = SortOfClevr(seed=0)
    images = data.render(np.arange(1600)).images
    images[::3] = 255  # a third of the samples are empty
    images = np.concatenate([images, images])  # batches may read beyond the 1500 that are needed

    def score(size: int) -> dict[str, float]:
        return position_divergence(
            lambda b: images[b * size : (b + 1) * size], data.factors(np.arange(5000)).centres
        ).scores()

    assert score(batch) == score(1600)
    assert score(batch)["position_drawn"] == 1500


def test_too_few_located_samples_give_nan() -> None:
    images = np.concatenate([scene()[None]] * 3 + [blank()[None]] * 97)
    scored = position_divergence(lambda _: images, np.array([[[20, 20], [45, 45]]]), max_drawn=1050)
    assert (scored.located, scored.drawn) == (33, 1050)
    assert math.isnan(scored.mean)
    assert all(math.isnan(entropy) for entropy in scored.entropies)


@pytest.mark.parametrize(("located", "drawn"), [(2, 4000), (3, 20_000)])
def test_a_hopeless_generator_is_not_drawn_from_to_the_end(located: int, drawn: int) -> None:
    images = np.concatenate([scene()[None]] * located + [blank()[None]] * (100 - located))
    scored = position_divergence(lambda _: images, np.array([[[20, 20], [45, 45]]]))
    assert scored.drawn == drawn
    assert math.isnan(scored.mean)


def test_positions_are_rounded_to_whole_pixels() -> None:
    nearly = scene(red=(32, 32), blue=(53, 53))
    nearly[:, 42, 30] = 255  # one pixel less below: the centroid is above the cell edge at 32, the object is not
    assert parse(nearly[None]).centres[0, 0, 0] < 32
    assert position_divergence(constant(nearly), np.array([[[32, 32], [53, 53]]])).mean == 0


def test_entropies_by_hand_and_of_the_data() -> None:
    corners = np.array([[[r, c], [30, 30]] for r in (12, 50) for c in (12, 50)])
    np.testing.assert_allclose(position_entropies(corners), [math.log(4), 0, math.log(4)], atol=1e-12)
    paper = position_entropies(SortOfClevr(seed=0, separation="paper").factors(np.arange(1000)).centres)
    np.testing.assert_allclose(paper, [4.0, 4.0, 3.55], atol=0.05)


def glide(rows: list[int]) -> np.ndarray:
    """The red object at these rows; the blue one stands still."""
    return np.stack([scene((row, 14), (45, 49)) for row in rows])


def fade(row: int, to: int, shares: list[float]) -> np.ndarray:
    start, end = glide([row, to])
    return np.stack([blend(start, end, share) for share in shares])


def test_an_object_that_glides_is_coherent_and_one_that_stands_still_undefined() -> None:
    scored = coherence(glide(list(range(12, 40, 4))))
    assert scored.carried.tolist() == [[24, 0]]
    assert scored.values[0, 0] == 1
    assert np.isnan(scored.values[0, 1])
    assert scored.scores() == {"coherence": 1.0, "coherence_undefined": 0.5, "coherence_paths": 1.0}


def test_fades_and_teleports_are_not_coherent() -> None:
    crossfade = fade(14, 45, [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1])
    vanish = np.concatenate([glide([14]), scene(None, (45, 49))[None], glide([45])])
    teleport = glide([14, 14, 45, 45])
    too_fast = glide([14, 19, 24])
    diagonal = np.stack([scene((12, 14)), scene((15, 17)), scene((18, 20))])  # 4.24 pixels a step
    for path in (crossfade, vanish, teleport, too_fast, diagonal):
        assert coherence(path).values[0, 0] == 0


def test_a_gap_in_a_glide_by_hand() -> None:
    path = np.concatenate([glide([12, 15, 18]), scene(None, (45, 49))[None], glide([24, 26, 29])])
    scored = coherence(path)
    assert (scored.carried[0, 0], scored.jumped[0, 0]) == (3 + 3 + 2 + 3, 6)
    np.testing.assert_allclose(scored.values[0, 0], 11 / 17)


def test_a_short_gap_is_a_jump_too() -> None:
    gone = scene(None, (45, 49))[None]
    scored = coherence(np.concatenate([glide([12, 15]), gone, glide([18])]))
    assert (scored.carried[0, 0], scored.jumped[0, 0]) == (3, 3)


def test_frames_before_the_first_and_after_the_last_whole_one_do_not_count() -> None:
    gone = scene(None, (45, 49))[None]
    scored = coherence(np.concatenate([gone, glide([12, 15, 18]), gone, gone]))
    assert (scored.carried[0, 0], scored.jumped[0, 0]) == (6, 0)
    nothing = coherence(np.concatenate([gone, glide([12]), gone]))
    assert math.isnan(nothing.scores()["coherence"])
    assert nothing.scores()["coherence_undefined"] == 1


def test_less_than_five_pixels_of_movement_are_undefined() -> None:
    assert np.isnan(coherence(glide([12, 14, 16])).values[0, 0])
    assert coherence(glide([12, 14, 17])).values[0, 0] == 1


def test_paths_are_scored_one_by_one() -> None:
    one, two = glide([12, 15, 18, 21]), glide([12, 15, 40, 43])
    both = coherence(np.stack([one, two]))
    np.testing.assert_array_equal(both.values[0], coherence(one).values[0])
    np.testing.assert_array_equal(both.values[1], coherence(two).values[0])
    np.testing.assert_allclose(both.scores()["coherence"], (1 + 6 / 31) / 2)
    assert both.scores()["coherence_paths"] == 2


def test_bad_arguments_are_named() -> None:
    small = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    centres = np.array([[[20, 20], [45, 45]]])
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 32\); allowed are \(n, 3, 64, 64\)"):
        parse(small)
    with pytest.raises(ValueError, match="0 images"):
        validity(np.zeros((0, 3, 64, 64), dtype=np.uint8))
    with pytest.raises(ValueError, match="max_drawn is 10; allowed are 1000"):
        position_divergence(constant(scene()), centres, max_drawn=10)
    with pytest.raises(ValueError, match="0 data centres"):
        position_divergence(constant(scene()), centres[:0])
    with pytest.raises(ValueError, match="batch 0 of samples has 0 images"):
        position_divergence(constant(scene(), batch=0), centres)
    with pytest.raises(ValueError, match="paths are"):
        coherence(glide([12]))
