"""Images of shapes, each a function of (seed, index) alone: no files, no order, no state.

Three data sets with their factors (centres, kinds, colours), rendered with numpy, tens of thousands a second:

* `SortOfClevr`: two objects on 64x64, the GAN data of Liu et al. 2018 (arXiv 1807.03247), section 5.
* `NotSoClevr`: one 9x9 square at each of 3136 positions and its two splits, same paper, section 2.
* `ClassicSortOfClevr`: six objects on 75x75, the data of Santoro et al. 2017 (arXiv 1706.01427), images only.

    images = SortOfClevr(seed=0).render(np.arange(64)).images  # (64, 3, 64, 64) uint8

Randomness is a counter-based hash (`sandbox.data.hashing`), so a row never depends on the other rows of its batch.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Int8, Int64, UInt8

from sandbox.data.hashing import below, check_indices, check_seed, random_bits

Separation = Literal["clear", "paper"]
Quadrant = Literal["free", "empty", "occupied"]
SQUARE, DISC = 0, 1
KINDS = ("square", "disc")
PAIRS = 4  # classes of images of two objects, by their kinds
FEW = 5000  # training images: a real image repeats one of so many, to a pixel, in one case of twenty
_CHUNK = 128  # images painted at a time: a chunk's masks (0.5 MB) stay in the core's own cache


@dataclass(frozen=True)
class Factors:
    """What is where: one row per image, one column per object.

    Attributes:
        centres: (n, objects, 2) centre pixel as (row, column).
        kinds: (n, objects) 0 a square, 1 a disc.
        colours: (n, objects) row of the data set's `palette`.
    """

    centres: Int64[np.ndarray, "n objects 2"]
    kinds: Int64[np.ndarray, "n objects"]
    colours: Int64[np.ndarray, "n objects"]

    @property
    def pair_classes(self) -> Int64[np.ndarray, " n"]:
        """Classes 0 to `PAIRS` - 1 of images of two objects: 2 x (the first is a disc) + (the second is)."""
        classes: Int64[np.ndarray, " n"] = 2 * self.kinds[:, 0] + self.kinds[:, 1]
        return classes


@dataclass(frozen=True)
class Shapes(Factors):
    """`Factors` and the images that show them.

    Attributes:
        images: (n, channels, height, width), channels first.
    """

    images: UInt8[np.ndarray, "n c h w"]


class Split(NamedTuple):
    """Indices of a training and a test set, each ascending and disjoint from the other."""

    train: Int64[np.ndarray, " n_train"]
    test: Int64[np.ndarray, " n_test"]


def ideal_mask(kind: int, radius: int) -> Bool[np.ndarray, "d d"]:
    """The pixels an object covers, in a window of (2 radius + 1, 2 radius + 1) with its centre in the middle.

    A square covers the whole window; a disc the pixels with dx^2 + dy^2 <= radius^2. Every data set here paints exactly
    these pixels.

    Raises:
        ValueError: the kind is neither 0 (square) nor 1 (disc), or the radius is not in 1..127.
    """
    if kind not in (SQUARE, DISC):
        raise ValueError(f"kind is {kind}; allowed are {SQUARE} (square) and {DISC} (disc)")
    if not 1 <= radius <= 127:
        raise ValueError(f"radius is {radius}; allowed are 1 to 127 pixels")
    offsets = np.abs(np.arange(-radius, radius + 1))
    mask: Bool[np.ndarray, "d d"] = offsets[None, :] <= _half_widths(radius, radius + 1)[kind][offsets][:, None]
    return mask


@lru_cache
def _half_widths(radius: int, extent: int) -> Int8[np.ndarray, "2 extent"]:
    """Half the width of each kind at |dy| = 0 .. extent - 1; -1 where the object has no pixel."""
    table = np.full((2, extent), -1, dtype=np.int8)
    for dy in range(min(radius + 1, extent)):
        table[:, dy] = radius, isqrt(radius * radius - dy * dy)
    table.setflags(write=False)
    return table


@lru_cache
def _reach(radius: int, extent: int) -> Int64[np.ndarray, "2 2 extent"]:
    """Largest |column distance| at which two kinds at a given |row distance| still touch; -1 where they never do.

    Touching is sharing a pixel or having two 8-adjacent ones: rows at most one apart, columns at most one apart.
    """
    rows = np.arange(-radius, radius + 1)
    widths = _half_widths(radius, radius + 1)[:, np.abs(rows)].astype(np.int64)  # (2, d)
    widest = widths[:, None, :, None] + widths[None, :, None, :] + 1  # (2, 2, d, d)
    near = np.abs(rows[:, None] - rows[None, :] - np.arange(extent)[:, None, None]) <= 1  # (extent, d, d)
    reach: Int64[np.ndarray, "2 2 extent"] = np.where(near, widest[:, :, None], -1).max(axis=(-2, -1))
    reach.setflags(write=False)
    return reach


# ---- painting -------------------------------------------------------------------------------------------------------


def _masks(
    centres: Int64[np.ndarray, "n 2"], kinds: Int64[np.ndarray, " n"], radius: int, size: int
) -> Bool[np.ndarray, "n size size"]:
    """One object per image: |dx| <= half width at |dy|, a single int8 comparison per pixel."""
    distance = np.abs(np.arange(size, dtype=np.int8) - centres[:, :, None].astype(np.int8))  # (n, 2, size)
    widths = _half_widths(radius, size)[kinds[:, None], distance[:, 0]]  # (n, size)
    mask: Bool[np.ndarray, "n size size"] = distance[:, 1, None, :] <= widths[:, :, None]
    return mask


def _paint(
    factors: Factors, palette: tuple[tuple[int, int, int], ...], radius: int, size: int
) -> UInt8[np.ndarray, "n 3 size size"]:
    """Objects in order on white, a later one over an earlier one."""
    n, objects = factors.kinds.shape
    images = np.full((n, 3, size, size), 255, dtype=np.uint8)
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        for k in range(objects):
            mask = _masks(factors.centres[part, k], factors.kinds[part, k], radius, size)
            bits = np.negative(mask.view(np.uint8))  # 255 inside, 0 outside
            for channel, level in enumerate(palette[k]):
                plane = images[part, channel]
                plane ^= (plane ^ np.uint8(level)) & bits  # a select in bytes, several times faster than a masked copy
    return images


@dataclass(frozen=True)
class _Scenes:
    """Objects of one radius on a white square canvas, object k in colour k; subclasses set the constants.

    Kinds are drawn once; all centres together are drawn again until separation and quadrant hold, so the centres are
    uniform over those that are admitted.
    """

    seed: int = 0
    separation: Separation = "clear"
    quadrant: Quadrant = "free"

    size: ClassVar[int]
    radius: ClassVar[int]
    palette: ClassVar[tuple[tuple[int, int, int], ...]]
    colours: ClassVar[tuple[str, ...]]
    paper_distance: ClassVar[int]

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, names in (("separation", get_args(Separation)), ("quadrant", get_args(Quadrant))):
            if getattr(self, name) not in names:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(names)}")

    def render(self, indices: Int64[np.ndarray, " n"]) -> Shapes:
        """The scenes of these indices, in their order: images (n, 3, size, size) uint8 RGB and the factors.

        Any index from 0 on is in the data, and may occur more than once.

        Raises:
            ValueError: an index is negative.
        """
        factors = self.factors(indices)
        images = _paint(factors, self.palette, self.radius, self.size)
        return Shapes(factors.centres, factors.kinds, factors.colours, images)

    def factors(self, indices: Int64[np.ndarray, " n"]) -> Factors:
        """What `render` would show, without rendering it.

        Raises:
            ValueError: an index is negative.
        """
        check_indices(indices)
        n, objects = len(indices), len(self.palette)
        kinds = below(random_bits(self.seed, indices, 0, objects), len(KINDS))
        colours = np.broadcast_to(np.arange(objects), (n, objects)).copy()
        return Factors(self._centres(indices, kinds), kinds, colours)

    @classmethod
    def mask_classes(cls) -> tuple[str, ...]:
        """What the values of `masks` mean: the background, then of each colour the square and the disc."""
        return ("background", *(f"{colour} {kind}" for colour in cls.colours for kind in KINDS))

    def masks(self, factors: Factors) -> UInt8[np.ndarray, "n h w"]:
        """The class of every pixel, a row of `mask_classes`; exactly the pixels that `render` paints.

        Args:
            factors: of scenes of this data set.
        """
        classes = np.zeros((len(factors.kinds), self.size, self.size), dtype=np.uint8)
        for k in range(len(self.palette)):
            labels = (1 + len(KINDS) * k + factors.kinds[:, k]).astype(np.uint8)
            covered = _masks(factors.centres[:, k], factors.kinds[:, k], self.radius, self.size)
            classes = np.where(covered, labels[:, None, None], classes)
        return classes

    def _centres(
        self, indices: Int64[np.ndarray, " n"], kinds: Int64[np.ndarray, "n objects"]
    ) -> Int64[np.ndarray, "n objects 2"]:
        centres = np.zeros((*kinds.shape, 2), dtype=np.int64)
        pending, attempt = np.arange(len(indices)), 0
        while pending.size:
            attempt += 1  # attempt 0 drew the kinds
            bits = random_bits(self.seed, indices[pending], attempt, 2 * kinds.shape[1])
            drawn = self.radius + below(bits, self.size - 2 * self.radius)
            centres[pending] = drawn.reshape(len(pending), -1, 2)
            pending = pending[~self._admitted(centres[pending], kinds[pending])]
        return centres

    @classmethod
    def in_quadrant(cls, centres: Int64[np.ndarray, "n objects 2"]) -> Bool[np.ndarray, "n objects"]:
        """Whether an object's centre lies in the lower right quadrant: both coordinates at ``size // 2`` or beyond."""
        inside: Bool[np.ndarray, "n objects"] = np.all(centres >= cls.size // 2, axis=-1)
        return inside

    def _admitted(
        self, centres: Int64[np.ndarray, "n objects 2"], kinds: Int64[np.ndarray, "n objects"]
    ) -> Bool[np.ndarray, " n"]:
        """Whether every pair of an image's objects keeps the separation, and the quadrant is as it should be."""
        i, j = np.triu_indices(kinds.shape[1], k=1)
        rows, columns = np.moveaxis(np.abs(centres[:, i] - centres[:, j]), -1, 0)  # (n, pairs) each
        if self.separation == "paper":
            apart = rows * rows + columns * columns >= self.paper_distance**2
        else:
            apart = columns > _reach(self.radius, self.size)[kinds[:, i], kinds[:, j], rows]
        admitted: Bool[np.ndarray, " n"] = apart.all(axis=1)
        if self.quadrant != "free":
            admitted &= self.in_quadrant(centres).any(axis=1) == (self.quadrant == "occupied")
        return admitted


@dataclass(frozen=True)
class SortOfClevr(_Scenes):
    """Two-object Sort-of-CLEVR: one red and one blue object on white, 64x64 (arXiv 1807.03247, section 5).

    Each object is a square of 21x21 or a disc of radius 10, with probability one half; its centre is a whole pixel,
    uniform in 10..53 on each axis before the separation is asked for. Object 0 is red; 1 is blue, painted on top.

    Attributes:
        seed: 0 to 2^64 - 1. Two seeds give unrelated data.
        separation: "clear" (default): no pixel of one object lies on, or next to (8-adjacent), a pixel of the other, so
            at least one white pixel is between them. "paper": both centres are drawn again while they are closer than
            20 pixels (Euclidean), as in the paper's released code; objects then overlap in a tenth of the images.
        quadrant: the lower right one, of rows and columns 32 to 63. "free" (default): it is as any other. "empty": no
            object's centre is in it. "occupied": at least one is.

    Raises:
        ValueError: the seed, the separation or the quadrant is not one of those.
    """

    size = 64
    radius = 10
    palette = ((255, 0, 0), (0, 0, 255))
    colours = ("red", "blue")
    paper_distance = 20


@dataclass(frozen=True)
class ClassicSortOfClevr(_Scenes):
    """Six-object Sort-of-CLEVR: one object of each of six colours on white, 75x75 (arXiv 1706.01427), no questions.

    The paper gives the canvas and the six colours. Sizes, shades and distance are not in it; these are the ones of the
    usual PyTorch version (github.com/kimhc6028/relational-networks): squares of 11x11 and discs of radius 5, centres
    uniform in 5..69, red, green, blue, orange (255, 156, 0), gray (128, 128, 128), yellow. Object k has colour k and is
    painted over the ones before it.

    Attributes:
        seed: 0 to 2^64 - 1.
        separation: "clear" (default): no pixel of one object lies on, or next to, a pixel of another. "paper": no two
            centres closer than 10 pixels, as in that version; objects may then overlap.
        quadrant: as of `SortOfClevr`, rows and columns 37 to 74.

    Raises:
        ValueError: the seed, the separation or the quadrant is not one of those.
    """

    size = 75
    radius = 5
    palette = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 156, 0), (128, 128, 128), (255, 255, 0))
    colours = ("red", "green", "blue", "orange", "gray", "yellow")
    paper_distance = 10


