"""How good proposals are: intersections over union as the released code logs them, the best per object, AP, classes."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import box_iou

from vision.detection.boxes import PROPOSALS, Found, Truths, clipped

IN_VIEW = 0.5  # share of an object's box in the image from which it counts as in view
FOUND = 0.5  # IoU from which an object counts as found


def in_view(boxes: Float[Tensor, "*b n 4"], size: tuple[int, int]) -> Bool[Tensor, "*b n"]:
    """Whether at least half of each box lies in an image of a height and width."""
    height, width = size
    low, high = boxes[..., :2].clamp(min=0), boxes[..., 2:].minimum(boxes.new_tensor([width, height]))
    seen = (high - low).clamp(min=0).prod(-1)
    return seen >= IN_VIEW * (boxes[..., 2:] - boxes[..., :2]).prod(-1)


class Overlaps:
    """IoU of proposals and objects, image after image; images without objects have none."""

    def __init__(self) -> None:
        self.pairs: list[float] = []  # mean over all pairs of an image
        self.proposals: list[float] = []  # mean over an image's proposals of IoU with the object that each fits best
        self.best: list[Tensor] = []  # of each object, of the proposal that fits it best
        self.seen: list[Tensor] = []  # whether each object is in view
        self.right: list[Tensor] = []  # of found objects: whether the proposal that fits best has their class

    def add(self, found: Sequence[Found], truths: Truths, size: tuple[int, int]) -> None:
        """Takes in a batch of images of a height and width."""
        for k, one in enumerate(found):
            there = truths.there[k]
            if not there.any():
                continue
            boxes, labels = truths.boxes[k, there], truths.labels[k, there]
            ious = box_iou(one.boxes.float(), clipped(boxes, size))  # (proposals, objects)
            # Without a proposal every object is missed.
            best, which = ious.max(0) if len(ious) else (torch.zeros_like(boxes[:, 0]), torch.zeros_like(labels))
            self.best.append(best)
            self.seen.append(in_view(boxes, size))
            self.pairs.append(float(ious.mean()) if len(ious) else 0.0)
            self.proposals.append(float(ious.amax(1).mean()) if len(ious) else 0.0)
            hit = best >= FOUND
            self.right.append(one.labels[which[hit]] == labels[hit])

    def scores(self) -> dict[str, float]:
        """Means over all objects, images or found objects so far, by name; NaN where there is none."""
        best, seen, right = (torch.cat(part or [torch.zeros(0)]) for part in (self.best, self.seen, self.right))
        return {
            "best_iou": _mean(best),
            "best_iou_in_view": _mean(best[seen.bool()]),
            "proposal_iou": _mean(torch.tensor(self.proposals)),
            "pair_iou": _mean(torch.tensor(self.pairs)),
            "class_accuracy": _mean(right.float()),
        }


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


class Precision:
    """AP and AR as COCO counts them, by torchmetrics with faster-coco-eval.

    Objects of which less than half is in view count as crowds: nobody is blamed for finding them or for missing them.

    Args:
        classes: whether a proposal must name the right class; else all is one class.

    Raises:
        ImportError: torchmetrics or faster-coco-eval is not installed.
    """

    def __init__(self, classes: bool) -> None:
        from torchmetrics.detection import MeanAveragePrecision  # a few seconds, for scores alone

        self.classes = classes
        self.metric = MeanAveragePrecision(backend="faster_coco_eval", max_detection_thresholds=[1, PROPOSALS, 100])
        self.metric.warn_on_many_detections = False

    def add(self, found: Sequence[Found], truths: Truths, size: tuple[int, int]) -> None:
        """Takes in a batch of images of a height and width."""
        said, wanted = [], []
        aside = truths.crowd | (truths.there & ~in_view(truths.boxes, size))
        for k, one in enumerate(found):
            labels = one.labels if self.classes else torch.zeros_like(one.labels)
            said.append({"boxes": one.boxes.float(), "scores": one.scores.float(), "labels": labels})
            rows = truths.there[k] | truths.crowd[k]
            of = truths.labels[k, rows]
            wanted.append({
                "boxes": clipped(truths.boxes[k, rows], size),
                "labels": of if self.classes else torch.zeros_like(of),
                "iscrowd": aside[k, rows].long(),
            })  # fmt: skip
        self.metric.update(said, wanted)

    def scores(self) -> dict[str, float]:
        """AP over IoU .5 to .95, at .5 and at .75, AR with ten proposals; NaN without objects."""
        found = self.metric.compute()
        names = {"ap": "map", "ap50": "map_50", "ap75": "map_75", "ar10": f"mar_{PROPOSALS}"}
        values = {name: float(found[key]) for name, key in names.items()}
        return {name: value if value >= 0 else float("nan") for name, value in values.items()}  # -1: undefined
