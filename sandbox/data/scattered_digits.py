"""Real digits scattered over a canvas, with their boxes: scenes for a detector, each a function of (seed, index) alone.

    scenes = ScatteredDigits(read_digits("sklearn", train=True), "canvas64").render(np.arange(64))
    scenes.images, scenes.boxes                # (64, 1, 64, 64) uint8, (64, 5, 4) pixels

Liu et al. 2018 (arXiv 1807.03247), section 5, detect scattered MNIST digits; sizes, places and painting are those of
their released code. ``crop120`` is the data that its trainer reads: a canvas of 120x120 of which the middle is cut out,
so that about 30 % of the boxes lie wholly outside the image. In ``canvas64`` every digit is in view.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from sandbox.data.digits import Digits
from sandbox.data.hashing import check_indices, check_seed, random_bits, uniform

Layout = Literal["canvas64", "crop120"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
SIZE = 64  # pixels of an image's edge
CANVAS = {"canvas64": 64, "crop120": 120}  # pixels of the edge over which digits are scattered
SMALLEST, LARGEST = 15.0, 25.0  # pixels of a box's height and of its width
_CHUNK = 32  # scenes painted at a time: what a chunk needs stays in the core's own cache


@dataclass(frozen=True)
class DigitScenes:
    """Scenes and what is in them.

    Attributes:
        images: ``(n, 1, 64, 64)``, digits light on black.
        boxes: ``(n, digits, 4)`` left, top, right, bottom in pixels; pixel i covers i to i + 1. They are whole: outside
            0 to 64 where the digit is cut off.
        labels: ``(n, digits)`` 0 to 9.
        digits: ``(n, digits)`` which of the digits each is.
    """

    images: UInt8[np.ndarray, "n 1 64 64"]
    boxes: Float32[np.ndarray, "n digits 4"]
    labels: Int64[np.ndarray, "n digits"]
    digits: Int64[np.ndarray, "n digits"]


class ScatteredDigits:
    """Scenes of some digits each, stretched to random sizes, at random places, one over the other.

    Height and width of a box are uniform in 15 to 25 pixels, independent of each other, its place uniform over where it
    lies wholly on the canvas. The digit is stretched over it (bilinear); where digits overlap their greys are summed,
    up to white.

    Args:
        digits: of which scenes are made.
        layout: ``canvas64`` or ``crop120``.
        seed: of all scenes.
        count: digits in a scene; 0 and more.

    Raises:
        ValueError: a seed that is none, or no digits.
    """

    def __init__(self, digits: Digits, layout: Layout = "canvas64", seed: int = 0, count: int = 5) -> None:
        check_seed(seed)
        if not len(digits) or count < 0:
            raise ValueError(f"{count} digits a scene of {len(digits)}: there must be some")
        self.digits, self.layout, self.seed, self.count = digits, layout, seed, count

    def render(self, indices: Int64[np.ndarray, " n"]) -> DigitScenes:
        """The scenes of some indices; each is the same whatever the others are.

        Raises:
            ValueError: an index is negative.
        """
        check_indices(indices)
        numbers, boxes = self._scattered(indices)
        images = np.concatenate([
            self._painted(numbers[k : k + _CHUNK], boxes[k : k + _CHUNK])
            for k in range(0, max(len(indices), 1), _CHUNK)
        ])  # fmt: skip
        return DigitScenes(images, boxes, self.digits.labels[numbers], numbers)

    def _scattered(
        self, indices: Int64[np.ndarray, " n"]
    ) -> tuple[Int64[np.ndarray, "n digits"], Float32[np.ndarray, "n digits 4"]]:
        """Which digits, and their boxes."""
        drawn = uniform(random_bits(self.seed, indices, 0, 5 * self.count)).reshape(len(indices), self.count, 5)
        numbers = (drawn[..., 0] * len(self.digits)).astype(np.int64)
        sizes = SMALLEST + drawn[..., 1:3] * (LARGEST - SMALLEST)  # height, width
        canvas = CANVAS[self.layout]
        corners = drawn[..., 3:5] * (canvas - sizes) - (canvas - SIZE) // 2
        (top, left), (height, width) = (np.moveaxis(part, -1, 0) for part in (corners, sizes))
        return numbers, np.stack([left, top, left + width, top + height], -1).astype(np.float32)

    def _painted(
        self, numbers: Int64[np.ndarray, "n digits"], boxes: Float32[np.ndarray, "n digits 4"]
    ) -> UInt8[np.ndarray, "n 1 64 64"]:
        """Bilinear stretching works on rows and columns apart, so that a scene is a product of three matrices."""
        crops, sizes = self.digits.images[numbers], self.digits.sizes[numbers]
        edge = crops.shape[-1]
        rows = stretch(boxes[..., 1], boxes[..., 3], sizes[..., 0], edge) @ crops  # (n, digits, 64, edge)
        columns = stretch(boxes[..., 0], boxes[..., 2], sizes[..., 1], edge)
        # One product over all digits of a scene side by side sums their greys.
        laid = [np.moveaxis(part, 1, 2).reshape(len(numbers), SIZE, -1) for part in (rows, columns)]
        grey = np.minimum(laid[0] @ laid[1].swapaxes(1, 2), 1)
        painted: UInt8[np.ndarray, "n 1 64 64"] = np.rint(255 * grey).astype(np.uint8)[:, None]
        return painted


def stretch(
    low: Float32[np.ndarray, "*n"], high: Float32[np.ndarray, "*n"], pixels: Int64[np.ndarray, "*n"], edge: int
) -> Float32[np.ndarray, "*n 64 edge"]:
    """Bilinear weights along an axis: what of each source pixel an image pixel shows.

    Args:
        low, high: between which image coordinates the source is stretched; beyond there is nothing.
        pixels: of the source.
        edge: at least as many.
    """
    centres = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
    scale = (pixels / (high - low)).astype(np.float32)
    place = (centres - low[..., None]) * scale[..., None]  # in source pixels
    inside = (place >= 0) & (place < pixels[..., None])
    place = np.clip(place - np.float32(0.5), 0, (pixels[..., None] - 1).astype(np.float32))
    place[~inside] = -2  # no source pixel is near
    weights = np.abs(place[..., None] - np.arange(edge, dtype=np.float32))
    np.subtract(1, weights, out=weights)
    shown: Float32[np.ndarray, "*n 64 edge"] = np.maximum(weights, 0, out=weights)
    return shown


def shares_in_view(boxes: Float32[np.ndarray, "*n 4"]) -> Float64[np.ndarray, "*n"]:
    """How much of each box lies in the image, 0 to 1."""
    whole = np.prod(boxes[..., 2:] - boxes[..., :2], -1, dtype=np.float64)
    cut = boxes.clip(0, SIZE)
    seen: Float64[np.ndarray, "*n"] = np.prod(cut[..., 2:] - cut[..., :2], -1, dtype=np.float64) / whole
    return seen