@dataclass(frozen=True)
class NotSoClevr:
    """One 9x9 square of ones on a 64x64 canvas of zeros, at each of 56 x 56 positions (arXiv 1807.03247, section 2).

    Index 56 a + b is the square centred on row 4 + a and column 4 + b, so centres run over 4..59. The paper's released
    code paints the square at grey 128; here targets are 0 and 1, or IoU at threshold 0.5 could not pass one half.
    """

    size: ClassVar[int] = 64
    radius: ClassVar[int] = 4
    positions: ClassVar[int] = 56
    count: ClassVar[int] = 56 * 56

    def factors(self, indices: Int64[np.ndarray, " n"]) -> Factors:
        """Centres (n, 1, 2) of these indices; kind and colour are always 0.

        Raises:
            ValueError: an index is not in 0..3135.
        """
        check_indices(indices, self.count)
        centres = self.radius + np.stack(np.divmod(indices, self.positions), axis=-1)[:, None, :]
        nothing = np.zeros((len(indices), 1), dtype=np.int64)
        return Factors(centres, nothing, nothing.copy())

    def render(self, indices: Int64[np.ndarray, " n"]) -> Shapes:
        """Images (n, 1, 64, 64) of 0 and 1 and the factors.

        Raises:
            ValueError: an index is not in 0..3135.
        """
        factors = self.factors(indices)
        masks = _masks(factors.centres[:, 0], factors.kinds[:, 0], self.radius, self.size)
        return Shapes(factors.centres, factors.kinds, factors.colours, masks.view(np.uint8)[:, None])

    def split(self, name: Literal["uniform", "quadrant"], seed: int = 0) -> Split:
        """Indices to train on and to test on.

        "uniform": 2509 and 627, a random 80 % and 20 % that depend on the seed. "quadrant": the 729 centres with both
        coordinates in 33..59 are the test, the other 2407 the training; the seed has no say.

        Raises:
            ValueError: the name is neither of those, or the seed is not in 0 to 2^64 - 1.
        """
        check_seed(seed)
        everything = np.arange(self.count)
        if name == "quadrant":
            tested = (self.factors(everything).centres[:, 0] >= 33).all(axis=1)
        elif name == "uniform":
            order = np.argsort(random_bits(seed, everything, 0, 1)[:, 0], kind="stable")
            tested = np.isin(everything, order[: self.count // 5])
        else:
            raise ValueError(f"split is {name!r}; allowed are uniform, quadrant")
        return Split(everything[~tested], everything[tested])
