"""Images drawn by hand: a red and a blue object on white, or less, or more."""

import numpy as np

from sandbox.data.shapes import ideal_mask

RED, BLUE = np.array([255, 0, 0], dtype=np.uint8), np.array([0, 0, 255], dtype=np.uint8)
ROWS, COLUMNS = np.indices((64, 64))
Image = np.ndarray


def blank() -> Image:
    return np.full((3, 64, 64), 255, dtype=np.uint8)


def paint(image: Image, mask: np.ndarray, colour: np.ndarray) -> Image:
    image = image.copy()
    image[:, mask] = colour[:, None]
    return image


def place(mask: np.ndarray, row: int, column: int) -> np.ndarray:
    """A mask of the ideal's size on the canvas, centred there."""
    canvas = np.zeros((64, 64), dtype=bool)
    canvas[row - 10 : row + 11, column - 10 : column + 11] = mask
    return canvas


def scene(red: tuple[int, int] | None = (20, 20), blue: tuple[int, int] | None = (45, 45), kind: int = 0) -> Image:
    """A whole red and a whole blue object of one kind, or less."""
    image = blank()
    for centre, colour in ((red, RED), (blue, BLUE)):
        if centre is not None:
            image = paint(image, place(ideal_mask(kind, 10), *centre), colour)
    return image


def blend(one: Image, other: Image, share: float) -> Image:
    return np.rint((1 - share) * one.astype(float) + share * other).astype(np.uint8)
