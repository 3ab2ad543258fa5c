"""Flat polygons in space, seen by a pinhole camera: collected and projected a batch at a time, painted one by one.

Projection, clipping and the order of painting are numpy over the batch; the filling is OpenCV's, on a canvas several
times finer than the image, which is averaged afterwards. Space: x to the right, y up, z into the picture, in metres.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, UInt, UInt8

Vector = Float32[np.ndarray, "n 3"]
Number = Float32[np.ndarray, " n"]
CORNERS = 8  # a polygon's at most
FINE = 4  # canvas pixels along a pixel's edge, so 16 samples a pixel
_OVER = 0.02  # share of its depth by which a surface may be exceeded, where a pixel reaches over its edge
NEAR = 0.05  # metres in front of the camera from which on things are seen
_SHIFT = 4  # OpenCV takes corners in sixteenths of a canvas pixel
_BACKGROUND = 0

# One image is too small to be shared among threads, and several processes may paint at a time.
cv2.setNumThreads(1)


def floats(values: Any) -> Float32[np.ndarray, "..."]:
    """An array of single precision."""
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class Cameras:
    """One pinhole camera an image.

    Attributes:
        position: (n, 3) metres.
        yaw: (n,) radians, 0 along z, positive to the right.
        pitch: (n,) radians, positive up.
        field: (n,) radians, the angle seen across the image's width.
    """

    position: Vector
    yaw: Number
    pitch: Number
    field: Number

    def turned(self, points: Float32[np.ndarray, "n k 3"]) -> Float32[np.ndarray, "n k 3"]:
        """Points relative to the camera: right, up, depth."""
        x, y, z = np.moveaxis(points - self.position[:, None], -1, 0)
        (cy, sy), (cp, sp) = ((np.cos(a)[:, None], np.sin(a)[:, None]) for a in (self.yaw, self.pitch))
        right, ahead = cy * x - sy * z, sy * x + cy * z
        return np.stack([right, cp * y - sp * ahead, sp * y + cp * ahead], axis=-1)

    def pixels(self, seen: Float32[np.ndarray, "n k 3"], size: int) -> Float32[np.ndarray, "n k 2"]:
        """(row, column) of what `turned` returns, the centre of the first pixel at (0, 0); depth is cut at `NEAR`."""
        focal = (size / 2 / np.tan(self.field / 2))[:, None, None]
        flat = seen[..., [1, 0]] * floats([-1, 1]) / np.maximum(seen[..., 2:], NEAR)
        return floats(flat * focal + (size - 1) / 2)

    def locate(self, points: Vector, size: int) -> Float32[np.ndarray, "n 2"]:
        """Where points lie in the image, (row, column) in pixels; may be outside it, NaN behind the camera."""
        seen = self.turned(points[:, None])
        return np.where(seen[:, 0, 2:] > NEAR, self.pixels(seen, size)[:, 0], floats(np.nan))


class Scenes:
    """Polygons of n scenes: every scene has the same ones, in other places, colours, or not shown.

    What is added to item 0, the background, is painted in the order in which it came. Other items lie in boxes along
    the axes that do not overlap; they follow, each as a whole, so that none covers what stands in front of it.
    """

    def __init__(self, cameras: Cameras) -> None:
        self.cameras, self.n = cameras, len(cameras.yaw)
        self._points: list[Float32[np.ndarray, "n corners 3"]] = []
        self._colours: list[Vector] = []
        self._shown: list[Bool[np.ndarray, " n"]] = []
        self._labels: list[int] = []
        self._items: list[int] = []
        self._bounds: list[tuple[Vector, Vector]] = []

    def item(self, low: Vector, high: Vector) -> int:
        """A new item in the box from ``low`` to ``high``; its number."""
        self._bounds.append((low, high))
        return len(self._bounds)

    def add(
        self,
        points: Float[np.ndarray, "n k 3"],
        colour: Float[np.ndarray, "n 3"],
        label: int,
        shown: Bool[np.ndarray, " n"] | None = None,
        item: int = _BACKGROUND,
    ) -> None:
        """A convex polygon of 3 to 8 corners in order; colour RGB 0 to 255; the class its pixels have in a mask."""
        corners = np.minimum(np.arange(CORNERS), points.shape[1] - 1)
        self._points.append(floats(points[:, corners]))
        self._colours.append(floats(np.clip(colour, 0, 255)))
        self._shown.append(np.ones(self.n, dtype=bool) if shown is None else shown)
        self._labels.append(label)
        self._items.append(item)

    def surfaces(self, size: int) -> tuple[Float32[np.ndarray, "n h w"], Int64[np.ndarray, "n h w"]]:
        """How far away what each pixel shows is, in metres along the axis of view, and its class; NaN and -1: nothing.

        Of the surface that is seen an eighth of a pixel to the right of and below the pixel's centre, and there; at
        most a fiftieth less and more than that surface's own corners have.
        """
        points = np.stack(self._points, axis=1)
        flat = self.cameras.turned(points.reshape(self.n, -1, 3)).reshape(points.shape).astype(np.float64)
        normals = np.cross(flat[:, :, 1] - flat[:, :, 0], flat[:, :, 2] - flat[:, :, 0])
        offsets = (normals * flat[:, :, 0]).sum(-1)
        # A surface that is seen edge-on may be painted where its plane's own depth is anything, below 0 as well.
        nearest, farthest = (np.maximum(ends, NEAR) for ends in (flat[..., 2].min(-1), flat[..., 2].max(-1)))
        nearest, farthest = nearest * (1 - _OVER), farthest * (1 + _OVER)
        line = np.arange(size) + 1 / (2 * FINE) - (size - 1) / 2
        tangent = np.tan(self.cameras.field.astype(np.float64) / 2) * 2 / size  # of a pixel
        found = np.empty((self.n, size, size), dtype=np.float32)
        classes = np.empty(found.shape, dtype=np.int64)
        labels = np.array([*self._labels, -1])
        layer = np.empty((size * FINE, size * FINE), dtype=np.uint16)
        for i, (visible, outlines) in enumerate(self._painted(size)):
            _fill(layer, outlines, (visible + 1).tolist())
            which = layer[FINE // 2 :: FINE, FINE // 2 :: FINE].astype(np.int64) - 1
            normal = normals[i, which]
            ray = line * tangent[i]
            along = normal[..., 0] * ray - normal[..., 1] * ray[:, None] + normal[..., 2]
            with np.errstate(divide="ignore", invalid="ignore"):
                depth = offsets[i, which] / along
            depth = np.clip(depth, nearest[i, which], farthest[i, which])
            found[i] = np.where(which >= 0, depth, np.nan)
            classes[i] = labels[which]
        return found, classes

    def paint(self, size: int, masks: bool) -> tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n h w"] | None]:
        """Images, RGB, and, if asked for, the class that covers most of each pixel (of equals the first)."""
        colours, labels = np.stack(self._colours, axis=1), np.array(self._labels)
        images = np.empty((self.n, size, size, 3), dtype=np.uint8)
        classes = np.empty((self.n, size, size), dtype=np.uint8) if masks else None
        fine = np.empty((size * FINE, size * FINE, 3), dtype=np.uint8)
        for i, (visible, outlines) in enumerate(self._painted(size)):
            _fill(fine, outlines, colours[i, visible].tolist())
            cv2.resize(fine, (size, size), dst=images[i], interpolation=cv2.INTER_AREA)
            if classes is not None:
                layer = np.empty(fine.shape[:2], dtype=np.uint8)
                _fill(layer, outlines, labels[visible].tolist())
                classes[i] = _majority(layer, size)
        return images, classes

    def _painted(self, size: int) -> Iterator[tuple[Int64[np.ndarray, " visible"], list[Int32[np.ndarray, "_ 2"]]]]:
        """Of each scene the polygons that can be seen, in the order of painting, and their corners on the canvas."""
        corners, cut, shown = self._project(np.stack(self._points, axis=1), size * FINE)
        order, counts = self._order(shown), shown.sum(axis=1)
        for i in range(self.n):
            visible = order[i, : counts[i]]
            yield visible, [corners[i, q] if cut[i, q] else corners[i, q, ::2] for q in visible]

    def _project(
        self, points: Float32[np.ndarray, "n q corners 3"], size: int
    ) -> tuple[Int32[np.ndarray, "n q corners2 2"], Bool[np.ndarray, "n q"], Bool[np.ndarray, "n q"]]:
        """Corners as OpenCV takes them (column, row), which polygons the near plane cuts, and which can be seen.

        Of a polygon that is not cut every second corner is its own; the ones in between repeat them.
        """
        n, q = points.shape[:2]
        seen = self.cameras.turned(points.reshape(n, -1, 3)).reshape(n, q, CORNERS, 3)
        front = seen[..., 2] > NEAR
        cut = np.asarray(front.any(axis=2) & ~front.all(axis=2))
        slots = np.repeat(seen, 2, axis=2)
        slots[cut] = _clip(seen[cut])
        pixels = self.cameras.pixels(slots.reshape(n, -1, 3), size).reshape(n, q, 2 * CORNERS, 2)
        low, high = pixels.min(axis=2), pixels.max(axis=2)
        inside = ((high > -1) & (low < size)).all(axis=-1)
        shown = np.stack(self._shown, axis=1) & front.any(axis=2) & inside
        return np.rint(pixels[..., ::-1] * 2**_SHIFT).astype(np.int32), cut, shown

    def _order(self, shown: Bool[np.ndarray, "n q"]) -> Int64[np.ndarray, "n q"]:
        """The polygons of each scene in the order of painting, those not shown at the end."""
        ranks = np.zeros((self.n, len(self._bounds) + 1), dtype=np.int64)
        if self._bounds:
            low, high = (np.stack(side, axis=1) for side in zip(*self._bounds, strict=True))
            ranks[:, 1:] = 1 + _back_to_front(low, high, self.cameras.position)
        keys = np.where(shown, ranks[:, self._items], ranks.shape[1])
        order: Int64[np.ndarray, "n q"] = np.argsort(keys, axis=1, kind="stable")
        return order


def _clip(seen: Float32[np.ndarray, "p corners 3"]) -> Float32[np.ndarray, "p corners2 3"]:
    """What of polygons lies beyond the near plane (Sutherland and Hodgman 1974), filled up with repeated corners."""
    follower = np.roll(seen, -1, axis=1)
    front, next_front = seen[..., 2] > NEAR, follower[..., 2] > NEAR
    crossing = front != next_front
    rise = np.where(crossing, follower[..., 2] - seen[..., 2], 1)
    t = ((NEAR - seen[..., 2]) / rise)[..., None]
    slots = np.stack([seen, seen + t * (follower - seen)], axis=2).reshape(len(seen), 2 * CORNERS, 3)
    valid = np.stack([front, crossing], axis=2).reshape(len(seen), 2 * CORNERS)
    last = np.maximum.accumulate(np.where(valid, np.arange(2 * CORNERS), -1), axis=1)
    last = np.where(last < 0, last[:, -1:], last)  # before the first corner that is left comes the last one
    return np.take_along_axis(slots, last[..., None], axis=1)


def _back_to_front(
    low: Float32[np.ndarray, "n m 3"], high: Float32[np.ndarray, "n m 3"], eye: Vector
) -> Int64[np.ndarray, "n m"]:
    """Ranks of disjoint boxes along the axes: none has a higher rank than one that covers a part of it."""
    n, m = low.shape[:2]
    eye = eye[:, None, None]
    beyond = (low[:, :, None] >= high[:, None]) & (eye <= low[:, :, None])  # [i, j]: j on the eye's side of i
    before = (high[:, :, None] <= low[:, None]) & (eye >= high[:, :, None])
    harmless = np.asarray((beyond | before).any(axis=-1))  # [i, j]: i cannot cover j
    waits = harmless.transpose(0, 2, 1) & ~harmless  # [i, j]: i comes after j
    ranks, placed, rows = np.zeros((n, m), dtype=np.int64), np.zeros((n, m), dtype=bool), np.arange(n)
    for rank in range(m):
        ready = ~placed & ~(waits & ~placed[:, None]).any(axis=2)
        chosen = np.where(ready.any(axis=1), ready.argmax(axis=1), (~placed).argmax(axis=1))
        ranks[rows, chosen] = rank
        placed[rows, chosen] = True
    return ranks


def _fill(
    canvas: UInt[np.ndarray, "..."],
    outlines: list[Int32[np.ndarray, "_ 2"]],
    colours: list[list[float]] | list[int],
) -> None:
    canvas[:] = 0
    for outline, colour in zip(outlines, colours, strict=True):
        cv2.fillConvexPoly(canvas, outline, colour, cv2.LINE_8, _SHIFT)  # type: ignore[call-overload]


def _majority(layer: UInt8[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "size size"]:
    samples = layer.reshape(size, FINE, size, FINE).swapaxes(1, 2).reshape(size, size, -1)
    counts = np.stack([(samples == label).sum(axis=-1) for label in range(int(layer.max()) + 1)])
    classes: UInt8[np.ndarray, "size size"] = counts.argmax(axis=0).astype(np.uint8)
    return classes
