"""Handwritten digits as pictures with a class each, for who has no folder of images at hand."""

import numpy as np
from PIL import Image

from sandbox.data.digits import whole_digits


class DigitPictures:
    """scikit-learn's digits, 8x8 pixels, white on black; has the functions of `sandbox.data.class_folders.ClassFolder`.

    Args:
        train: the first 1437, or the last 360.
    """

    classes = tuple("0123456789")

    def __init__(self, train: bool) -> None:
        grey, self.labels = whole_digits(train)
        self.images = np.rint(255 * grey).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, index: int) -> int:
        """The digit."""
        return int(self.labels[index])

    def name(self, index: int) -> str:
        """What the picture is called."""
        return f"digit {index}"

    def read(self, index: int, needed: int | None = None) -> Image.Image:
        """An RGB picture."""
        return Image.fromarray(self.images[index]).convert("RGB")
