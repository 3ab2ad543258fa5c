"""What an image of two-object Sort-of-CLEVR contains, and three scores of a generator made from it.

* `validity`: the share of images that could be in the data: one whole red and one whole blue object, nothing else.
* `position_divergence`: how far the objects' positions are from the data's; the entropies of Liu et al. 2018
  (arXiv 1807.03247, figure 7) stand beside it.
* `coherence`: whether objects on a latent path move as a whole, or fade and teleport. The same paper shows it as
  pictures and gives no number; the definition is ours.

All three read one measurement, `parse`. Each pixel belongs to the nearest corner of the RGB cube (every channel is cut
at 128): white is background, red and blue are object pixels, the other five corners are *other*. The largest
8-connected component of a colour is its object; smaller components are *clutter*, and so are other pixels, but for
those next to an object: the blend of two colours along an edge. The numbers below are part of the definitions: scores
made under different ones do not compare.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from scipy import ndimage

from sandbox.data.shapes import DISC, SQUARE, SortOfClevr, ideal_mask

SIZE = SortOfClevr.size
RADIUS = SortOfClevr.radius
THRESHOLD = 128  # a channel at or above it is on
CLUTTER_LIMIT = 8  # pixels of clutter a valid image may have, and of a second component beside a located object
WHOLE_IOU = 0.85  # passes discs half a pixel off in radius, squares of side 18 to 22, no diamond (0.81 at most)
SMALLEST, LARGEST = 317 // 2, 441 * 3 // 2  # located: half the disc's area to one and a half times the square's

_RED, _BLUE, _WHITE = 4, 1, 7  # corners of the RGB cube as 4 r + 2 g + b
_PLANE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])  # 8-connected within an image, never across
_MARGIN = RADIUS + 1  # placements reach one pixel around the centroid


@dataclass(frozen=True)
class Objects:
    """The red (column 0) and the blue (column 1) object of n images.

    Attributes:
        areas: (n, 2) pixels of the colour's largest component (of equals the first in reading order), 0 without any.
        seconds: (n, 2) pixels of its second largest component, 0 where there is none.
        centres: (n, 2, 2) centroid of the largest component as (row, column), pixel centres at 0..63, NaN without any.
        ious: (n, 2) 0 to 1, overlap of the largest component with the data's square or disc, the best of nine
            whole-pixel placements around the rounded centroid; pixels of a placement outside the image count as missed.
        kinds: (n, 2) the kind of that best placement: 0 square, 1 disc, -1 where the colour is missing.
        clutter: (n,) red and blue pixels outside the two objects, plus other pixels that touch neither object.
    """

    areas: Int64[np.ndarray, "n 2"]
    seconds: Int64[np.ndarray, "n 2"]
    centres: Float64[np.ndarray, "n 2 2"]
    ious: Float64[np.ndarray, "n 2"]
    kinds: Int64[np.ndarray, "n 2"]
    clutter: Int64[np.ndarray, " n"]

    @property
    def located(self) -> Bool[np.ndarray, "n 2"]:
        """Whether the colour has one clear component, whatever its shape.

        It has 158 to 661 pixels, and no second component is above `CLUTTER_LIMIT`.
        """
        return (self.areas >= SMALLEST) & (self.areas <= LARGEST) & (self.seconds <= CLUTTER_LIMIT)

    @property
    def whole(self) -> Bool[np.ndarray, "n 2"]:
        """Whether the object is located and has the shape of a square or a disc, by `WHOLE_IOU`."""
        return self.located & (self.ious >= WHOLE_IOU)

    @property
    def valid(self) -> Bool[np.ndarray, " n"]:
        """Whether both objects are whole and the image has at most `CLUTTER_LIMIT` pixels of clutter."""
        clean: Bool[np.ndarray, " n"] = self.clutter <= CLUTTER_LIMIT
        return clean & self.whole.all(axis=1)


def parse(images: UInt8[np.ndarray, "n 3 h w"]) -> Objects:
    """Find the objects of images (n, 3, 64, 64), RGB with channels first.

    Raises:
        ValueError: the images are not (n, 3, 64, 64).
    """
    if images.shape[1:] != (3, SIZE, SIZE):
        raise ValueError(f"images are {images.shape}; allowed are (n, 3, {SIZE}, {SIZE})")
    red, green, blue = ((images[:, c] >= THRESHOLD).view(np.uint8) for c in range(3))
    corners = 4 * red + 2 * green + blue  # (n, 64, 64)
    masks = np.stack([corners == _RED, corners == _BLUE], axis=1).reshape(-1, SIZE, SIZE)  # slots: image, colour
    areas, seconds, pixels = _largest_components(masks)
    centres = _centroids(pixels, areas)
    ious, kinds = _best_match(pixels, areas, centres)
    areas, seconds, ious, kinds = (part.reshape(-1, 2) for part in (areas, seconds, ious, kinds))
    return Objects(areas, seconds, centres.reshape(-1, 2, 2), ious, kinds, _clutter(corners, pixels))


def _clutter(corners: UInt8[np.ndarray, "n h w"], pixels: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, " n"]:
    """Pixels of each image that are neither white, nor an object's, nor the blend of colours along an object's edge."""
    found = np.zeros(len(corners) * 2 * SIZE * SIZE, dtype=bool)  # slots: image, colour
    found[pixels] = True
    objects = found.reshape(-1, 2, SIZE, SIZE).any(axis=1)
    other = ~np.isin(corners, (_WHITE, _RED, _BLUE))
    # Blended pixels at an edge are missing from the object's area, and so already cost it IoU.
    blend = other & ndimage.binary_dilation(objects, structure=_PLANE)
    counted: Int64[np.ndarray, " n"] = np.sum((corners != _WHITE) & ~objects & ~blend, axis=(1, 2))
    return counted


def _largest_components(
    masks: Bool[np.ndarray, "m h w"],
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Int64[np.ndarray, " p"]]:
    """Area of each slot's largest and second largest component, and the flat positions of the largest ones' pixels."""
    labels, count = ndimage.label(masks, structure=_PLANE)
    pixels = np.flatnonzero(masks)
    component = labels.ravel()[pixels].astype(np.int64) - 1  # (p,)
    sizes = np.bincount(component, minlength=count)
    first = np.zeros(count, dtype=np.int64)
    first[component[::-1]] = pixels[::-1]  # of several writes to one place the last stays
    slots = first // (SIZE * SIZE)
    order = np.lexsort((first, -sizes, slots))  # by slot, the largest first, equals in reading order
    starts = np.searchsorted(slots[order], np.arange(len(masks) + 1))
    present, ordered = np.diff(starts), np.append(sizes[order], [0, 0])
    areas = np.where(present > 0, ordered[starts[:-1]], 0)
    seconds = np.where(present > 1, ordered[starts[:-1] + 1], 0)
    largest = np.zeros(count, dtype=bool)
    largest[order[starts[:-1][present > 0]]] = True
    return areas, seconds, pixels[largest[component]]


def _centroids(pixels: Int64[np.ndarray, " p"], areas: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m 2"]:
    """Mean row and column of each slot's pixels, NaN without any."""
    slots, place = np.divmod(pixels, SIZE * SIZE)
    sums = [np.bincount(slots, weights=axis, minlength=len(areas)) for axis in np.divmod(place, SIZE)]
    return np.stack(sums, axis=-1) / np.where(areas > 0, areas, np.nan)[:, None]


