"""Maps and images as cells of equal size, in rows: what networks see and say, beside each other."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from sandbox.base.types import Picture

CELL, GAP, LABELS = 84, 4, 64  # pixels: of a picture's edge, between two, of the column of names


def shown(values: Float[Tensor, "*c h w"], edge: int = CELL) -> UInt8[np.ndarray, "edge edge 3"]:
    """A grey map or an RGB image in [0, 1] at ``edge`` x ``edge`` pixels; what lies outside is cut off."""
    array = (values.float().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    picture = Image.fromarray(array) if array.ndim == 2 else Image.fromarray(np.moveaxis(array, 0, -1))
    nearest = Image.Resampling.NEAREST
    return np.asarray(picture.convert("RGB").resize((edge, edge), nearest)).copy()


def in_a_row(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height next to each other, grey lines between them."""
    line = np.full((len(pictures[0]), GAP, 3), 200, np.uint8)
    return np.concatenate([part for picture in pictures for part in (line, picture)][1:], 1)


def in_rows(pictures: Sequence[Picture], columns: int) -> Picture:
    """Pictures of one size in rows of ``columns``; white where there are too few."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * (height + GAP) - GAP, columns * (width + 2 * GAP) - 2 * GAP, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        y, x = k // columns * (height + GAP), k % columns * (width + 2 * GAP)
        canvas[y : y + height, x : x + width] = picture
    return canvas
