"""Photographs that a package ships: scikit-image's, cut into random squares. Real content without a download.

    images = photographs(PARTS["test"], count=32, size=112, key=0)     # (32, 3, 112, 112) uint8

Fifteen pictures are few: what is measured on their squares is measured on fifteen pictures. The parts share none.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.base.reading import Unreadable
from sandbox.base.seeding import keyed_generator
from sandbox.data.pictures import NoPicture, read_picture

# In each a bit of everything: people and animals, things, surfaces, what a microscope or a telescope sees.
PARTS = {
    "train": ("astronaut.png", "chelsea.png", "coins.png", "grass.png", "gravel.png", "motorcycle_left.png",
              "retina.jpg", "page.png", "hubble_deep_field.jpg"),
    "held_out": ("rocket.jpg", "brick.png", "ihc.png"),
    "test": ("camera.png", "coffee.png", "moon.png"),
}  # fmt: skip


def photographs(names: Sequence[str], count: int, size: int, key: int) -> UInt8[np.ndarray, "n 3 size size"]:
    """Random squares of photographs in turn, a function of these numbers; half of them mirrored.

    A square is as large as the photograph at most, as large as ``size`` at least where the photograph is, and resized
    with antialiasing (bicubic).

    Args:
        names: of scikit-image's files, see `PARTS`.
        count: squares; number k is of photograph k modulo their number.
        size: pixels along an edge of the result.
        key: tells several sets of squares apart.

    Raises:
        UserError: scikit-image is not installed, or has no such files.
    """
    folder = _folder()
    try:
        pictures = [read_picture(folder / name) for name in names]
    except (Unreadable, NoPicture) as error:
        raise UserError(f"--data photographs: scikit-image's own cannot be read: {error}") from None
    squares = np.empty((count, 3, size, size), dtype=np.uint8)
    for k in range(count):
        picture, generator = pictures[k % len(pictures)], keyed_generator(key, "photographs", size, k)
        squares[k] = _square(picture, size, np.random.default_rng(generator.initial_seed()))
    return squares


def _folder() -> Path:
    found = find_spec("skimage")  # found, not imported: only its files are wanted
    if found is None or found.origin is None:
        raise UserError("--data photographs needs scikit-image: pip install 'coordconv-sandbox[photographs]'")
    return Path(found.origin).parent / "data"


def _square(picture: Image.Image, size: int, random: np.random.Generator) -> UInt8[np.ndarray, "3 size size"]:
    shorter = min(picture.size)
    edge = int(random.integers(min(size, shorter), shorter + 1))
    left, top = (int(random.integers(0, room - edge + 1)) for room in picture.size)
    cut = picture.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(cut, dtype=np.uint8).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[:, :, ::-1] if random.random() < 0.5 else pixels)
