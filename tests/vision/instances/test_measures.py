"""Losses, clustering, matching and SOLO's parts, each where the answer is known by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.data.instances import DiscGrid
from vision.instances.found import SMALLEST, Found, k_means, mean_shift
from vision.instances.losses import discriminative, distance, embedding_losses, foreground, means_of
from vision.instances.matching import (
    average_precision,
    ious,
    masks_of,
    matches,
    pairs,
    scored,
    symmetric_best_dice,
)  # fmt: skip
from vision.instances.solo import cells_of, find_objects, focal_loss, matrix_nms, solo_losses

BYTE = torch.uint8


def row(*numbers: int) -> torch.Tensor:
    return torch.tensor([[numbers]], dtype=BYTE)


# ---- losses of embeddings


def test_means_leave_the_background_out() -> None:
    vectors = torch.tensor([[[1.0, 3.0, 100.0, 5.0]], [[2.0, 7.0, 9.0, 100.0]]])
    means, counts = means_of(vectors, torch.tensor([[1, 1, 0, 2], [2, 1, 1, 0]]), 2)
    assert means.tolist() == [[[2.0], [5.0]], [[8.0], [2.0]]]
    assert counts.tolist() == [[2, 1], [2, 1]]


def test_the_discriminative_loss_by_hand() -> None:
    # Object 1 at 0 and 4, mean 2, each 2 from it; object 2 at 5. Of the background nothing counts.
    vectors = torch.tensor([[[[0.0, 4.0, 5.0, 1000.0]]]])
    pull, push, lengths = discriminative(vectors, row(1, 1, 2, 0), 0.5, 2.5)
    assert float(pull) == pytest.approx((1.5**2 + 0) / 2)  # over objects, not over pixels
    assert float(push) == pytest.approx((5 - 3) ** 2)  # over ordered pairs: both count the same
    assert float(lengths) == pytest.approx((2 + 5) / 2)
    pull, push, _ = discriminative(vectors, row(1, 1, 1, 0), 0.5, 2.5)
    assert float(push) == 0


def test_images_of_unlike_numbers_of_objects_count_alike() -> None:
    vectors = torch.tensor([[[[0.0, 1.0, 2.0]]], [[[0.0, 4.0, 9.0]]]])
    ids = torch.tensor([[[1, 2, 3]], [[1, 2, 0]]], dtype=BYTE)
    _, push, _ = discriminative(vectors, ids, 0.5, 1.5)
    first = 2 * ((3 - 1) ** 2 + (3 - 1) ** 2 + (3 - 2) ** 2) / 6
    assert float(push) == pytest.approx((first + 0) / 2)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_loss_does_not_hang_on_numbers_or_places(seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    vectors = torch.randn(1, 3, 4, 5, generator=stream)
    ids = torch.randint(4, (1, 4, 5), generator=stream).to(BYTE)
    order = torch.randperm(20, generator=stream)
    moved = vectors.flatten(2)[..., order].view_as(vectors)
    swapped = torch.tensor([0, 3, 1, 2], dtype=BYTE)[ids.flatten(1)[:, order].long()].view_as(ids)
    for a, b in zip(discriminative(vectors, ids, 0.5, 1.5), discriminative(moved, swapped, 0.5, 1.5), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(distance(vectors, ids), distance(moved, swapped))


def test_equal_embeddings_have_a_gradient_that_is_finite_and_does_not_part_them() -> None:
    vectors = torch.ones(1, 2, 1, 4, requires_grad=True)
    _, push, _ = discriminative(vectors, row(1, 1, 2, 2), 0.5, 1.5)
    push.backward()
    assert push.item() == pytest.approx(9)
    assert vectors.grad is not None
    assert vectors.grad.abs().max() == 0


def test_the_distance_is_not_squared() -> None:
    vectors = torch.tensor([[[[0.0, 6.0, 1.0]], [[0.0, 8.0, 1.0]]]])
    assert float(distance(vectors, row(1, 1, 2))) == pytest.approx((5 + 0) / 2)


def test_foreground_and_the_sum_of_parts() -> None:
    logits = torch.tensor([[[0.0, math.log(3)]]])
    assert float(foreground(logits, row(1, 0))) == pytest.approx((math.log(2) + math.log(4)) / 2)
    out = torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    parts = embedding_losses(out, row(1, 1, 2, 0), "discriminative", 0.5, 1.5)
    lengths = discriminative(out[:, :-1], row(1, 1, 2, 0), 0.5, 1.5)[2]
    whole = parts["loss/pull"] + parts["loss/push"] + 0.001 * lengths + parts["loss/foreground"]
    torch.testing.assert_close(parts["loss/train"], whole)
    own = embedding_losses(out, row(1, 1, 2, 0), "distance", 0.5, 1.5)
    torch.testing.assert_close(own["loss/train"], own["loss/distance"] + own["loss/foreground"])


# ---- clustering and scores


def scene(count: int = 1) -> np.ndarray:
    return DiscGrid(24, 96).render(np.arange(count)).ids


def made_up(ids: np.ndarray, alike: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings four apart, with noise; the first ``alike`` objects share one. And the foreground's probability."""
    at = np.array(list(itertools.product(range(4), repeat=3)), np.float64)[: ids.max()] * 4
    at[:alike] = at[0]
    vectors = np.concatenate([np.full((1, 3), 50.0), at])[ids].transpose(2, 0, 1)
    draws = np.random.default_rng(0).normal(size=vectors.shape) * noise
    return vectors + draws, np.where(ids > 0, 0.9, 0.1)


