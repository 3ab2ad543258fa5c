"""Images of objects that look the same, with the exact mask of each: functions of (seed, index), no files, no state.

    scenes = DiscGrid(spacing=16, size=96).render(np.arange(4))
    scenes.images    # (4, 3, 96, 96) uint8, black objects on white
    scenes.ids       # (4, 96, 96) uint8: 0 the background, then one number for each object

* `DiscGrid`: identical discs on a square grid that fills the canvas and goes on across its border.
* `Scattered`: discs and squares of varied size.
* `SixObjects`: the six colours of Sort-of-CLEVR on a slightly larger canvas.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int64, UInt8

from sandbox.data.hashing import below, check_indices, check_seed, random_bits
from sandbox.data.shapes import DISC, ClassicSortOfClevr

MANY = 255  # objects of an image, at most: a byte a pixel names them
_TRIES = 24  # places that an object of a scattered scene is tried at


@dataclass(frozen=True)
class Instances:
    """Images and which object each pixel belongs to.

    Attributes:
        images: (n, 3, size, size).
        ids: (n, size, size) 0 the background, 1 to ``counts`` the objects, each of one pixel at least.
        counts: (n,) objects of an image.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    ids: UInt8[np.ndarray, "n h w"]
    counts: Int64[np.ndarray, " n"]


