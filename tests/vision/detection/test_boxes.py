"""Anchors, matching, sampling, losses and scores of boxes that are set by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from vision.detection.boxes import EDGES, Found, Truths, anchors_of, clipped, kept, moved, moves_to
from vision.detection.losses import losses, released_l1, sample
from vision.detection.scores import Overlaps, Precision, in_view

SIZE = (64, 64)


def truths(*images: list[list[float]], crowd: list[list[int]] | None = None) -> Truths:
    """The objects of some images, filled up to the most of them."""
    most = max(map(len, images))
    boxes, there = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for k, own in enumerate(images):
        for m, box in enumerate(own):
            boxes[k, m], there[k, m] = torch.tensor(box), True
    aside = torch.zeros_like(there)
    for k, numbers in enumerate(crowd or []):
        aside[k, numbers], there[k, numbers] = True, False
    return Truths(boxes, there, torch.zeros(len(images), most, dtype=torch.long), aside)


def found(*boxes: list[float], labels: list[int] | None = None) -> Found:
    tensor = torch.tensor(boxes).view(-1, 4)
    kinds = torch.tensor(labels or [0] * len(boxes), dtype=torch.long)
    return Found(tensor, torch.linspace(0.9, 0.5, len(boxes)), kinds)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- boxes


def test_anchors_lie_around_their_cells() -> None:
    anchors = anchors_of((2, 3), 4, 8.0, (10.0, 20.0)).view(2, 3, 4, 4)
    assert anchors[0, 0].tolist() == [[3, 3, 13, 13], [-2, 3, 18, 13], [3, -2, 13, 18], [-2, -2, 18, 18]]
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2
    assert centres[1, 2].tolist() == [[16, 12]] * 4


def test_cutting_off_leaves_a_pixel() -> None:
    boxes = torch.tensor([[-30.0, 10, -5, 30], [70, -9, 90, -2], [-3, 60, 20, 80], [1, 2, 3, 4]])
    assert clipped(boxes, (64, 64)).tolist() == [[0, 10, 1, 30], [63, 0, 64, 1], [0, 60, 20, 64], [1, 2, 3, 4]]
    assert clipped(boxes, (20, 70)).tolist() == [[0, 10, 1, 20], [69, 0, 70, 1], [0, 19, 20, 20], [1, 2, 3, 4]]


def test_moves_take_anchors_to_truths_and_back() -> None:
    anchors = torch.tensor([[10.0, 10, 30, 20]])
    truth = torch.tensor([[12.0, 15, 52, 20]])
    moves = moves_to(truth, anchors)
    torch.testing.assert_close(moves, torch.tensor([[0.6, 0.25, math.log(2), math.log(0.5)]]))
    torch.testing.assert_close(moved(anchors, moves[None])[0], truth)
    assert moved(anchors, torch.full((1, 1, 4), 1e4)).isfinite().all()


def test_ten_are_kept_and_those_too_alike_are_dropped() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [30, 30, 40, 40]]] * 2)
    scores = torch.tensor([[0.5, 0.9, 0.8, 0.1], [0.9, 0.5, 0.1, 0.8]])
    first, second = kept(boxes, scores, most=3)
    assert first.boxes.tolist() == boxes[0, [1, 2, 3]].tolist()  # IoU .9 with the first one
    assert second.boxes.tolist() == boxes[0, [0, 3, 2]].tolist()
    assert [len(one.boxes) for one in kept(boxes, scores, most=2)] == [2, 2]


# ---- what learns what


def ious(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)[None]


def test_positive_is_above_half_or_best_and_negative_below_a_tenth_with_all() -> None:
    matrix = ious([[0.6, 0.0], [0.4, 0.0], [0.05, 0.05], [0.0, 0.3], [0.05, 0.2], [0.0, 0.0]])
    own = truths([[0.0, 0, 9, 9], [0, 0, 9, 9]])
    drawn = sample(matrix, own, draws())
    pairs = torch.stack([drawn.positive[drawn.positives], drawn.truth[drawn.positives]], 1)
    assert sorted(pairs.tolist()) == [[0, 0], [3, 1]]  # above half; the best of the second object
    assert set(drawn.negative[drawn.negatives].tolist()) == {2, 5}


def test_a_proposal_without_overlap_is_nobody_s_best() -> None:
    drawn = sample(torch.zeros(1, 9, 2), truths([[0.0, 0, 9, 9], [0, 0, 9, 9]]), draws())
    assert not drawn.positives.any()
    assert drawn.negatives.sum() == 6


def test_where_no_proposal_is_far_from_all_the_others_are_negative() -> None:
    drawn = sample(ious([[0.6], [0.3], [0.2]]), truths([[0.0, 0, 9, 9]]), draws())
    assert set(drawn.negative[drawn.negatives].tolist()) == {1, 2}


def test_a_crowd_is_neither_found_nor_missed() -> None:
    drawn = sample(ious([[0.9, 0.0], [0.0, 0.9], [0.0, 0.0]]), truths([[0.0, 0, 9, 9]] * 2, crowd=[[1]]), draws())
    assert drawn.positive[drawn.positives].tolist() == [0]
    assert drawn.negative[drawn.negatives].tolist() == [2]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 4))
def test_six_of_each_at_most_each_at_most_once(seed: int, proposals: int, objects: int) -> None:
    matrix = torch.rand(3, proposals, objects, generator=draws(seed))
    own = Truths(torch.zeros(3, objects, 4), torch.rand(3, objects, generator=draws(seed + 1)) > 0.3,
                 torch.zeros(3, objects, dtype=torch.long), torch.zeros(3, objects, dtype=torch.bool))  # fmt: skip
    drawn = sample(matrix, own, draws(seed))
    for k in range(3):
        pairs = list(zip(drawn.positive[k][drawn.positives[k]].tolist(), drawn.truth[k][drawn.positives[k]].tolist(),
                         strict=True))  # fmt: skip
        others = drawn.negative[k][drawn.negatives[k]].tolist()
        assert len(set(pairs)) == len(pairs) <= 6
        assert len(set(others)) == len(others) <= 6
        assert not {proposal for proposal, _ in pairs} & set(others)
        assert all(own.there[k, truth] for _, truth in pairs)


# ---- losses


def test_the_released_l1() -> None:
    values = released_l1(torch.tensor([-3.0, -1, -0.5, 0, 0.5, 1, 1.5]))
    assert values.tolist() == [3, 1, 0.25, 0, 0.25, 1, 1.5]


def test_losses_of_boxes_set_by_hand() -> None:
    anchors = torch.tensor([[10.0, 10, 30, 30], [40, 40, 60, 60]])
    own = truths([[12.0, 10, 32, 30]])
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]])
    values = losses(torch.zeros(1, 2, 4), logits, anchors, own, SIZE, draws())
    assert float(values["loss/box"]) == pytest.approx(0.1**2)  # 2 pixels of 20 to the right
    assert float(values["loss/score"]) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert float(values["iou/sampled"]) == pytest.approx(18 / 22)


def test_a_perfect_answer_costs_nothing() -> None:
    anchors = anchors_of((13, 13), 4, 8.0)
    own = truths([[10.0, 12, 30, 33], [44, 41, 60, 60]], [[5.0, 5, 25, 25]])
    near = box_iou(anchors.expand(2, -1, -1), own.boxes)  # (2, n, 2); the place that is filled up has no size
    # All anchors that touch an object move onto it; the others are sure that there is none.
    targets = own.boxes.gather(1, near.argmax(2)[..., None].expand(-1, -1, 4))
    touches = near.amax(2) > 0
    onto = moves_to(torch.where(touches[..., None], targets, anchors).flatten(0, 1), anchors.repeat(2, 1))
    moves, sure = onto.view(2, -1, 4), torch.where(touches, 30.0, -30.0)
    logits = torch.stack([sure, -sure], 2)
    values = losses(moves, logits, anchors, own, SIZE, draws())
    assert float(values["loss/box"]) == pytest.approx(0, abs=1e-6)
    assert float(values["loss/score"]) == pytest.approx(0, abs=1e-6)
    assert float(values["iou/sampled"]) == pytest.approx(1, abs=1e-5)


def test_scenes_without_objects_learn_that_there_are_none() -> None:
    anchors = anchors_of((13, 13), 4, 8.0)
    moves = torch.zeros(2, len(anchors), 4, requires_grad=True)
    logits = torch.zeros(2, len(anchors), 2, requires_grad=True)
    empty = Truths(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), torch.zeros(2, 0, dtype=torch.long),
                   torch.zeros(2, 0, dtype=torch.bool))  # fmt: skip
    for own in (empty, Truths(torch.zeros(2, 3, 4), *(torch.zeros(2, 3, dtype=kind) for kind in
                                                      (torch.bool, torch.long, torch.bool)))):  # fmt: skip
        values = losses(moves, logits, anchors, own, SIZE, draws())
        assert values["loss/box"].item() == values["iou/sampled"].item() == 0
        assert values["loss/score"].item() == pytest.approx(math.log(2))
        (values["loss/box"] + values["loss/score"]).backward()
        assert moves.grad is not None
        assert not moves.grad.any()
        assert logits.grad is not None
        assert logits.grad[..., 0].sum() > 0  # towards none


def test_gradients_are_finite_where_images_have_fewer_objects_than_others() -> None:
    anchors = anchors_of((13, 13), 4, 8.0)
    moves = torch.zeros(2, len(anchors), 4, requires_grad=True)
    values = losses(moves, torch.zeros(2, len(anchors), 2), anchors, truths([[5.0, 5, 25, 25]] * 5, []), SIZE, draws())
    values["loss/box"].backward()
    assert moves.grad is not None
    assert moves.grad.isfinite().all()
    assert moves.grad[0].any()
    assert not moves.grad[1].any()


# ---- scores


def test_half_in_view() -> None:
    boxes = torch.tensor([[0.0, 0, 20, 20], [-10, 0, 10, 20], [-11, 0, 9, 20], [70, 0, 90, 20]])
    assert in_view(boxes, SIZE).tolist() == [True, True, False, False]


def test_overlaps_by_hand() -> None:
    overlaps = Overlaps()
    own = truths([[0.0, 0, 20, 20], [40, 40, 60, 60]], [[-15.0, 0, 5, 20]], [])
    said = [found([0.0, 0, 20, 20], [0, 0, 20, 10]), found([0.0, 0, 5, 10]), found([0.0, 0, 5, 5])]
    overlaps.add(said, own, SIZE)
    values = overlaps.scores()
    assert values["best_iou"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert values["best_iou_in_view"] == pytest.approx((1 + 0) / 2)
    assert values["proposal_iou"] == pytest.approx(((1 + 0.5) / 2 + 0.5) / 2)
    assert values["pair_iou"] == pytest.approx(((1 + 0.5 + 0 + 0) / 4 + 0.5) / 2)
    assert values["class_accuracy"] == 1


def test_five_objects_on_top_of_one_another_are_found_by_one_proposal() -> None:
    overlaps, precision = Overlaps(), Precision(False)
    own = truths([[10.0, 10, 30, 30]] * 5)
    for measure in (overlaps, precision):
        measure.add([found([10.0, 10, 30, 30])], own, SIZE)
    assert overlaps.scores()["best_iou"] == overlaps.scores()["pair_iou"] == 1
    assert precision.scores()["ar10"] == pytest.approx(0.2)  # each proposal finds one
    drawn = losses(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2), torch.tensor([[10.0, 10, 30, 30]]), own, SIZE, draws())
    assert float(drawn["iou/sampled"]) == 1


def test_without_objects_or_proposals() -> None:
    overlaps = Overlaps()
    overlaps.add([found()], truths([[0.0, 0, 20, 20]]), SIZE)
    assert overlaps.scores()["best_iou"] == overlaps.scores()["proposal_iou"] == 0
    assert math.isnan(overlaps.scores()["class_accuracy"])
    empty, precision = Overlaps(), Precision(False)
    for measure in (empty, precision):
        measure.add([found([0.0, 0, 5, 5])], truths([]), SIZE)
    assert all(math.isnan(value) for value in (*empty.scores().values(), *precision.scores().values()))


def test_precision_counts_false_positives_and_forgives_what_is_out_of_view() -> None:
    own = truths([[0.0, 0, 20, 20], [-15, 40, 5, 60]])
    right, wrong, outside = [0.0, 0, 20, 20], [40.0, 0, 60, 20], [0.0, 40, 5, 60]

    def ap(*boxes: list[float]) -> float:
        precision = Precision(False)
        precision.add([found(*boxes)], own, SIZE)
        return precision.scores()["ap"]

    assert ap(right) == ap(right, outside) == ap(outside, right) == pytest.approx(1)
    assert ap(wrong, right) == pytest.approx(0.5, abs=0.01)
    assert ap(wrong) == 0


def test_classes_count_where_they_are_told() -> None:
    own = truths([[0.0, 0, 20, 20]])
    overlaps = Overlaps()
    overlaps.add([found([0.0, 0, 20, 20], labels=[3])], own, SIZE)
    overlaps.add([found([0.0, 0, 20, 20])], own, SIZE)
    overlaps.add([found([0.0, 0, 20, 5], labels=[3])], own, SIZE)  # not found
    assert overlaps.scores()["class_accuracy"] == 0.5
    for classes, wanted in ((True, 0), (False, 1)):
        precision = Precision(classes)
        precision.add([found([0.0, 0, 20, 20], labels=[3])], own, SIZE)
        assert precision.scores()["ap"] == pytest.approx(wanted)


def test_the_edges_are_the_released_ones() -> None:
    assert EDGES == (15, 20, 25)
