"""Pictures laid out in grids and side by side, with labels."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from sandbox.base.types import Frames, Picture, Sheet

WIDEST = 1800  # pixels of films in a row


def tile(images: UInt8[np.ndarray, "t n 3 h w"], grid: tuple[int, int], gap: int = 2) -> Sheet:
    """Lays the ``n`` images of each frame out in rows and columns, grey lines between them.

    Raises:
        ValueError: ``n`` does not fill the grid.
    """
    t, n, _, h, w = images.shape
    rows, columns = grid
    if n != rows * columns:
        raise ValueError(f"{n} images do not fill a grid of {rows}x{columns}")
    canvas = np.full((t, rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 200, np.uint8)
    for k in range(n):
        y, x = gap + k // columns * (h + gap), gap + k % columns * (w + gap)
        canvas[:, y : y + h, x : x + w] = images[:, k].transpose(0, 2, 3, 1)
    return canvas


def shaded(values: Float[np.ndarray, "h w"], black: float, zoom: int = 1) -> Picture:
    """A map in grey, from white at 0 to black at ``black`` and beyond; pale blue where it is NaN.

    Args:
        values: (h, w), 0 and more.
        black: above 0.
        zoom: pixels of the picture along one of the map's.
    """
    grey = 255 * (1 - np.nan_to_num(values) / black).clip(0, 1)
    colours = np.where(np.isnan(values)[..., None], (200, 215, 230), grey[..., None]).astype(np.uint8)
    return colours.repeat(zoom, 0).repeat(zoom, 1)


def side_by_side(films: Mapping[str, Frames], gap: int = 12, line: int = 22) -> Sheet:
    """Several films of the same size and length next to each other, each under its label of one or more lines.

    In rows of equal length where one of them all would be wider than `WIDEST`.

    Raises:
        ValueError: the films differ in size or length, or there is none.
    """
    shapes = {film.shape for film in films.values()}
    if len(shapes) != 1:
        raise ValueError(f"films to lay side by side must have one shape, not {sorted(shapes)}")
    t, h, w, _ = shapes.pop()
    rows = math.ceil(len(films) / max(1, (WIDEST - gap) // (w + gap)))
    columns, title = math.ceil(len(films) / rows), line * max(label.count("\n") + 1 for label in films)
    height, width = h + title + gap, columns * (w + gap) + gap
    canvas = np.full((t, rows * height, width, 3), 255, np.uint8)
    labels = Image.new("RGB", (width, rows * height), "white")
    for k, (label, film) in enumerate(films.items()):
        y, x = k // columns * height, gap + k % columns * (w + gap)
        canvas[:, y + title : y + title + h, x : x + w] = film
        ImageDraw.Draw(labels).text((x + w // 2, y + title // 2), label, "black", ImageFont.load_default(14), "mm",
                                    align="center")  # fmt: skip
    for y in range(0, rows * height, height):
        canvas[:, y : y + title] = np.asarray(labels)[y : y + title]
    return canvas


def frame_size(film: Frames) -> tuple[int, int]:
    """Height and width in pixels."""
    return film.shape[1], film.shape[2]
