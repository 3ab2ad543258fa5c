"""What is segmented: drawn images whose masks are known exactly, and the colours in which masks are shown."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.data.held_out import first_test
from sandbox.data.rooms.rooms import CLASSES as ROOM_CLASSES
from sandbox.data.rooms.rooms import Rooms
from sandbox.data.shapes import SortOfClevr
from vision.classify.study import Examples

Data = Literal["shapes", "rooms"]
CLASSES = {"shapes": SortOfClevr.mask_classes(), "rooms": ROOM_CLASSES}
_BACKDROP = {"shapes": (0,), "rooms": tuple(map(ROOM_CLASSES.index, ("wall", "floor", "ceiling")))}
_COLOURS = {  # of the classes, in their order
    "shapes": ("#ffffff", "#b2182b", "#f4a582", "#2166ac", "#92c5de"),
    "rooms": ("#d9d9d9", "#8c564b", "#f7f7f7", "#17becf", "#bcbd22", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd",
              "#1f77b4"),
}  # fmt: skip
# Of PASCAL VOC: the bits of a class from the lowest on go to red, green and blue by turns, from their highest bit down.
_VOC = [[sum((label >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) / 255 for channel in range(3)]
        for label in range(256)]  # fmt: skip


class Scenes(Examples):
    """Images with the class of every pixel.

    Args:
        images: ``(n, 3, h, w)``, bytes.
        masks: ``(n, h, w)``, a row of `CLASSES`.
        labels: ``(n,)``, which way an image leans, as `leans` gives it.
    """

    def __init__(
        self, images: UInt8[Tensor, "n 3 h w"], masks: UInt8[Tensor, "n h w"], labels: Int64[Tensor, " n"]
    ) -> None:
        super().__init__(images, labels)
        self.masks = masks


def leans(masks: UInt8[np.ndarray, "n h w"], backdrop: tuple[int, ...]) -> Int64[np.ndarray, " n"]:
    """0 where the pixels of things lie left of the image's middle on the mean, or there are none; 1 where right of it.

    Args:
        masks: classes.
        backdrop: the classes that are no things.
    """
    things = ~np.isin(masks, backdrop)
    columns = np.arange(masks.shape[2]) - (masks.shape[2] - 1) / 2
    return np.asarray((things * columns).sum((1, 2)) > 0, dtype=np.int64)


def make_scenes(data: Data, images: int, test_images: int, device: torch.device) -> tuple[Scenes, Scenes]:
    """Training and test images of 64x64 pixels, so many of each."""
    train, test = np.arange(images), first_test(images) + np.arange(test_images)
    return _scenes(data, train, device), _scenes(data, test, device)


def _scenes(data: Data, indices: Int64[np.ndarray, " n"], device: torch.device) -> Scenes:
    if data == "shapes":
        shapes = SortOfClevr().render(indices)
        images, masks = shapes.images, SortOfClevr().masks(shapes)
    else:
        rooms = Rooms().render(indices, masks=True)
        assert rooms.masks is not None, "they were asked for"
        images, masks = rooms.images, rooms.masks
    labels = leans(masks, _BACKDROP[data])
    return Scenes(*(torch.from_numpy(part).to(device) for part in (images, masks, labels)))


def painted(masks: UInt8[Tensor, "*n h w"], data: str) -> Float[Tensor, "*n 3 h w"]:
    """Masks in the colours of their classes, in [0, 1]; of data without colours of their own, in PASCAL VOC's."""
    colours = [[int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)] for colour in _COLOURS.get(data, ())]
    return torch.tensor(colours or _VOC, device=masks.device)[masks.long()].movedim(-1, -3)
