"""How well found objects fit the true ones: matching, symmetric best Dice, counts, average precision.

All take the masks of one image, ``(k, h, w)``, those found and the true ones; `scored` averages over images.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from scipy.optimize import linear_sum_assignment

from vision.instances.found import Found

MATCHED = 0.5  # IoU from which on an object is found
Masks = Bool[np.ndarray, "_ h w"]


def masks_of(ids: UInt8[np.ndarray, "h w"]) -> Masks:
    """The masks of the objects 1, 2 ... of an image."""
    masks: Masks = ids[None] == np.arange(1, int(ids.max()) + 1)[:, None, None]
    return masks


def _overlaps(a: Masks, b: Masks) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, "k m"]]:
    """Pixels that two masks share, and the sum of their pixels, of each of one with each of the other."""
    flat, other = (masks.reshape(len(masks), int(np.prod(masks.shape[1:]))).astype(np.float32) for masks in (a, b))
    return flat @ other.T, flat.sum(1)[:, None] + other.sum(1)[None]


def ious(found: Masks, true: Masks) -> Float[np.ndarray, "k m"]:
    """Intersection over union of each found with each true mask; none is empty."""
    both, sizes = _overlaps(found, true)
    found_with_true: Float[np.ndarray, "k m"] = both / np.maximum(sizes - both, 1)
    return found_with_true


def matches(found: Masks, true: Masks) -> dict[int, int]:
    """True object -> found object, one to one, with the largest sum of IoU; those of `MATCHED` and more."""
    table = ious(found, true)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {int(m): int(k) for k, m in zip(rows, columns, strict=True) if table[k, m] >= MATCHED}


def pairs(found: Masks, true: Masks) -> float:
    """The share of pairs of true objects that are told apart: both matched. NaN of fewer than two objects."""
    right, count = len(matches(found, true)), len(true)
    return right * (right - 1) / (count * (count - 1)) if count > 1 else float("nan")


def symmetric_best_dice(found: Masks, true: Masks) -> float:
    """The smaller of two means: of each found object's best Dice with a true one, and the other way round.

    De Brabandere et al. 2017 (arXiv 1708.02551), after Scharr et al. 2016. 1 where there is nothing to find and nothing
    is found, 0 where one of the two is empty.
    """
    if not len(found) or not len(true):
        return float(len(found) == len(true))
    both, sizes = _overlaps(found, true)
    dice = 2 * both / sizes
    return float(min(dice.max(1).mean(), dice.max(0).mean()))


def scored(found: Sequence[Found], ids: UInt8[np.ndarray, "n h w"]) -> dict[str, float]:
    """Mean over images of ``pairs``, ``sbd`` and ``count_error``, the absolute difference of their numbers."""
    true = [masks_of(each) for each in ids]
    values = [(pairs(f.masks, t), symmetric_best_dice(f.masks, t), abs(len(f.masks) - len(t)))
              for f, t in zip(found, true, strict=True)]  # fmt: skip
    columns = (np.array(column) for column in zip(*values, strict=True))
    known = (column[~np.isnan(column)] for column in columns)
    means = (float(column.mean()) if len(column) else float("nan") for column in known)
    return dict(zip(("pairs", "sbd", "count_error"), means, strict=True))


def average_precision(found: Sequence[Found], ids: UInt8[np.ndarray, "n h w"]) -> dict[str, float]:
    """COCO's average precision of masks at IoU .5, ``ap50``, and over .5 to .95, ``ap``, by torchmetrics; one class."""
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(iou_type="segm", backend="faster_coco_eval")
    metric.warn_on_many_detections = False  # those beyond the hundred that COCO counts
    for each, numbers in zip(found, ids, strict=True):
        true = masks_of(numbers)
        said = {"masks": torch.from_numpy(each.masks), "scores": torch.from_numpy(each.scores).float()}
        metric.update([said | {"labels": _zeros(len(each.masks))}],
                      [{"masks": torch.from_numpy(true), "labels": _zeros(len(true))}])  # fmt: skip
    values = metric.compute()
    # Where nothing at all is found it says -1, as if there were nothing to find.
    return {"ap50": max(0.0, float(values["map_50"])), "ap": max(0.0, float(values["map"]))}


def _zeros(count: int) -> Int64[torch.Tensor, " k"]:
    return torch.zeros(count, dtype=torch.int64)
