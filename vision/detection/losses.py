"""Which proposals learn what, and the losses: as in the released code of Liu et al. 2018, over batches of images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchvision.ops import box_iou

from vision.detection.boxes import Boxes, Truths, clipped, moved, moves_to

HIGH, LOW = 0.5, 0.1  # IoU above which a proposal is positive, and below which it is negative
SAMPLED = 6  # positives, and negatives, of an image at most


@dataclass(frozen=True)
class Sampled:
    """Proposals of each image that a step learns from.

    Attributes:
        positive, truth: ``(b, k)`` proposals and the object that each is to find, k at most six.
        negative: ``(b, n)`` proposals that are to find none, n at most six.
        positives, negatives: which of these places are taken.
    """

    positive: Int64[Tensor, "b k"]
    truth: Int64[Tensor, "b k"]
    negative: Int64[Tensor, "b n"]
    positives: Bool[Tensor, "b k"]
    negatives: Bool[Tensor, "b n"]


def sample(ious: Float[Tensor, "b n m"], truths: Truths, draws: torch.Generator) -> Sampled:
    """Six positive pairs of proposal and object, and six negative proposals of each image, at random.

    Positive is a pair whose IoU is above .5, and the best proposal of each object whatever its IoU, if it has one at
    all. Negative is a proposal whose IoU with all objects and crowds is below .1 and that is no best one; where an
    image has none, one that is not positive.

    Args:
        ious: of moved proposals and all that `Truths` has room for.
        truths: which of these are objects.
        draws: a CPU stream.
    """
    count, proposals, room = ious.shape
    objects = torch.where(truths.there[:, None], ious, -1.0)
    best = objects.argmax(1, keepdim=True)
    closest = torch.zeros_like(ious, dtype=torch.bool).scatter_(1, best, True) & (objects > 0)
    pairs = closest | (objects > HIGH)
    near = (ious >= LOW) & (truths.there | truths.crowd)[:, None]
    low = ~(near | closest).any(2)
    negative = torch.where(low.any(1, keepdim=True), low, ~pairs.any(2))
    keys = torch.rand(count, proposals * (room + 1), generator=draws).to(ious.device)
    pair, positives = _some(pairs.flatten(1), keys[:, proposals:])
    others, negatives = _some(negative, keys[:, :proposals])
    width = max(room, 1)
    return Sampled(pair.div(width, rounding_mode="floor"), pair % width, others, positives, negatives)


def _some(mask: Bool[Tensor, "b n"], keys: Float[Tensor, "b n"]) -> tuple[Int64[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """Random places where a mask holds, and which of them are such."""
    keys, places = torch.where(mask, keys, -1.0).topk(min(SAMPLED, mask.shape[1]), dim=1)
    return places, keys >= 0


def released_l1(difference: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """x² up to |x| = 1, beyond it |x|: the smooth L1 of the released code, which has no factor 1/2."""
    size = difference.abs()
    return torch.where(size <= 1, difference.square(), size)


def losses(
    moves: Boxes, logits: Float[Tensor, "b n 2"], anchors: Float[Tensor, "n 4"], truths: Truths,
    size: tuple[int, int], draws: torch.Generator,
) -> dict[str, Tensor]:  # fmt: skip
    """The loss of the boxes, that of the scores, and the mean IoU of the sampled positives.

    Proposals and truths are cut off at the border before they are matched, which is the released trainer's ``--clip``;
    then none lies outside, and its rule that positives must lie inside holds for all. A proposal learns to find the
    whole object, beyond the border as well. Sums over four coordinates, means over all positives and over all samples
    of the batch; there a batch was one image.

    Args:
        moves, logits: of all anchors, in float32.
        anchors: of one image.
        truths: of the batch.
        size: height and width of the images.
        draws: the stream of the sampling.
    """
    with torch.no_grad():
        ious = box_iou(clipped(moved(anchors, moves), size), clipped(truths.boxes, size))
        found = sample(ious, truths, draws)
    rows = torch.arange(len(moves), device=moves.device)[:, None]
    said = moves[rows, found.positive]
    wanted = moves_to(_pick(truths.boxes, found.truth).flatten(0, 1), anchors[found.positive].flatten(0, 1))
    # Places that are not taken have truths of no size, whose logarithm is infinite.
    wanted = torch.where(found.positives[..., None], wanted.view_as(said), said.detach())
    taken = found.positives.sum().clamp(min=1)
    chosen = torch.cat([logits[rows, found.positive], logits[rows, found.negative]], 1)
    classes = torch.cat([torch.zeros_like(found.positive), torch.ones_like(found.negative)], 1)
    used = torch.cat([found.positives, found.negatives], 1)
    cross = F.cross_entropy(chosen.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
    pairs = ious[rows, found.positive, found.truth] * found.positives
    return {
        "loss/box": released_l1(said - wanted).sum() / taken,
        "loss/score": (cross * used).sum() / used.sum().clamp(min=1),
        "iou/sampled": pairs.sum() / taken,
    }


def _pick(boxes: Float[Tensor, "b m 4"], which: Int64[Tensor, "b k"]) -> Float[Tensor, "b k 4"]:
    return boxes.gather(1, which[..., None].expand(-1, -1, 4))
