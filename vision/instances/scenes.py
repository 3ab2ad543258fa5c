"""Images with the number of the object that each pixel belongs to, as an instances run sees them."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.data.held_out import first_test
from sandbox.data.instances import DiscGrid, Instances, Scattered, SixObjects
from sandbox.experiment.content import Content
from vision.classify.study import Examples
from vision.instances.own_pictures import read_pictures
from vision.instances.spec import InstancesConfig


class Scenes(Examples):
    """Images with their objects.

    Args:
        images: bytes, ``(n, 3, h, w)``.
        ids: ``(n, h, w)``, 0 the background, 1, 2 ... the objects.
        labels: how many there are, ``(n,)``.
        border: pixels that a network sees around the canvas.
        periodic: whether the scene goes on there as at the opposite side; white otherwise.
    """

    def __init__(
        self, images: UInt8[Tensor, "n 3 h w"], ids: UInt8[Tensor, "n h w"], labels: Int64[Tensor, " n"],
        border: int, periodic: bool,
    ) -> None:  # fmt: skip
        super().__init__(images, labels)
        self.ids, self.border, self.periodic = ids, border, periodic

    def inputs(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """What a network sees of some of them, in [-1, 1]."""
        return self.bordered(super().inputs(rows))

    def bordered(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Images, and what a network sees around them."""
        if not self.border:
            return images
        around = (self.border,) * 4
        return F.pad(images, around, mode="circular") if self.periodic else F.pad(images, around, value=1.0)


def data_of(config: InstancesConfig, part: Literal["training", "held out"]) -> DiscGrid | Scattered | SixObjects:
    """The drawn data set of a configuration, of a grid the part of its places."""
    if config.data == "grid":
        return DiscGrid(config.spacing, config.size, part=part)
    return Scattered(config.size) if config.data == "scattered" else SixObjects()


def make_scenes(config: InstancesConfig, device: torch.device) -> tuple[Scenes, Scenes, Content | None]:
    """Training and test images, the same for every seed and arm; and what a user's own are, of which the last test.

    Raises:
        UserError: there are no such pictures, or too few.
    """
    content = None
    if config.data == "coco":
        wanted = config.images + config.test_images
        scenes, content = read_pictures(config.annotations, config.data_root, wanted, config.size)
        parts = [Instances(*(each[rows] for each in (scenes.images, scenes.ids, scenes.counts)))
                 for rows in (slice(config.images), slice(config.images, None))]  # fmt: skip
    else:
        first = first_test(config.images)
        parts = [data_of(config, "training").render(np.arange(config.images)),
                 data_of(config, "held out").render(first + np.arange(config.test_images))]  # fmt: skip
    made = []
    for scenes in parts:
        images, ids, counts = (torch.from_numpy(part).to(device) for part in (scenes.images, scenes.ids, scenes.counts))
        made.append(Scenes(images, ids, counts, config.border, periodic=config.data == "grid"))
    return made[0], made[1], content
