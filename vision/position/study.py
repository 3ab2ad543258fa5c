"""The position study: trains a probe on the frozen features of one network, and scores what it reads.

PosENet of Islam, Jia and Bruce 2020 (arXiv 2001.08248). The features of all training images are computed once, when
the study is built; training then touches nothing but them.
"""

from typing import Any, cast

import numpy as np
import torch
from jaxtyping import UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from sandbox.train import processes
from sandbox.experiment.config import Config
from sandbox.base.errors import UserError
from sandbox.train.loop import Picture, Study
from vision.probe.config import PositionConfig
from vision.position.encoders import make_encoder
from vision.probe.probing import Probing


class Fingerprint(nn.Module):
    """The probed weights as a number that travels in checkpoints: a probe does not go on with other features."""

    digest: Tensor

    def __init__(self, digest: int) -> None:
        super().__init__()
        self.register_buffer("digest", torch.tensor(digest))

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuses a checkpoint of other weights.

        Raises:
            UserError: the target's weights have changed since.
        """
        if int(state_dict["digest"]) != int(self.digest):
            raise UserError("the target's weights are not those that this run began with: --overwrite starts it anew")
        return super().load_state_dict(state_dict, *args, **kwargs)


class PositionStudy(Study):
    """A probe on a network's features.

    Modules: ``probe``; ``target``, see `Fingerprint`. Everything is computed in float32, whatever the run's precision.
    """

    config: PositionConfig
    film_frames, film_grid, film_fps = 16, (2, 1), 8

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.fabric = cast(PositionConfig, config), fabric
        if processes.count() > 1:
            raise UserError("a probe trains in one process: its features lie in that one's memory")
        encoder = make_encoder(self.config, fabric.device)
        self.probing = Probing(self.config, encoder, fabric.device)
        self.modules = {"probe": self.probing.trainer.probe, "target": Fingerprint(encoder.fingerprint())}
        self.optimisers = {"probe": self.probing.trainer.optimiser}

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the probe."""
        return self.probing.trainer.step(step)

    def evaluate(self) -> dict[str, float]:
        """SPC and MAE of every map on every kind of image; see docs/metrics.md."""
        return self.probing.scores()

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """The five maps, asked for and answered, on a few images; the primary score of the natural ones."""
        picture, spc = self.probing.picture()
        return picture, {"preview/spc": spc}

    def film(self, *, frames: int, count: int, path: str, seed: int) -> UInt8[np.ndarray, "t n 3 h w"]:
        """Test images that roll, or walks between latents, each beside what the probe says; see `Probing.film`."""
        return self.probing.film(frames, count)

    def costs(self) -> dict[str, Any]:
        """Parameters, multiply-adds, levels and features; first what a reader must know of the target."""
        note = self.probing.encoder.note
        return {**({"note": note} if note else {}), **self.probing.costs()}


STUDY = PositionStudy
