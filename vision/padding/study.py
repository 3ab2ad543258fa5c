"""The padding study: trains a small classifier of shapes under one padding, then probes its features for position.

The task needs no position: whether the red and the blue object are square or disc. The images are rolled around by
random ways, so that no place differs from another in what is seen there: what position the features hold comes from
padding or coordinates.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.data.held_out import first_test
from sandbox.data.images import rolled
from sandbox.data.shapes import PAIRS, SortOfClevr
from sandbox.film.cells import CELL, in_a_row, shown
from sandbox.nn.padded import make_convolutions
from vision.classify.networks import PooledLinear, SmallVgg
from vision.classify.study import ClassifierStudy, Examples
from vision.padding.spec import PaddingConfig
from vision.probe.levels import Levels
from vision.probe.probing import Probing

_SEEN_BY_PROBE = 10**6  # indices kept between the classifier's test images and the probe's


class PaddingStudy(ClassifierStudy[PaddingConfig]):
    """A classifier and, once it is trained, the probe of its features.

    Modules: ``network``. Training runs in the run's precision, all scores and the probe in float32.
    """

    network: SmallVgg

    def __init__(self, config: PaddingConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        self._probed: Probing | None = None

    def make_data(self) -> tuple[Examples, Examples]:
        """Shapes, and the class of each: 2 x (the red object is a disc) + (the blue one is)."""
        return (
            self._examples(np.arange(self.config.images), 2),
            self._examples(first_test(self.config.images) + _SEEN_BY_PROBE + np.arange(self.config.test_images), 3),
        )

    def _examples(self, indices: Int64[np.ndarray, " n"], key: int) -> Examples:
        shapes = SortOfClevr().render(indices)
        images = rolled(shapes.images, key) if self.config.roll else shapes.images
        labels = shapes.pair_classes
        device = self.fabric.device
        return Examples(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))

    def make_network(self) -> SmallVgg:
        """A small VGG with the configuration's padding."""
        c = self.config
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, c.padding)
        return SmallVgg(convs, c.padding, c.width, PooledLinear(8 * c.width, PAIRS))

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the classifier."""
        self._probed = None  # of weights that are no more
        return super().step(step)

    # ---- scores and pictures

    @property
    def probing(self) -> Probing:
        """The probe of the network as it is; trained at the first look, in seconds."""
        if self._probed is None:
            self.network.eval()
            encoder = replace(self.encoder(), names=self._levels)
            probing = Probing(self.config.probe(), encoder, self.fabric.device)
            probing.train()
            self._probed = probing
        return self._probed

    @property
    def _levels(self) -> tuple[str, ...]:
        return tuple(f"stages.{k}" for k in range(len(self.network.stages)))

    def evaluate(self) -> dict[str, float]:
        """SPC and MAE of the probe, accuracy of the classifier; see docs/metrics.md."""
        return {**self.probing.scores(), **super().evaluate()}

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """What each level makes of a white image, and the accuracy.

        A place is the darker the further its features lie from their mean over all places: without a source of
        position all of it is white.
        """
        self.network.eval()
        white = torch.ones(1, 3, 64, 64, device=self.fabric.device)
        levels = Levels(self.network, self._levels)(white)
        return in_a_row([shown(1 - _difference(level)[0], 2 * CELL) for level in levels]), {
            "preview/test_accuracy": self.accuracy(self.test)
        }

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Test images that roll around, each beside what the probe says; see `Probing.film`."""
        return self.probing.film(frames, count)


def _difference(level: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Distance of each place's features from their mean over places, in lengths of that mean, at most 1."""
    mean = level.mean((2, 3), keepdim=True)
    distance: Tensor = torch.linalg.vector_norm(level - mean, dim=1)
    return distance.div(torch.linalg.vector_norm(mean, dim=1).clamp_min(1e-12)).clamp(max=1)
