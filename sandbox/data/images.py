"""Arrays of images at other sizes, and rolled around."""

import numpy as np
import torch
from jaxtyping import UInt8

from sandbox.base.seeding import keyed_generator

Bytes = UInt8[np.ndarray, "_ 3 h w"]


def resized(images: Bytes, size: int) -> UInt8[np.ndarray, "_ 3 _ _"]:
    """Images at another size (bilinear, with antialiasing)."""
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(images).float(), size=(size, size), mode="bilinear", antialias=True
    )
    smaller: UInt8[np.ndarray, "_ 3 _ _"] = scaled.round().clamp(0, 255).to(torch.uint8).numpy()
    return smaller


def rolled(images: Bytes, key: int) -> Bytes:
    """Each image rolled around both axes by offsets of its own, the same in every run."""
    generator, size = keyed_generator(0, "roll", key), images.shape[-1]
    offsets = torch.randint(size, (len(images), 2), generator=generator).tolist()
    return np.stack([np.roll(image, offset, (1, 2)) for image, offset in zip(images, offsets, strict=True)])
