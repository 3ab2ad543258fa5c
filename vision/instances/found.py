"""What a network is taken to have found in an image: masks with a score each; of embeddings by clustering."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.spatial.distance import cdist

Vectors = Float[np.ndarray, "d h w"]
PIXELS = 1000  # of an image that a clustering is fitted to, at most: mean shift is slow
SMALLEST = 10  # pixels of a cluster of mean shift; the smallest true object has 49
_ROUNDS = 100  # of mean shift, at most; scikit-learn's 300 take minutes where embeddings form no clusters


@dataclass(frozen=True)
class Found:
    """The objects found in an image.

    Attributes:
        masks: (k, h, w); those of one image may overlap.
        scores: (k,) 0 to 1, how sure each is.
    """

    masks: Bool[np.ndarray, "k h w"]
    scores: Float[np.ndarray, " k"]

    def above(self, score: float) -> "Found":
        """Those that are at least so sure."""
        kept = self.scores >= score
        return Found(self.masks[kept], self.scores[kept])


def mean_shift(vectors: Vectors, foreground: Float[np.ndarray, "h w"], bandwidth: float) -> Found:
    """The clusters of the foreground's vectors by scikit-learn's mean shift, begun at bins as wide as the bandwidth.

    Those of fewer than `SMALLEST` pixels are left out: single pixels at an object's edge whose vector lies in between.

    Args:
        vectors: of all pixels.
        foreground: probability of each pixel; the foreground is what has one half or more.
        bandwidth: radius of the flat kernel.
    """
    from sklearn import config_context  # a second, that only who clusters waits for
    from sklearn.cluster import MeanShift

    points, sample = _points(vectors, foreground)
    if not len(sample):
        return _objects(np.zeros(0, np.int64), foreground, 0)
    with config_context(assume_finite=True, skip_parameter_validation=True):  # thousands of tiny queries
        centres = MeanShift(bandwidth=bandwidth, bin_seeding=True, max_iter=_ROUNDS).fit(sample).cluster_centers_
    return _objects(cdist(points, centres).argmin(1), foreground, len(centres), SMALLEST)


def k_means(vectors: Vectors, foreground: Float[np.ndarray, "h w"], count: int) -> Found:
    """The foreground's vectors in so many clusters, by scikit-learn's k-means: the best of ten starts.

    Args:
        vectors: of all pixels.
        foreground: as of `mean_shift`.
        count: of clusters; fewer where there are fewer different vectors.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    points, sample = _points(vectors, foreground)
    if not len(sample) or not count:
        return _objects(np.zeros(len(points), np.int64), foreground, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different vectors than clusters: that is the case
        fitted = KMeans(min(count, len(sample)), n_init=10, random_state=0).fit(sample)
    return _objects(cdist(points, fitted.cluster_centers_).argmin(1), foreground, len(fitted.cluster_centers_))


def _points(
    vectors: Vectors, foreground: Float[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """The foreground's vectors, row by row, and those of them that are clustered: evenly spaced."""
    points = vectors[:, foreground >= 0.5].T.astype(np.float64)
    chosen = np.linspace(0, len(points) - 1, min(len(points), PIXELS)).round().astype(np.int64)
    return points, points[chosen]


def _objects(
    labels: Int64[np.ndarray, " n"], foreground: Float[np.ndarray, "h w"], count: int, least: int = 1
) -> Found:
    """Masks of the clusters of so many pixels, each as sure as its pixels are foreground on the mean."""
    there = np.full(foreground.shape, -1)
    there[foreground >= 0.5] = labels
    masks = there[None] == np.arange(count)[:, None, None]
    masks = masks[masks.sum((1, 2)) >= least]
    return Found(masks, np.array([foreground[mask].mean() for mask in masks], np.float64))
