"""How good proposals are: intersections over union as the released code logs them, the best per object, and AP."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import box_area, box_iou

from vision.detection.boxes import Found, Truths, clipped

IN_VIEW = 0.5  # share of an object's box in the image from which it counts as in view


def in_view(boxes: Float[Tensor, "*b n 4"], size: tuple[int, int]) -> Bool[Tensor, "*b n"]:
    """Whether at least half of each box lies in the image."""
    height, width = size
    low, high = boxes[..., :2].clamp(min=0), boxes[..., 2:].minimum(boxes.new_tensor([width, height]))
    seen = (high - low).clamp(min=0).prod(-1)
    return seen >= IN_VIEW * (boxes[..., 2:] - boxes[..., :2]).prod(-1)


@dataclass
class Overlaps:
    """IoU of proposals and objects, image after image.

    Attributes:
        pairs: mean over all pairs of an image.
        proposals: mean over an image's proposals of that with the object each fits best.
        best: of each object, that of the proposal which fits it best; 0 where there is no proposal.
        seen: whether each object is in view.
    """

    pairs: list[float] = field(default_factory=list)
    proposals: list[float] = field(default_factory=list)
    best: list[Tensor] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)

    def add(self, found: Sequence[Found], truths: Truths, size: tuple[int, int]) -> None:
        """Takes in the images of a batch; those without objects have no IoU."""
        for one, boxes, there in zip(found, truths.boxes, truths.there, strict=True):
            own = boxes[there]
            if not len(own):
                continue
            self.seen.append(in_view(own, size))
            ious = box_iou(one.boxes.float(), clipped(own, size))  # (proposals, objects)
            if not len(one.boxes):
                self.best.append(torch.zeros_like(own[:, 0]))
                self.pairs.append(0.0)
                self.proposals.append(0.0)
                continue
            self.best.append(ious.amax(0))
            self.pairs.append(float(ious.mean()))
            self.proposals.append(float(ious.amax(1).mean()))

    def scores(self) -> dict[str, float]:
        """Means over all images or objects so far, by name."""
        if not self.best:
            return dict.fromkeys(("best_iou", "best_iou_in_view", "pair_iou", "proposal_iou"), float("nan"))
        best, seen = torch.cat(self.best), torch.cat(self.seen)
        return {
            "best_iou": float(best.mean()),
            "best_iou_in_view": float(best[seen].mean()),
            "pair_iou": sum(self.pairs) / len(self.pairs),
            "proposal_iou": sum(self.proposals) / len(self.proposals),
        }
