"""Divergence and entropies of positions, and coherence along paths, with answers worked out by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from drawn import Image, blank, blend, scene

from sandbox.data.shapes import SortOfClevr
from sandbox.scores.objects import parse
from sandbox.scores.samples import coherence, position_divergence, position_entropies, validity


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
