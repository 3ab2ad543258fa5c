"""Three scores of what a generator of two-object Sort-of-CLEVR makes, all read from `sandbox.scores.objects.parse`.

* `validity`: the share of images that could be in the data: one whole red and one whole blue object, nothing else.
* `position_divergence`: how far the objects' positions are from the data's; the entropies of Liu et al. 2018
  (arXiv 1807.03247, figure 7) stand beside it.
* `coherence`: whether objects on a latent path move as a whole, or fade and teleport. The same paper shows it as
  pictures and gives no number; the definition is ours.

The numbers below are part of the definitions: scores made under different ones do not compare.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from scipy.special import entr, rel_entr

from sandbox.scores.objects import SIZE, parse

BINS = 10  # per axis of a histogram of positions


LOCATED = 1000  # samples in a histogram: entropy and divergence both depend on the number


HOPELESS = 4000, 100  # so many samples with fewer located ones than that: the rest would hardly hold 1000


LONGEST_STEP = 4.0  # pixels an object may move between two frames and still count as carried


SHORTEST_PATH = 5.0  # pixels of movement below which coherence is undefined


@dataclass(frozen=True)
class Validity:
    """See `validity`: the shares of valid and of located images (both objects, whatever their shape), each 0 to 1."""

    valid: float
    located: float

    def scores(self) -> dict[str, float]:
        """By name, for logging."""
        return {"valid": self.valid, "located": self.located}


def validity(images: UInt8[np.ndarray, "n 3 h w"]) -> Validity:
    """The share of images (n, 3, 64, 64) that could be in the data, 0 to 1, higher is better.

    An image is valid when it holds exactly one red and one blue object, each a square of 21x21 or a disc of radius 10
    with an IoU of at least 0.85, and at most 8 pixels of anything else. The "clear" data score 1. Definition: ours.

    Raises:
        ValueError: there is no image, or they are not (n, 3, 64, 64).
    """
    if len(images) == 0:
        raise ValueError("0 images; allowed are 1 and more")
    objects = parse(images)
    return Validity(float(objects.valid.mean()), float(objects.located.all(axis=1).mean()))


@dataclass(frozen=True)
class PositionDivergence:
    """See `position_divergence`. Divergences and entropies are NaN when fewer than 1000 samples could be located.

    Attributes:
        red, blue, difference: Jensen-Shannon divergences in nats, 0 (the same) to ln 2 (disjoint), lower is better.
        entropies: of the samples' three histograms, in nats, 0 to ln 100 = 4.61. Not a score: objects spread over all
            of the image would have the highest.
        located: samples with both objects located, at most 1000.
        drawn: samples looked at to find them: located / drawn is the share that could be located.
    """

    red: float
    blue: float
    difference: float
    entropies: tuple[float, float, float]
    located: int
    drawn: int

    @property
    def mean(self) -> float:
        """Mean of the three divergences: the score."""
        return (self.red + self.blue + self.difference) / 3

    def scores(self) -> dict[str, float]:
        """By name, for logging."""
        names = ("red", "blue", "difference")
        divergences = {f"position_divergence_{name}": float(getattr(self, name)) for name in names}
        entropies = {f"position_entropy_{name}": value for name, value in zip(names, self.entropies, strict=True)}
        return {"position_divergence": self.mean, **divergences, **entropies, "position_drawn": float(self.drawn)}


def position_divergence(
    sample: Callable[[int], UInt8[np.ndarray, "n 3 h w"]],
    data_centres: Int64[np.ndarray, "m 2 2"],
    max_drawn: int = 20_000,
) -> PositionDivergence:
    """Jensen-Shannon divergence between where samples and data have their objects, in nats, 0 to ln 2, lower is better.

    Three joint histograms of 10x10 equal bins are compared: the red position and the blue one over [0, 64]^2, and their
    difference, red minus blue, over [-64, 64]^2. Positions are whole pixels, as in the data: the centroids rounded. The
    samples' histograms hold exactly the first 1000 samples with both objects located (`Objects.located`, whatever the
    shape), for the number matters: 1000 real images do not score 0 but about 0.008, and a caller gets this floor by
    passing real data as `sample`. Definition: ours; of the entropies beside it: see `position_entropies`.

    Args:
        sample: gives batch 0, 1, 2, ... of samples, uint8 (any number, 3, 64, 64). The score depends on the images in
            their order, not on how they are split into batches.
        data_centres: (m, 2, 2) the data's centres: image, red or blue, row or column. Many more than 1000, or their own
            noise adds to the score.
        max_drawn: give up, with NaN, when so many samples hold fewer than 1000 located ones, or the first 4000 fewer
            than 100: half of what 20,000 would need.

    Raises:
        ValueError: a batch or the data are empty, max_drawn is below 1000, or the images are not (n, 3, 64, 64).
    """
    if max_drawn < LOCATED:
        raise ValueError(f"max_drawn is {max_drawn}; allowed are {LOCATED} and more")
    if len(data_centres) == 0:
        raise ValueError("0 data centres; allowed are 1 and more")
    centres, drawn = _draw_located(sample, max_drawn)
    nan = float("nan")
    if len(centres) < LOCATED:
        return PositionDivergence(nan, nan, nan, (nan, nan, nan), len(centres), drawn)
    pairs = zip(_histograms(centres), _histograms(data_centres), strict=True)
    red, blue, difference = (_jensen_shannon(ours, theirs) for ours, theirs in pairs)
    return PositionDivergence(red, blue, difference, position_entropies(centres), LOCATED, drawn)


def position_entropies(centres: Int64[np.ndarray, "m 2 2"]) -> tuple[float, float, float]:
    """Entropies in nats, 0 to ln 100, of `position_divergence`'s three histograms: red, blue, difference.

    About 4.0, 4.0 and 3.55 on 1000 images of the "paper" data; arXiv 1807.03247, figure 7, gives 4.0, 4.0 and 3.5.
    """
    red, blue, difference = (float(entr(shares).sum()) for shares in _histograms(centres))
    return red, blue, difference


def _draw_located(
    sample: Callable[[int], UInt8[np.ndarray, "n 3 h w"]], max_drawn: int
) -> tuple[Int64[np.ndarray, "located 2 2"], int]:
    """Rounded centres of the first 1000 located samples, and how many samples were looked at up to the last of them."""
    found: list[Int64[np.ndarray, "k 2 2"]] = []
    missing, drawn, batch = LOCATED, 0, 0
    while missing and drawn < max_drawn and not (drawn >= HOPELESS[0] and LOCATED - missing < HOPELESS[1]):
        images = sample(batch)[: max_drawn - drawn]
        if len(images) == 0:
            raise ValueError(f"batch {batch} of samples has 0 images; allowed are 1 and more")
        objects = parse(images)
        hits = np.flatnonzero(objects.located.all(axis=1))[:missing]
        found.append(np.rint(objects.centres[hits]).astype(np.int64))
        missing, batch = missing - len(hits), batch + 1
        drawn += len(images) if missing else int(hits[-1]) + 1
    return np.concatenate(found), drawn


def _histograms(centres: Int64[np.ndarray, "m 2 2"]) -> list[Float64[np.ndarray, " cells"]]:
    """Shares of the 100 cells: red, blue, difference."""
    red, blue = centres[:, 0], centres[:, 1]
    shares = []
    for points, low in ((red, 0), (blue, 0), (red - blue, -SIZE)):
        cells, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=BINS, range=[(low, SIZE)] * 2)
        shares.append(cells.ravel() / max(cells.sum(), 1))
    return shares


def _jensen_shannon(p: Float64[np.ndarray, " cells"], q: Float64[np.ndarray, " cells"]) -> float:
    middle = (p + q) / 2
    return float((rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2)


@dataclass(frozen=True)
class Coherence:
    """See `coherence`.

    Attributes:
        carried: (paths, 2) pixels that the red and the blue object moved as a whole.
        jumped: (paths, 2) pixels between two whole appearances without that.
    """

    carried: Float64[np.ndarray, "paths 2"]
    jumped: Float64[np.ndarray, "paths 2"]

    @property
    def values(self) -> Float64[np.ndarray, "paths 2"]:
        """Coherence of each path and object, 0 to 1; NaN where it moved less than 5 pixels in all and is undefined."""
        total = self.carried + self.jumped
        return self.carried / np.where(total >= SHORTEST_PATH, total, np.nan)

    def scores(self) -> dict[str, float]:
        """By name, for logging: mean of the defined values (NaN without any), share of undefined ones, paths."""
        undefined = np.isnan(self.values)
        mean = float("nan") if undefined.all() else float(self.values[~undefined].mean())
        paths = float(len(self.carried))
        return {"coherence": mean, "coherence_undefined": float(undefined.mean()), "coherence_paths": paths}


def coherence(paths: UInt8[np.ndarray, "*paths t 3 h w"]) -> Coherence:
    """Whether objects on latent paths move as a whole: 1 if they do, 0 if they fade from place to place or teleport.

    For each path and object, consecutive whole appearances (`Objects.whole`: located, IoU at least 0.85) are compared
    by their centroids' distance. It counts as *carried* when the two are neighbouring frames at most 4 pixels apart,
    else (a longer step, or frames in between in which the object is not whole) as *jumped*. Coherence is carried /
    (carried + jumped), and undefined where the two add up to less than 5 pixels: the object stands still, or is whole
    in fewer than two frames. Frames before the first and after the last whole one do not count. Definition: ours.

    Args:
        paths: uint8 (t, 3, 64, 64) for one path or (paths, t, 3, 64, 64), frames in order.

    Raises:
        ValueError: there is no path, a path has fewer than two frames, or the frames are not (3, 64, 64).
    """
    if paths.ndim not in (4, 5) or paths.shape[-4] < 2 or paths.size == 0:
        raise ValueError(f"paths are {paths.shape}; allowed are (t, 3, {SIZE}, {SIZE}) and (paths, t, ...) with t >= 2")
    frames = paths.shape[-4]
    objects = parse(paths.reshape(-1, *paths.shape[-3:]))
    whole = objects.whole.reshape(-1, frames, 2)
    centres = objects.centres.reshape(-1, frames, 2, 2)
    time = np.arange(frames)[:, None]
    last = np.maximum.accumulate(np.where(whole, time, -1), axis=1)[:, :-1]  # whole frame before frames 1, 2, ...
    before = np.take_along_axis(centres, np.maximum(last, 0)[..., None], axis=1)
    distance = np.linalg.norm(centres[:, 1:] - before, axis=-1)  # (paths, t - 1, 2)
    counted = whole[:, 1:] & (last >= 0)
    carried = counted & (last == time[:-1]) & (distance <= LONGEST_STEP)
    return Coherence(*(np.where(part, distance, 0.0).sum(axis=1) for part in (carried, counted & ~carried)))
