"""The position study: trains a probe on the frozen features of one network, and scores what it reads.

PosENet of Islam, Jia and Bruce 2020 (arXiv 2001.08248). The features of all training images are computed once, when
the study is built; training then touches nothing but them.
"""

from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.errors import UserError
from sandbox.base.types import PathKind, Picture, Walks
from sandbox.experiment.content import Content
from sandbox.train import processes
from sandbox.train.encoder import Encoder
from sandbox.train.study import Filmed, State, Study
from vision.probe.config import PositionConfig
from vision.probe.encoders import make_encoder, refuse_other_weights, weights_state
from vision.probe.probing import Probing


class PositionStudy(Study[PositionConfig], Filmed):
    """A probe on a network's features.

    Module: ``probe``. A checkpoint holds a hash of the probed weights, too: a probe does not go on with other features.
    Everything is computed in float32, whatever the run's precision.
    """

    film_frames, film_grid, film_fps = 16, (2, 1), 8

    def __init__(self, config: PositionConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        if processes.count() > 1:
            raise UserError("a probe trains in one process: its features lie in that one's memory")
        encoder = make_encoder(config, fabric.device)
        self.probing = Probing(config, encoder, fabric.device)
        self.modules["probe"] = self.probing.trainer.probe
        self.optimisers["probe"] = self.probing.trainer.optimiser
        self._target = weights_state(encoder.network)

    @property
    def content(self) -> Content | None:
        """What the images of ``data: folder`` are."""
        return self.probing.content

    def state_dict(self) -> State:
        """The hash of the probed weights."""
        return self._target

    def load_state_dict(self, state: State) -> None:
        """Refuses a checkpoint of other weights.

        Raises:
            UserError: the target's weights have changed since.
        """
        refuse_other_weights(state, self._target)

    def encoder(self, name: str = "") -> Encoder:
        """A probe has nothing to look into.

        Raises:
            UserError: always.
        """
        self.find_network(name)
        raise UserError(f"it is itself a probe, of {self.config.target}: probe that")

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

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Test images that roll, or walks between latents, each beside what the probe says; see `Probing.film`."""
        return self.probing.film(frames, count)

    def costs(self) -> dict[str, Any]:
        """Parameters, multiply-adds, levels and features; first what a reader must know of the target."""
        note = self.probing.encoder.note
        return {**({"note": note} if note else {}), **self.probing.costs()}
