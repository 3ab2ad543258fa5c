"""Handwritten digits that a package ships: 1797 of 8x8 pixels, ten classes (Alpaydin and Kaynak 1998).

scikit-learn ships the test part of the UCI repository's, written by 13 people. The first 1437 train, the last 360 test;
whether a person wrote some of both is not said.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

TRAIN = 1437
CLASSES = tuple("0123456789")


@lru_cache(maxsize=1)
def _all() -> tuple[UInt8[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"]]:
    from sklearn.datasets import load_digits  # a second, that only who asks for it waits for

    found = load_digits()
    grey = np.rint(found.images * (255 / 16)).astype(np.uint8)
    return grey, found.target.astype(np.int64)


class Digits:
    """The training or the test part; `sandbox.data.class_folders.ClassFolder` has the same functions."""

    classes = CLASSES

    def __init__(self, train: bool) -> None:
        part = slice(0, TRAIN) if train else slice(TRAIN, None)
        grey, labels = _all()
        self.images, self.labels = grey[part], labels[part]

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, index: int) -> int:
        """The digit."""
        return int(self.labels[index])

    def name(self, index: int) -> str:
        """What the picture is called."""
        return f"digit {index}"

    def read(self, index: int, needed: int | None = None) -> Image.Image:
        """White on black, RGB, 8x8 pixels."""
        return Image.fromarray(self.images[index]).convert("RGB")
