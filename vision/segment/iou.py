"""Intersection over union as Cityscapes and PASCAL VOC count it: of each class over all images together.

mIoU is its mean over the classes that occur in the truth. A region is a range of columns; the truth and the answers in
it are all that counts there.
"""

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped, UInt8
from torch import Tensor

from sandbox.data.voc import IGNORED

_BOUNDS = {"all": (0, 4), "left": (0, 2), "centre": (1, 3), "right": (2, 4)}  # quarters of the width


def confusion(
    said: Int64[Tensor, "b h w"], truth: UInt8[Tensor, "b h w"], classes: int
) -> Int64[Tensor, "w classes classes"]:
    """Pixels of each column by class: of the truth, then of the answer."""
    width = truth.shape[2]
    places = torch.arange(width, device=truth.device) * classes**2 + truth.long() * classes + said
    return torch.bincount(places.flatten(), minlength=width * classes**2).view(width, classes, classes)


def confusion_by(
    said: Int64[Tensor, "b h w"], truth: UInt8[Tensor, "b h w"], classes: int, parts: Int64[Tensor, "h w"]
) -> Int64[Tensor, "parts classes classes"]:
    """Pixels by class, of the truth, then of the answer, in each part of the image; those that are `IGNORED` in none.

    Args:
        said: the answers.
        truth: classes, or `IGNORED`.
        classes: how many.
        parts: which part a pixel belongs to, from 0.
    """
    counted = truth != IGNORED
    places = parts.expand_as(said)[counted] * classes**2 + truth[counted].long() * classes + said[counted]
    number = int(parts.max()) + 1
    return torch.bincount(places, minlength=number * classes**2).view(number, classes, classes)


def mious(counts: Int64[Tensor, "w classes classes"]) -> Float64[np.ndarray, " regions"]:
    """mIoU of each of `REGIONS`, from a `confusion`; NaN where there is no pixel."""
    width = len(counts)
    parts = [counts[width * low // 4 : width * high // 4].sum(0) for low, high in _BOUNDS.values()]
    return np.array([miou(part) for part in parts])


def miou(counts: Shaped[Tensor, "classes classes"]) -> float:
    """mIoU of pixels by class, of the truth, then of the answer; NaN where there is none."""
    counts = counts.double()
    true, said, both = counts.sum(1), counts.sum(0), counts.diagonal()
    occurs = true > 0
    return float((both / (true + said - both))[occurs].mean())
