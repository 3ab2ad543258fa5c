"""One box nearer or farther under four conditions, and the slope of what is estimated against what is true.

    shown = scenes(rooms, indices, "position", levels)      # a row of images a level
    slope(estimates, truth)                                 # 1: the estimate follows; 0: it stays

van Dijk and de Croon 2019 (arXiv 1905.07005) paste obstacles into a street at relative distances from 1 to 3: position
and size as the distance asks for, or only one of them, the other as at distance 1. Here boxes are drawn so: with
``position`` the box moves away and grows as much; with ``size`` it shrinks where it is; with ``tilt`` it stays as it
is, and the camera tilts so far that its foot lies in the image where it would lie at that distance.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from sandbox.data.rooms.empty import NEAREST, Boxes, EmptyRendered, EmptyRooms
from sandbox.data.rooms.raster import floats

FARTHEST = 3.0  # times as far as the nearest
# Edges in metres at relative distance 1: each stays within those of training up to distance 3.
_EDGES = {"both": 0.45, "position": 0.3, "size": 0.6, "tilt": 0.45}


def levels(count: int) -> Float64[np.ndarray, " count"]:
    """Relative distances from 1 to 3."""
    return np.linspace(1, FARTHEST, count)


def scenes(rooms: EmptyRooms, indices: Int64[np.ndarray, " n"], condition: str, level: float) -> EmptyRendered:
    """Rooms with a box straight ahead at a relative distance, as a condition has it."""
    one = np.ones(len(indices), dtype=np.float32)
    far = NEAREST * level if condition in ("both", "position") else NEAREST
    edge = _EDGES[condition] * {"position": level, "size": 1 / level}.get(condition, 1.0)
    boxes = Boxes(floats(far * one), 0 * one, floats(edge * one), rooms.draw(indices).colour)
    tilt = _tilt(rooms, indices, level) if condition == "tilt" else None
    return rooms.render(indices, boxes, tilt=tilt)


def _tilt(rooms: EmptyRooms, indices: Int64[np.ndarray, " n"], level: float) -> Float32[np.ndarray, " n"]:
    """Radians by which cameras look down so that a foot at the nearest distance lies where that of a far one would."""
    height = rooms.cameras(indices).position[:, 1]
    return floats(np.arctan(height / (NEAREST * level)) - np.arctan(height / NEAREST))


def of_the_box(depths: Float32[np.ndarray, "n h w"], shown: EmptyRendered) -> Float64[np.ndarray, " n"]:
    """The median of some depths over the pixels that show each box's front; NaN where none does."""
    return np.array([np.median(depth[front]) if front.any() else np.nan
                     for depth, front in zip(depths, shown.front, strict=True)], dtype=np.float64)  # fmt: skip


def slope(estimates: Float64[np.ndarray, "levels n"], truth: Float64[np.ndarray, "levels n"]) -> float:
    """Slope of estimated against true relative depth, least squares through all rooms; both are 1 at the first level.

    Args:
        estimates: depth of the box, a row a level.
        truth: what they would be if position and size both said so.
    """
    x, y = (part / part[0] for part in (truth, estimates))
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there] - 1, y[there] - 1
    return float((x * y).sum() / (x * x).sum()) if (x * x).sum() > 0 else float("nan")
