"""CIFAR-10 where the user has it: read, never downloaded."""

import numpy as np
from jaxtyping import Int64, UInt8

from sandbox.base.errors import UserError

EDGE = 32  # pixels
CLASSES = 10


def read_cifar(root: str, count: int, train: bool) -> tuple[UInt8[np.ndarray, "n 3 32 32"], Int64[np.ndarray, " n"]]:
    """The first ``count`` images of CIFAR-10 (Krizhevsky 2009) and their classes, 0 to 9.

    Args:
        root: the folder that holds ``cifar-10-batches-py``.
        count: how many of the 50,000 training or 10,000 test images.
        train: of which of the two.

    Raises:
        UserError: it is not there, or holds fewer images than asked for.
    """
    from torchvision.datasets import CIFAR10

    try:
        found = CIFAR10(root, train=train, download=False)
    except RuntimeError:
        raise UserError(
            f"--data-root: {root} does not hold CIFAR-10, and nothing is downloaded for you: "
            f"unpack {CIFAR10.url} there, so that {root}/{CIFAR10.base_folder} is a folder"
        ) from None
    if count > len(found):
        flag = "images" if train else "test-images"
        raise UserError(f"--{flag} is {count}, but CIFAR-10 has {len(found)} for it: ask for fewer")
    images = np.ascontiguousarray(np.asarray(found.data[:count]).transpose(0, 3, 1, 2))
    return images, np.array(found.targets[:count], dtype=np.int64)
