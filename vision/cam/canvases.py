"""The own classifiers' images: a scene of shapes on a white canvas, rolled, so that no place differs from another."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.data.held_out import first_test
from sandbox.data.shapes import SortOfClevr
from vision.cam.spec import SCENE, CamConfig
from vision.classify.study import Examples


class Canvases(Examples):
    """Scenes of shapes, each rolled around a white canvas by a way of its own.

    Args:
        images: bytes, ``(n, 3, 64, 64)``.
        labels: ``(n,)``, 2 x (the red object is a disc) + (the blue one is).
        ways: pixels by which the scene is rolled from the canvas's middle, (rows, columns), ``(n, 2)``.
        size: pixels along the canvas's edge.
    """

    def __init__(
        self, images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, " n"], ways: Int64[Tensor, "n 2"], size: int
    ) -> None:
        super().__init__(images, labels)
        self.ways, self.size = ways, size

    def inputs(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """Some of the canvases, in [-1, 1]."""
        before = (self.size - SCENE) // 2
        after = self.size - SCENE - before
        laid = F.pad(super().inputs(rows), (before, after, before, after), value=1.0)
        ways = self.ways[rows].tolist()
        return torch.stack([image.roll(way, (1, 2)) for image, way in zip(laid, ways, strict=True)])

    def central(self, count: int, of: int) -> Int64[Tensor, " count"]:
        """Those of the first ``of`` whose scenes lie nearest to the middle, the nearest first: what pictures show."""
        around = (self.ways[:of] + self.size // 2) % self.size - self.size // 2  # -size / 2 to size / 2
        return around.abs().amax(1).argsort(stable=True)[:count]


def make_canvases(config: CamConfig, device: torch.device) -> tuple[Canvases, Canvases]:
    """Training and test canvases; the same for every seed and arm."""
    made = []
    for key, (first, count) in enumerate(((0, config.images), (first_test(config.images), config.test_images))):
        shapes = SortOfClevr().render(first + np.arange(count))
        labels = shapes.pair_classes
        ways = torch.randint(config.size, (count, 2), generator=keyed_generator(0, "canvas", key))
        parts = (torch.from_numpy(shapes.images), torch.from_numpy(labels), ways)
        images, classes, moved = (part.to(device) for part in parts)
        made.append(Canvases(images, classes, moved, config.size))
    return made[0], made[1]