def test_clusters_of_made_up_embeddings_are_the_objects() -> None:
    (ids,) = scene()
    vectors, there = made_up(ids)
    for found in (mean_shift(vectors, there, 1.5), k_means(vectors, there, 16)):
        assert found.scores == pytest.approx(np.full(16, 0.9))
        assert sorted(matches(found.masks, masks_of(ids)).values()) == list(range(16))
        assert scored([found], ids[None]) == {"pairs": 1, "sbd": 1, "count_error": 0}
        assert average_precision([found], ids[None]) == pytest.approx({"ap50": 1, "ap": 1})


def test_objects_that_share_an_embedding_are_one_cluster_and_not_told_apart() -> None:
    (ids,) = scene()
    vectors, there = made_up(ids, alike=4)
    found = mean_shift(vectors, there, 1.5)
    assert len(found.masks) == 13
    told = scored([found], ids[None])
    assert told["pairs"] == pytest.approx(12 * 11 / (16 * 15))
    assert told["count_error"] == 3
    # The four's cluster has a Dice of 2 / 5 with each of them; of twelve others it is 1.
    assert told["sbd"] == pytest.approx(min((12 + 2 / 5) / 13, (12 + 4 * 2 / 5) / 16))


def test_equal_embeddings_are_one_cluster_under_k_means_too_and_nothing_is_warned_of() -> None:
    (ids,) = scene()
    vectors, there = made_up(ids, alike=16, noise=0)
    assert len(k_means(vectors, there, 16).masks) == 1
    assert len(mean_shift(vectors, there, 1.5).masks) == 1
    nothing = np.zeros_like(there)
    assert len(k_means(vectors, nothing, 16).masks) == len(mean_shift(vectors, nothing, 1.5).masks) == 0


def test_stray_pixels_are_no_objects_of_mean_shift() -> None:
    (ids,) = scene()
    vectors, there = made_up(ids)
    vectors[:, *np.argwhere(ids == 0)[:SMALLEST].T] = 50  # SMALLEST pixels of the background taken for foreground
    there[*np.argwhere(ids == 0)[:SMALLEST].T] = 0.9
    assert len(mean_shift(vectors, there, 1.5).masks) == 17
    there[*np.argwhere(ids == 0)[0]] = 0.1
    assert scored([mean_shift(vectors, there, 1.5)], ids[None]) == {"pairs": 1, "sbd": 1, "count_error": 0}


