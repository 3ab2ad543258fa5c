"""The vision study: one of the paper's three coordinate tasks, with plain or with coordinate convolutions.

Liu et al. 2018 (arXiv 1807.03247), sections 2 to 4. The whole data set, 3136 positions, lies on the device.
"""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.data.shapes import NotSoClevr
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.seeding import seed_parameters
from sandbox.train.encoder import Encoder, of_latents
from sandbox.train.processes import is_first, share
from sandbox.train.schedule import Epochs, cosine_decay
from sandbox.train.study import Filmed, State, Study
from vision.coordinates.networks import PaperCoordRenderer, make_network
from vision.coordinates.pictures import arrows, beside, scene, sums, walks, zoomed
from vision.coordinates.tasks import PIXELS, Rendering, make_task
from vision.spec import VisionConfig

_CHUNK = 16  # positions at a time outside training: a chunk's maps stay in the processor's caches


@dataclass
class Record:
    """When every test position was right for the first time.

    Attributes:
        elapsed: seconds in steps so far.
        seconds, step: of the first time, NaN before it.
    """

    elapsed: float = 0.0
    seconds: float = math.nan
    step: float = math.nan

    @property
    def found(self) -> bool:
        """Whether that has happened."""
        return not math.isnan(self.step)


class VisionStudy(Study[VisionConfig], Filmed):
    """Trains a network on the training positions of a split and scores it on those and on the others.

    Module: ``network``. A checkpoint holds a `Record`, too. Training runs in the run's precision; every score and
    picture is computed in float32.
    """

    def __init__(self, config: VisionConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        network = make_network(config)
        if config.architecture == "matched":
            convs = Convolutions(config.coord, config.coord_layers, config.with_r)
            place_by_name({"network": network}, {"network": convs})
        seed_parameters(network, config.seed, "network", gain=config.gain)
        if isinstance(network, PaperCoordRenderer):
            seed_parameters(network.brush, config.seed, "network.brush", gain=config.brush_gain)
        self.network = self.add_network("network", network)
        self.record = Record()
        adam = self.adam(self._groups(), config.lr, betas=(config.beta1, config.beta2), weight_decay=config.l2)
        self.add_optimiser("network", adam)
        self.task = make_task(config, fabric.device)
        split = NotSoClevr().split(config.split)
        self.train, self.test = (torch.from_numpy(rows).to(fabric.device) for rows in split)
        self.epochs = Epochs(len(self.train), config.batch, config.seed)

    def rate(self, step: int) -> float:
        """The rate falls over the last share of the steps."""
        return cosine_decay(step, self.config.steps, self.config.decay)

    def state_dict(self) -> State:
        """The record, as tensors."""
        values = {name: torch.tensor(value, dtype=torch.float64) for name, value in asdict(self.record).items()}
        return {"record": values}

    def load_state_dict(self, state: State) -> None:
        """Puts the record back."""
        self.record = Record(**{name: float(value) for name, value in state["record"].items()})

    def _groups(self) -> list[dict[str, Any]]:
        if not isinstance(self.network, PaperCoordRenderer):
            return [{"params": list(self.network.parameters())}]
        # The penalty keeps the painter simple, which is how it answers for unseen places; the brush it would starve.
        free = {"params": list(self.network.brush.parameters()), "weight_decay": 0.0}
        return [{"params": list(self.network.painter.parameters())}, free]

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update. Every `score_every` steps it looks whether all of the test is right, until it is."""
        began = time.perf_counter()
        self.set_rates(step)
        self.network.train()
        with self.fabric.autocast():
            loss = self.task.loss(self.network, share(self._rows(step)))
        norms = self.optimise("network", loss)
        self.average_buffers("network")
        self._look(step, began)
        return {"loss/train": loss.detach()} | norms

    @torch.no_grad()
    def _look(self, step: int, began: float) -> None:
        wanted = self.config.task == "classification" and step % self.config.score_every == 0
        right = is_first() and wanted and not self.record.found and self._all_right()
        self.record.elapsed += time.perf_counter() - began
        if right:
            self.record.seconds, self.record.step = self.record.elapsed, float(step)

    def _all_right(self) -> bool:
        """Whether every test position is; the first wrong chunk ends the look."""
        return all(bool((self.task.scores(self._run(rows), rows)["accuracy"] == 1).all())
                   for rows in self.test.split(_CHUNK))  # fmt: skip

    def _rows(self, step: int) -> Int64[Tensor, " b"]:
        """Positions of a step."""
        return self.train[self.epochs.indices(step).to(self.train.device)]

    # ---- pictures and scores

    @torch.no_grad()
    def _run(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b *shape"]:
        """What the network says about some positions, in float32 and evaluation mode."""
        self.network.eval()
        return torch.cat([self.network(self.task.inputs(part)).float() for part in rows.split(_CHUNK)])

    def _scores(self, rows: Int64[Tensor, " b"]) -> dict[str, float]:
        parts = [self.task.scores(self._run(part), part) for part in rows.split(_CHUNK)]
        return self.task.summary({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def evaluate(self) -> dict[str, float]:
        """The task's scores on test and training positions; see docs/metrics.md."""
        found = {f"score/{name}_{key}": value for name, rows in (("test", self.test), ("train", self.train))
                 for key, value in self._scores(rows).items()}  # fmt: skip
        if self.config.task == "classification":
            found["score/seconds_to_perfect"] = self.record.seconds
            found["score/steps_to_perfect"] = self.record.step
        return found

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """The test set at one look, and its score.

        Sums of predictions and of targets, and logits around one test position; in regression arrows.
        """
        tag = f"preview/test_{self.task.metric}"
        if self.config.task == "regression":
            said = self._run(self.test)
            score = self.task.summary(self.task.scores(said, self.test))
            picture = arrows(self.task.centres[self.test].float().cpu(), ((said + 1) * PIXELS).cpu())
            return picture, {tag: score[self.task.metric]}
        total, scored = torch.zeros(64, 64, device=self.test.device), []
        for rows in self.test.split(_CHUNK):
            said = self._run(rows)
            total += self.task.picture(said).sum(0)
            scored.append(self.task.scores(said, rows)[self.task.metric])
        sheet = beside(sums(total, self._target_sum()), self._close_up())
        return sheet, {tag: float(torch.cat(scored).mean())}

    def _close_up(self) -> UInt8[np.ndarray, "h w 3"]:
        """The logits around the test position that lies nearest to the middle of all test positions."""
        centres = self.task.centres[self.test].float()
        row = self.test[(centres - centres.mean(0)).norm(dim=1).argmin()]
        y, x = self.task.centres[row].tolist()
        radius = NotSoClevr.radius if isinstance(self.task, Rendering) else 0
        return zoomed(self._run(row[None])[0, 0], (y, x), radius)

    def _target_sum(self) -> Float[Tensor, "64 64"]:
        if isinstance(self.task, Rendering):
            return self.task.images[self.test, 0].float().sum(0)
        target = torch.zeros(64, 64, device=self.test.device)
        target[tuple(self.task.centres[self.test].T)] = 1
        return target

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Targets that walk over the canvas, and what the network makes of them; the same walks in every arm."""
        rows = walks(frames, count, path, seed).to(self.test.device).flatten()
        outlined = self.config.task == "rendering"
        images = np.concatenate([
            scene(self.task.picture(self._run(part)), self.task.centres[part], outlined) for part in rows.split(_CHUNK)
        ])  # fmt: skip
        return images.reshape(frames, count, *images.shape[1:])

    def examples(self) -> dict[str, Tensor]:
        """Two inputs of the network."""
        return {"network": self.task.inputs(self.train[:2])}

    def encoder(self, name: str = "") -> Encoder:
        """A regression network sees grey images; painters and classifiers of positions have no image input."""
        network = self.find_network(name)
        if self.config.task != "regression":
            return of_latents(network, "uniform", 2)
        return Encoder(network, prepare=lambda images: images.mean(1, keepdim=True))
