"""The instances study: trains a U-Net to tell objects apart that look the same, and measures which it tells apart."""

from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.types import Picture
from sandbox.nn.seeding import seed_parameters
from vision.classify.study import CHUNK, ClassifierStudy
from vision.instances.found import Found, k_means, mean_shift
from vision.instances.losses import embedding_losses
from vision.instances.matching import average_precision, masks_of, scored
from vision.instances.networks import InstanceNet
from vision.instances.scenes import Scenes, make_scenes
from vision.instances.spec import InstancesConfig
from vision.instances.theory import distinct_share

_PREVIEWED = 4  # test images of a learning curve and of the pictures


class InstancesStudy(ClassifierStudy[InstancesConfig]):
    """A network that segments objects, and how well it tells them apart.

    Module: ``network``. Training runs in the run's precision, all scores in float32.
    """

    network: InstanceNet
    train: Scenes
    test: Scenes

    def __init__(self, config: InstancesConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)

    def make_data(self) -> tuple[Scenes, Scenes]:
        """Images with the number of the object that each pixel belongs to."""
        return make_scenes(self.config, self.fabric.device)

    def make_network(self) -> InstanceNet:
        """The configuration's U-Net and head."""
        return InstanceNet(self.config)

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """The head's losses; see docs/metrics.md."""
        with self.fabric.autocast():
            out = self.network(self.train.inputs(rows))
        c, ids = self.config, self.train.ids[rows]
        return embedding_losses(out.float(), ids, c.loss, c.pull_margin, c.push_margin)

    # ---- what is found

    @torch.no_grad()
    def outputs(self, network: InstanceNet, scenes: Scenes, rows: Int64[Tensor, " b"]) -> Tensor:
        """Embeddings and the logit of the foreground, in evaluation mode."""
        network.eval()
        return torch.cat([network(scenes.inputs(part)) for part in rows.split(CHUNK)])

    def find(self, scenes: Scenes, rows: Int64[Tensor, " b"]) -> list[Found]:
        """The objects found in some images."""
        out = self.outputs(self.network, scenes, rows)
        return [mean_shift(*_parts(each), self.config.push_margin) for each in out]

    def evaluate(self) -> dict[str, float]:
        """Pairs told apart, symmetric best Dice, counts, average precision; see docs/metrics.md."""
        rows = self.test.rows()
        ids = self.test.ids.cpu().numpy()
        found = self.find(self.test, rows)
        scores = scored(found, ids) | average_precision(found, ids)
        out = self.outputs(self.network, self.test, rows)
        counted = [k_means(*_parts(each), int(count)) for each, count in zip(out, self.test.labels, strict=True)]
        scores |= {f"{name}_kmeans": value for name, value in scored(counted, ids).items() if name != "count_error"}
        scores["distinct"] = distinct_share(out[:, :-1], self.test.ids)
        untrained = deepcopy(self.make_network()).to(self.fabric.device)
        seed_parameters(untrained, self.config.seed, "network")
        first = rows[:_PREVIEWED]
        vectors = self.outputs(untrained, self.test, first)[:, :-1]
        scores["distinct_untrained"] = distinct_share(vectors, self.test.ids[first])
        return {f"score/{name}": value for name, value in scores.items()}

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Test images and what is found."""
        rows = self.test.rows(_PREVIEWED)
        found = self.find(self.test, rows)
        scores = scored(found, self.test.ids[rows].cpu().numpy())
        return np.zeros((8, 8, 3), np.uint8), {f"preview/{name}": scores[name] for name in ("pairs", "sbd")}


def _parts(out: Float[Tensor, "d h w"]) -> tuple[Float[np.ndarray, "d2 h w"], Float[np.ndarray, "h w"]]:
    return out[:-1].cpu().numpy(), out[-1].sigmoid().cpu().numpy()