def test_scores_by_hand() -> None:
    true = masks_of(np.array([[1, 1, 2, 2, 0, 0]], np.uint8))
    found = np.array([[[1, 1, 1, 0, 0, 0]], [[0, 0, 0, 0, 1, 1]]], bool)
    np.testing.assert_allclose(ious(found, true), [[2 / 3, 1 / 4], [0, 0]])
    assert matches(found, true) == {0: 0}
    assert pairs(found, true) == 0
    assert symmetric_best_dice(found, true) == pytest.approx(min((4 / 5 + 0) / 2, (4 / 5 + 2 / 5) / 2))
    none = np.zeros((0, 1, 6), bool)
    assert symmetric_best_dice(none, true) == symmetric_best_dice(found, none) == 0
    assert symmetric_best_dice(none, none) == 1
    assert math.isnan(pairs(found, true[:1]))


def test_the_matching_is_one_to_one_and_the_best_of_all() -> None:
    true = np.zeros((2, 1, 10), bool)
    true[0, 0, :6], true[1, 0, 6:] = True, True
    found = np.stack([true[0], true[0]])
    assert len(matches(found, true)) == 1
    assert pairs(np.concatenate([found, true]), true) == 1


def test_average_precision_counts_the_surer_false_ones() -> None:
    ids = np.array([[1, 1, 0, 0]], np.uint8).repeat(4, 0)
    right, wrong = ids == 1, ids == 0
    for scores, expected in (((0.9, 0.5), 1.0), ((0.5, 0.9), 0.5)):
        found = Found(np.stack([right, wrong]), np.array(scores))
        assert average_precision([found], ids[None])["ap50"] == pytest.approx(expected)
    nothing = Found(np.zeros((0, 4, 4), bool), np.zeros(0))
    assert average_precision([nothing], ids[None]) == {"ap50": 0, "ap": 0}


# ---- SOLO


def test_cells_are_those_around_the_centre_of_mass() -> None:
    ids = np.zeros((80, 80), np.uint8)
    ids[0:10, 70:80] = 1  # in one cell
    ids[35:45, 35:45] = 2  # its centre region, 2 pixels around the corner of four cells
    ids[60:80, 0:80] = 3  # 16 pixels wide and 4 high around (70, 40)
    cells = cells_of(ids, 8)
    expected = np.zeros((8, 8), int)
    expected[0, 7] = 1
    expected[3:5, 3:5] = 2
    expected[6:8, 3:5] = 3
    np.testing.assert_array_equal(cells, expected)


def test_the_focal_loss_by_hand() -> None:
    logit = math.log(3)  # a probability of three quarters
    found = focal_loss(torch.tensor([logit, logit]), torch.tensor([1.0, 0.0]))
    right, wrong = 0.25 * 0.25**2 * -math.log(0.75), 0.75 * 0.75**2 * -math.log(0.25)
    assert float(found) == pytest.approx(right + wrong, rel=1e-5)


def test_matrix_nms_by_hand() -> None:
    masks = torch.zeros(3, 10)
    masks[0, :8], masks[1, :4], masks[2, 8:] = 1, 1, 1  # the second is half of the first
    decay = matrix_nms(masks)
    torch.testing.assert_close(decay, torch.tensor([1.0, math.exp(-2 * 0.25), 1.0]))
    third = torch.stack([masks[0], masks[1], masks[1]])
    # Twice the same: it falls by its surer copy less than that has fallen, and by the first as that.
    torch.testing.assert_close(matrix_nms(third)[2], torch.tensor(math.exp(-2 * (1 - 0.25))))
    assert matrix_nms(masks[:0]).shape == (0,)


def test_sure_logits_lose_nothing_and_are_found() -> None:
    (ids,) = scene()
    cells = torch.from_numpy(cells_of(ids, 12))
    category = torch.where(cells > 0, 12.0, -12.0)
    masks = torch.stack([torch.where(torch.from_numpy(ids == number) & bool(number), 12.0, -12.0)
                         for number in cells.flatten().tolist()])  # fmt: skip
    losses = solo_losses(category[None], masks[None], torch.from_numpy(ids)[None])
    assert float(losses["loss/train"]) < 1e-3
    found = find_objects(category, masks, 96).above(0.3)
    assert scored([found], ids[None]) == {"pairs": 1, "sbd": 1, "count_error": 0}
    assert len(find_objects(category - 30, masks, 96).masks) == 0
    worse = solo_losses(category[None], -masks[None], torch.from_numpy(ids)[None])
    assert float(worse["loss/dice"]) > 0.9
