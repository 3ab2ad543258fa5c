"""Handwritten digits, each cut to its ink: scikit-learn's, which its package holds, or MNIST where the user has it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64

from sandbox.base.errors import UserError, one_line

DigitSource = Literal["sklearn", "mnist"]
CLASSES = 10
SHARE = 0.8  # of scikit-learn's digits that training scenes are made of; its last ones are mostly other writers'


@dataclass(frozen=True)
class Digits:
    """Digits without their empty borders.

    Attributes:
        images: ``(n, k, k)`` in [0, 1]; each fills the upper left part of its square, what is left of it is 0.
        sizes: ``(n, 2)`` height and width of that part in pixels.
        labels: ``(n,)`` 0 to 9.
    """

    images: Float32[np.ndarray, "n k k"]
    sizes: Int64[np.ndarray, "n 2"]
    labels: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)


@lru_cache(maxsize=4)
def read_digits(source: DigitSource, train: bool, root: str = "") -> Digits:
    """The digits that training scenes are made of, or those of test scenes: no digit is in both.

    Args:
        source: ``sklearn``: 1797 digits of 8x8 pixels in 17 greys (the test part of Alpaydin and Kaynak 1998, "Optical
            Recognition of Handwritten Digits"), of which the first 80 % are for training; ``mnist``: MNIST (LeCun et
            al. 1998), 28x28 pixels, its training and its test file.
        train: which of the two.
        root: of MNIST, as `torchvision.datasets.MNIST` takes it: ``<root>/MNIST/raw`` holds its files.

    Raises:
        UserError: MNIST is not there, or damaged.
    """
    images, labels = whole_digits(train) if source == "sklearn" else _mnist(root, train)
    return trimmed(images, labels)


def trimmed(images: Float32[np.ndarray, "n h w"], labels: Int64[np.ndarray, " n"]) -> Digits:
    """Images cut to their ink; those without any are left out."""
    ink = images > 0.001  # as the released code of arXiv 1807.03247 has it, where pixels are 0 to 255
    there: Any = ink.any((1, 2))
    images, ink = images[there], ink[there]
    bounds = []
    for axis in (2, 1):  # rows, then columns
        used: Any = ink.any(axis)
        bounds.append((used.argmax(1), used.shape[1] - used[:, ::-1].argmax(1)))
    (top, bottom), (left, right) = bounds
    sizes = np.stack([bottom - top, right - left], 1).astype(np.int64)
    edge = int(sizes.max(initial=1))
    cut = np.zeros((len(images), edge, edge), np.float32)
    for k, (height, width) in enumerate(sizes):
        cut[k, :height, :width] = images[k, top[k] : bottom[k], left[k] : right[k]]
    return Digits(cut, sizes, labels[there].astype(np.int64))


def whole_digits(train: bool) -> tuple[Float32[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"]]:
    """scikit-learn's digits as they are, in [0, 1], and which each is; see `read_digits`."""
    from sklearn.datasets import load_digits  # a second or two, for those alone who ask for it

    found = load_digits()
    first = int(SHARE * len(found.target))
    part = slice(None, first) if train else slice(first, None)
    return (found.images[part] / 16).astype(np.float32), found.target[part].astype(np.int64)


def _mnist(root: str, train: bool) -> tuple[Any, Any]:
    from torchvision.datasets import MNIST

    try:
        found = MNIST(root, train=train, download=False)
    except (RuntimeError, ValueError, AssertionError, OSError, EOFError, IndexError) as error:
        raise UserError(
            f"--data-root: {root} does not hold MNIST ({one_line(error, 80)}), and nothing is downloaded for you: put "
            f"train-images-idx3-ubyte and its three companions into {root}/MNIST/raw"
        ) from None
    images, labels = found.data.numpy(), found.targets.numpy()
    if not len(images) or len(images) != len(labels):
        raise UserError(f"--data-root: {root}/MNIST/raw holds {len(images)} images and {len(labels)} labels")
    return (images / 255).astype(np.float32), labels
