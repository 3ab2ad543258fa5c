"""Samples that repeat a training image, by what is where: a generator can learn few images by heart."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.spatial import KDTree

from sandbox.data.shapes import Factors
from sandbox.scores.objects import parse

NEAR = 1.5  # pixels: a copy's centroids stray by less than one, and a real image's centres by whole ones


@dataclass(frozen=True)
class Copies:
    """See `copies`.

    Attributes:
        valid: whether each image could be in the data.
        distances: pixels to the nearest training image; NaN of images that are not valid, infinite where no training
            image has these kinds.
    """

    valid: Bool[np.ndarray, " n"]
    distances: Float64[np.ndarray, " n"]

    def scores(self) -> dict[str, float]:
        """``new_valid``: share of all images; ``copies``: of the valid ones; ``nearest_training``: their median."""
        copied, found = self.distances[self.valid] <= NEAR, self.valid.any()
        return {
            "new_valid": float((~copied).sum() / len(self.valid)),
            "copies": float(copied.mean()) if found else float("nan"),
            "nearest_training": float(np.median(self.distances[self.valid])) if found else float("nan"),
        }


def copies(images: UInt8[np.ndarray, "n 3 h w"], training: Factors) -> Copies:
    """How far the objects of images (n, 3, 64, 64) are from those of the nearest training image. Definition: ours.

    Two images are as far apart as the coordinate in which they differ most, of the four that their centres have, in
    pixels, where both have the same kinds. A copy is a valid image (`Objects.valid`) at most `NEAR` from one.

    Raises:
        ValueError: the images are not (n, 3, 64, 64).
    """
    objects = parse(images)
    distances = np.full(len(images), np.nan)
    for kinds in np.ndindex(2, 2):
        asked = objects.valid & (objects.kinds == kinds).all(axis=1)
        known = training.centres[(training.kinds == kinds).all(axis=1)].reshape(-1, 4)
        near = KDTree(known).query(objects.centres[asked].reshape(-1, 4), p=np.inf)[0] if len(known) else np.inf
        distances[asked] = near
    return Copies(objects.valid, distances)
