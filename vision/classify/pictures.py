"""Pictures of images and of what a classifier says: the likelier a class, the darker its cell."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from sandbox.film.cells import CELL, GAP, shown

Sheet = UInt8[np.ndarray, "_ _ 3"]


def answered(image: Float[Tensor, "3 h w"], shares: Float[Tensor, "rows columns"], truth: int | None) -> Sheet:
    """An image in [-1, 1], beside it the shares of its classes, from white, 0, to black, 1.

    Args:
        image: of any size.
        shares: of the classes, as they are laid out.
        truth: the right class, which an orange frame marks; none to mark with None.
    """
    cells = Image.fromarray(shown(1 - shares))
    rows, columns = shares.shape
    draw = ImageDraw.Draw(cells)
    if truth is not None:
        row, column = divmod(truth, columns)
        left, right = (round(k * CELL / columns) for k in (column, column + 1))
        top, bottom = (round(k * CELL / rows) for k in (row, row + 1))
        draw.rectangle((left, top, right - 1, bottom - 1), outline="#ff8c00", width=2)
    return np.concatenate([shown((image + 1) / 2), np.full((CELL, GAP, 3), 200, np.uint8), np.asarray(cells)], 1)