@lru_cache
def _placements() -> tuple[Float32[np.ndarray, "window 18"], Int64[np.ndarray, " 18"]]:
    """The ideal objects at the nine placements around a window's centre, as columns, and the kind of each column."""
    window = np.zeros((18, 2 * _MARGIN + 1, 2 * _MARGIN + 1), dtype=np.float32)
    side = 2 * RADIUS + 1
    for column, (kind, down, right) in enumerate(np.ndindex(2, 3, 3)):
        window[column, down : down + side, right : right + side] = ideal_mask(kind, RADIUS)
    return window.reshape(18, -1).T.copy(), np.repeat([SQUARE, DISC], 9)


def _best_match(
    pixels: Int64[np.ndarray, " p"], areas: Int64[np.ndarray, " m"], centres: Float64[np.ndarray, "m 2"]
) -> tuple[Float64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Best IoU of each slot's pixels with a placement, and its kind; 0 and -1 without any pixel."""
    slots, place = np.divmod(pixels, SIZE * SIZE)
    middle = np.rint(np.nan_to_num(centres)).astype(np.int64)[slots]  # (p, 2)
    offsets = np.stack(np.divmod(place, SIZE), axis=-1) - middle + _MARGIN
    near = ((offsets >= 0) & (offsets <= 2 * _MARGIN)).all(axis=1)
    windows = np.zeros((len(areas), 2 * _MARGIN + 1, 2 * _MARGIN + 1), dtype=np.float32)
    windows[slots[near], offsets[near, 0], offsets[near, 1]] = 1
    ideals, kinds = _placements()
    common = (windows.reshape(len(areas), len(ideals)) @ ideals).astype(np.float64)  # (m, 18) pixels, exact in float32
    ious = common / (areas[:, None] + ideals.sum(axis=0, dtype=np.float64) - common)
    return ious.max(axis=1), np.where(areas > 0, kinds[ious.argmax(axis=1)], -1)
