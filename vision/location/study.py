"""Location classification: a tile lies somewhere on an empty canvas, and a pooled network says in which cell.

Islam et al. 2021, "Global pooling, more than meets the eye" (arXiv 2108.07884): a mean over all places would seem to
leave nothing of position, but each channel may stand for a place. Then it lies in the order of the channels, which
PermuteNet's head destroys; what the tile shows would not. Asked both, the same networks tell the two apart.
"""

import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from vision.classify.networks import PooledLinear, ResNet18, SmallVgg
from vision.classify.study import ClassifierStudy, Examples
from vision.location.networks import make_network
from vision.location.spec import LocationConfig
from vision.location.tiles import Canvases, make_canvases

_PREVIEWED = 64  # canvases of a learning curve's accuracy, at most: whole tiles, each in every cell


class LocationStudy(ClassifierStudy[LocationConfig]):
    """A classifier of canvases, by the tile's cell or by what it shows."""

    network: SmallVgg | ResNet18
    train: Canvases
    test: Canvases

    def __init__(self, config: LocationConfig, fabric: Fabric) -> None:
        rows = int(config.grid) if config.asks == "location" else max(1, min(2, config.classes // 2))
        self.layout = (rows, config.classes // rows)
        super().__init__(config, fabric)
        self.previewed = config.cells * max(1, _PREVIEWED // config.cells)

    def make_data(self) -> tuple[Examples, Examples]:
        """Canvases."""
        return make_canvases(self.config, self.fabric.device)

    def make_network(self) -> SmallVgg | ResNet18:
        """The configuration's trunk and head."""
        return make_network(self.config)

    def make_optimiser(self) -> torch.optim.Optimizer:
        """Adam."""
        return self.adam(self.network.parameters(), self.config.lr, betas=(self.config.beta1, 0.999))

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """Cross-entropy; the permutations are those of the seed and the step."""
        self._permute("step", step)
        return super().losses(rows, step)

    def _permute(self, *key: str | int) -> None:
        if isinstance(self.network.head, PooledLinear):
            self.network.head.restart(self.config.seed, *key)

    def accuracy(self, examples: Examples, count: int | None = None) -> float:
        """The share of examples whose likeliest class is the right one, under the same permutations at every look."""
        self._permute("accuracy")
        return super().accuracy(examples, count)

    def shares(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b rows columns"]:
        """Softmax of the logits, as the pictures lay it out, under the same permutation at every look."""
        self._permute("pictures")
        return super().shares(images)
