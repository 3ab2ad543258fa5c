"""Pictures laid out in grids and side by side, with labels."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from sandbox.base.types import Frames, Sheet


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


def side_by_side(films: Mapping[str, Frames], gap: int = 12, line: int = 22) -> Sheet:
    """Several films of the same size and length next to each other, each under its label of one or more lines.

    Raises:
        ValueError: the films differ in size or length, or there is none.
    """
    shapes = {film.shape for film in films.values()}
    if len(shapes) != 1:
        raise ValueError(f"films to lay side by side must have one shape, not {sorted(shapes)}")
    t, h, w, _ = shapes.pop()
    width, title = len(films) * (w + gap) + gap, line * max(label.count("\n") + 1 for label in films)
    canvas = np.full((t, h + title + gap, width, 3), 255, np.uint8)
    labels = Image.new("RGB", (width, title), "white")
    for k, (label, film) in enumerate(films.items()):
        x = gap + k * (w + gap)
        canvas[:, title : title + h, x : x + w] = film
        ImageDraw.Draw(labels).text((x + w // 2, title // 2), label, "black", ImageFont.load_default(14), "mm",
                                    align="center")  # fmt: skip
    canvas[:, :title] = np.asarray(labels)
    return canvas


def frame_size(film: Frames) -> tuple[int, int]:
    """Height and width in pixels."""
    return film.shape[1], film.shape[2]
