"""Interpolation coherence of scenes without known objects: how much of the change along a path is movement.

Liu et al. 2018 (arXiv 1807.03247, figure 13) show interpolations in which a CoordConv GAN's scenes move and a plain
GAN's fade, and give no number. Here: the share of the change between two frames that a warp of the first explains.
Definition ours; the flow is OpenCV's DIS (Kroeger et al. 2016, arXiv 1603.03590).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

STRIDE = 10  # pairs of frames along a path; the widest that movement still survives on paths of 60 frames
FINEST = 128  # pixels: smaller frames are enlarged, for DIS looks at patches of 8x8
STILL = 2.0  # of 255: root mean square change below which a pair says nothing
AGREEMENT = 1.0 / 64  # of the width: how far a point may miss itself, there and back, and still count as followed

# A frame is too small to be shared among threads.
cv2.setNumThreads(1)
Plane = UInt8[np.ndarray, "h w"]
Flow = Float32[np.ndarray, "h w 2"]


@dataclass(frozen=True)
class Warp:
    """See `warp_coherence`.

    Attributes:
        values: (paths,) 0 to 1; NaN where a path does not change enough.
        moved: (paths,) mean length of the flow of the points that could be followed, in image widths; NaN likewise.
    """

    values: Float64[np.ndarray, " paths"]
    moved: Float64[np.ndarray, " paths"]

    def scores(self) -> dict[str, float]:
        """By name, for logging: mean over the paths where it is defined (NaN without any), share where it is not."""
        undefined = np.isnan(self.values)
        means = {"warp_coherence": self.values, "warp_moved": self.moved}
        known = {name: float("nan") if undefined.all() else float(np.nanmean(v)) for name, v in means.items()}
        return {**known, "warp_undefined": float(undefined.mean()), "warp_paths": float(len(undefined))}


def warp_coherence(paths: UInt8[np.ndarray, "*paths t 3 h w"], stride: int = STRIDE) -> Warp:
    """The share of the change along a path that is movement: near 1 where scenes move, near 0 where they fade.

    For frames a and b, ``stride`` apart, dense flow is found from a to b and back. A point of b is *followed* where the
    way back from it and there again ends within 1/64 of the width of where it began, and where that lies in the frame.
    There the prediction is a, warped; elsewhere it is a as it stands: what cannot be followed explains nothing. With
    E_0 = sum (b - a)^2 and E_w = sum (b - prediction)^2, both summed over all pixels, channels and pairs of the path,
    the coherence is 1 - E_w / E_0, cut at 0. Pairs start at every ``stride // 2`` frames. A path whose root mean square
    change between such frames is below 2 (of 255) is undefined.

    Why so: the frames are far apart, because between neighbours a fade is so slight that a little flow explains it; a
    flow can bend one picture into the shape of another, and the way back then seldom leads to where it began; cut at 0,
    for a wrong flow may explain less than none. Not every movement is explained: what comes into view is new, and what
    moves further than about a quarter of the width between two frames is lost.

    Args:
        paths: uint8 (t, 3, h, w) for one path or (paths, t, 3, h, w), frames in order, t > stride.
        stride: frames between a and b.

    Raises:
        ValueError: no path, or one with too few frames.
    """
    if paths.ndim not in (4, 5) or paths.size == 0 or stride < 1 or paths.shape[-4] <= stride:
        raise ValueError(f"paths are {paths.shape}, stride {stride}; allowed are (t, 3, h, w) and (paths, t, 3, h, w) "
                         "with t > stride >= 1")  # fmt: skip
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows = [_path(path, stride, flow) for path in paths.reshape(-1, *paths.shape[-4:])]
    values, moved = np.array(rows, dtype=np.float64).T
    return Warp(values, moved)


def _path(path: UInt8[np.ndarray, "t 3 h w"], stride: int, flow: cv2.DISOpticalFlow) -> tuple[float, float]:
    starts = range(0, len(path) - stride, max(stride // 2, 1))
    pairs = np.array([_pair(_large(path[i]), _large(path[i + stride]), flow) for i in starts])
    before, after, pixels, length, followed = pairs.sum(axis=0)
    if before / pixels < STILL**2:
        return float("nan"), float("nan")
    return max(0.0, 1 - after / before), length / followed if followed else 0.0


def _large(frame: UInt8[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Channels last, enlarged to at least `FINEST` pixels."""
    image = np.ascontiguousarray(frame.transpose(1, 2, 0))
    scale = -(-FINEST // min(image.shape[:2]))
    return image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)


def _pair(
    a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], flow: cv2.DISOpticalFlow
) -> tuple[float, float, int, float, int]:
    """Squared change without and with the warp, values; summed length of the flow in widths, and points followed."""
    grey_a, grey_b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (a, b))
    back = _flow(flow, grey_b, grey_a)  # from a point of b to where it was in a
    there = _sampled(_flow(flow, grey_a, grey_b), back)
    reach = np.linalg.norm(back, axis=2)
    followed = (np.linalg.norm(back + there, axis=2) <= AGREEMENT * a.shape[1]) & _inside(back)
    first, second = a.astype(np.float32), b.astype(np.float32)
    predicted = np.where(followed[..., None], _sampled(first, back), first)
    before, after = (float(np.square(second - guess, dtype=np.float64).sum()) for guess in (first, predicted))
    return before, after, first.size, float(reach[followed].sum()) / a.shape[1], int(followed.sum())


def _flow(flow: cv2.DISOpticalFlow, a: Plane, b: Plane) -> Flow:
    """Where each point of ``a`` is in ``b``, relative to itself: (column, row) in pixels."""
    return np.asarray(flow.calc(a, b, None), dtype=np.float32)  # type: ignore[call-overload]


def _places(flow: Flow) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    columns, rows = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in flow.shape[1::-1]))
    return columns + flow[..., 0], rows + flow[..., 1]


def _inside(flow: Flow) -> Bool[np.ndarray, "h w"]:
    columns, rows = _places(flow)
    height, width = flow.shape[:2]
    return np.asarray((columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1))


def _sampled(image: Float32[np.ndarray, "h w c"], flow: Flow) -> Float32[np.ndarray, "h w c"]:
    """The image read where the flow points, bilinear, its edge continued."""
    columns, rows = _places(flow)
    return np.asarray(cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