def _black_on_white(ids: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n 3 h w"]:
    return np.repeat(np.where(ids[:, None] > 0, 0, 255).astype(np.uint8), 3, axis=1)


@dataclass(frozen=True)
class DiscGrid:
    """Identical discs on a square grid of centres, ``spacing`` pixels apart along both axes; no noise.

    The grid fills the canvas: rolled by the spacing an image is itself. An index chooses where the grid lies, among
    the places at which the canvas's border cuts no disc; objects are numbered row by row. These places are few, so that
    other indices are no other images: what is held out is a fifth of the places, one at least.

    Attributes:
        spacing: pixels from centre to centre.
        size: pixels along the canvas's edge, a multiple of the spacing.
        radius: of the discs; pixels with dx^2 + dy^2 <= radius^2.
        seed: 0 to 2^64 - 1.
        part: which places: ``all``, those of ``training``, or those that are ``held out``.

    Raises:
        ValueError: discs touch (a spacing below 2 radius + 2), the spacing does not divide the size, or there are more
            than `MANY` discs.
    """

    spacing: int
    size: int
    radius: int = 5
    seed: int = 0
    part: Literal["all", "training", "held out"] = "all"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.spacing < 2 * self.radius + 2:
            least = 2 * self.radius + 2  # a white pixel between two discs
            raise ValueError(f"spacing is {self.spacing}; allowed are {least} and more: discs must not touch")
        if self.size % self.spacing or self.size < self.spacing:
            raise ValueError(f"size is {self.size}; allowed are multiples of the spacing, {self.spacing}")
        if self.discs > MANY:
            raise ValueError(f"{self.discs} discs are more than {MANY}")

    @property
    def discs(self) -> int:
        """How many there are."""
        return (self.size // self.spacing) ** 2

    def centres(self, indices: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n discs 2"]:
        """Centre pixels as (row, column), in the order of their numbers.

        Raises:
            ValueError: an index is negative.
        """
        steps = self.spacing * np.arange(self.size // self.spacing)
        grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(1, -1, 2)
        centres: Int64[np.ndarray, "n discs 2"] = self._first(indices)[:, None] + grid
        return centres

    def _first(self, indices: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n 2"]:
        check_indices(indices)
        free = self.spacing - 2 * self.radius  # places along an axis at which no disc is cut
        if self.part == "all":
            return self.radius + below(random_bits(self.seed, indices, 0, 2), free)
        places = np.argsort(random_bits(self.seed, np.arange(free**2), 1, 1)[:, 0])
        held_out = max(1, len(places) // 5)
        places = places[:held_out] if self.part == "held out" else places[held_out:]
        chosen = places[below(random_bits(self.seed, indices, 0, 1)[:, 0], len(places))]
        return self.radius + np.stack(np.divmod(chosen, free), 1)

    def render(self, indices: Int64[np.ndarray, " n"]) -> Instances:
        """The scenes of these indices, in their order. Any index from 0 on is in the data.

        Raises:
            ValueError: an index is negative.
        """
        ways = np.arange(self.size) - self._first(indices)[:, :, None] + self.radius  # (n, 2, size), from -radius on
        nearest, along = np.divmod(ways, self.spacing)
        squares = (along - self.radius) ** 2
        inside = squares[:, 0, :, None] + squares[:, 1, None, :] <= self.radius**2
        numbers = 1 + nearest[:, 0, :, None] * (self.size // self.spacing) + nearest[:, 1, None, :]
        ids = np.where(inside, numbers, 0).astype(np.uint8)
        return Instances(_black_on_white(ids), ids, np.full(len(indices), self.discs))


@dataclass(frozen=True)
class Scattered:
    """Discs and squares of varied size, black on white, anywhere; a white pixel at least between two of them.

    An image is meant to hold ``least`` to ``most`` objects, uniform; one that finds no room in a number of tries is
    left out. Half their size, the radius of a disc, is uniform in ``radii``; all lie wholly on the canvas.

    Attributes:
        size: pixels along the canvas's edge.
        least, most: objects.
        radii: smallest and largest.
        seed: 0 to 2^64 - 1.
    """

    size: int = 96
    least: int = 4
    most: int = 10
    radii: tuple[int, int] = (4, 12)
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def render(self, indices: Int64[np.ndarray, " n"]) -> Instances:
        """The scenes of these indices, in their order. Any index from 0 on is in the data.

        Raises:
            ValueError: an index is negative.
        """
        check_indices(indices)
        n = len(indices)
        wanted = self.least + below(random_bits(self.seed, indices, 0, 1)[:, 0], self.most - self.least + 1)
        counts, ids = np.zeros(n, np.int64), np.zeros((n, self.size, self.size), np.uint8)
        boxes = np.full((n, self.most, 3), -(10**6))  # row, column, radius; far away where there is none
        for k in range(self.most):
            open_ = np.flatnonzero(wanted > k)
            for attempt in range(_TRIES):
                if not open_.size:
                    break
                bits = random_bits(self.seed, indices[open_], 1 + k * _TRIES + attempt, 4)
                radius = self.radii[0] + below(bits[:, 0], self.radii[1] - self.radii[0] + 1)
                centre = radius[:, None] + below(bits[:, 1:3], (self.size - 2 * radius)[:, None])
                apart = np.abs(boxes[open_, :, :2] - centre[:, None]).max(2) > boxes[open_, :, 2] + radius[:, None] + 1
                fits = (apart | (boxes[open_, :, 2] < 0)).all(1)
                placed = open_[fits]
                boxes[placed, k] = np.column_stack([centre, radius])[fits]
                counts[placed] += 1
                _paint(ids, placed, boxes[placed, k], below(bits[fits, 3], 2) == DISC, counts[placed])
                open_ = open_[~fits]
        return Instances(_black_on_white(ids), ids, counts)


def _paint(
    ids: UInt8[np.ndarray, "n h w"], rows: Int64[np.ndarray, " m"], boxes: Int64[np.ndarray, "m 3"],
    discs: np.ndarray, numbers: Int64[np.ndarray, " m"],
) -> None:  # fmt: skip
    """Writes an object each into some images, in place."""
    way = np.abs(np.arange(ids.shape[1]) - boxes[:, :2, None])  # (m, 2, size)
    radius = boxes[:, 2, None, None]
    square = np.maximum(way[:, 0, :, None], way[:, 1, None, :]) <= radius
    disc = way[:, 0, :, None] ** 2 + way[:, 1, None, :] ** 2 <= radius**2
    covered = np.where(discs[:, None, None], disc, square)
    ids[rows] = np.where(covered, numbers[:, None, None].astype(np.uint8), ids[rows])


@dataclass(frozen=True)
class SixObjects:
    """Six-object Sort-of-CLEVR (`ClassicSortOfClevr`) with a white margin, 80x80: a size that poolings can halve.

    Object k + 1 has colour k.

    Attributes:
        seed: 0 to 2^64 - 1.
    """

    seed: int = 0

    size: ClassVar[int] = 80

    def render(self, indices: Int64[np.ndarray, " n"]) -> Instances:
        """The scenes of these indices, in their order. Any index from 0 on is in the data.

        Raises:
            ValueError: an index is negative.
        """
        data = ClassicSortOfClevr(self.seed)
        shapes = data.render(indices)
        before = (self.size - data.size) // 2
        around = (before, self.size - data.size - before)
        images = np.pad(shapes.images, ((0, 0), (0, 0), around, around), constant_values=255)
        ids = np.pad((data.masks(shapes) + 1) // 2, ((0, 0), around, around)).astype(np.uint8)
        return Instances(images, ids, np.full(len(indices), len(data.palette)))
