"""The vision study: one of the paper's three coordinate tasks, with plain or with coordinate convolutions.

Liu et al. 2018 (arXiv 1807.03247), sections 2 to 4. The whole data set, 3136 positions, lies on the device.
"""

import math
import time
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from sandbox.nn.blocks import seed_parameters
from sandbox.launcher.budget import multiply_adds
from sandbox.experiment.config import Config
from sandbox.data.shapes import NotSoClevr
from sandbox.train.processes import average_buffers, average_gradients, is_first, share
from sandbox.train.schedule import Epochs, cosine_decay
from sandbox.train.loop import Picture, Study
from vision.spec import VisionConfig
from vision.coordinates.networks import PaperCoordRenderer, make_network
from vision.coordinates.pictures import arrows, beside, scene, sums, walks, zoomed
from vision.coordinates.tasks import PIXELS, Rendering, make_task

_CHUNK = 16  # positions at a time outside training: a chunk's maps stay in the processor's caches


class Record(nn.Module):
    """When every test position was right for the first time. A module, because its buffers travel in checkpoints.

    Buffers: ``elapsed``, seconds in steps so far; ``seconds`` and ``step`` of the first time, NaN before it.
    """

    elapsed: Tensor
    seconds: Tensor
    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("elapsed", 0.0), ("seconds", math.nan), ("step", math.nan)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    @property
    def found(self) -> bool:
        """Whether that has happened."""
        return not math.isnan(float(self.step))


class VisionStudy(Study):
    """Trains a network on the training positions of a split and scores it on those and on the others.

    Modules: ``network``; ``record``, see `Record`. Training runs in the run's precision; every score and picture is
    computed in float32.
    """

    config: VisionConfig

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.fabric = cast(VisionConfig, config), fabric
        self.network = make_network(self.config)
        seed_parameters(self.network, config.seed, "network", gain=self.config.gain)
        if isinstance(self.network, PaperCoordRenderer):
            seed_parameters(self.network.brush, config.seed, "network.brush", gain=self.config.brush_gain)
        self.record = Record()
        fabric.to_device(self.network)
        if fabric._precision.precision == "bf16-mixed":
            self.network.to(memory_format=torch.channels_last)
        if self.config.compile:
            self.network.compile()  # in place: the class and the names stay
        self.modules = {"network": self.network, "record": self.record}
        self.optimiser = torch.optim.Adam(
            self._groups(), self.config.lr, (self.config.beta1, self.config.beta2),
            weight_decay=self.config.l2, fused=fabric.device.type in ("cpu", "cuda"),
        )  # fmt: skip
        self.optimisers = {"network": self.optimiser}
        self.task = make_task(self.config, fabric.device)
        split = NotSoClevr().split(self.config.split)
        self.train, self.test = (torch.from_numpy(rows).to(fabric.device) for rows in split)
        self.epochs = Epochs(len(self.train), self.config.batch, self.config.seed)

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
        self._set_rate(step)
        self.network.train()
        with self.fabric.autocast():
            loss = self.task.loss(self.network, share(self._rows(step)))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.network)
        self.optimiser.step()
        average_buffers(self.network)
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        self._look(step, began)
        return {"loss/train": loss.detach(), "grad/network": norm}

    @torch.no_grad()
    def _look(self, step: int, began: float) -> None:
        wanted = self.config.task == "classification" and step % self.config.score_every == 0
        right = is_first() and wanted and not self.record.found and self._all_right()
        self.record.elapsed += time.perf_counter() - began
        if right:
            self.record.seconds.copy_(self.record.elapsed)
            self.record.step.fill_(step)

    def _all_right(self) -> bool:
        """Whether every test position is; the first wrong chunk ends the look."""
        return all(bool((self.task.scores(self._run(rows), rows)["accuracy"] == 1).all())
                   for rows in self.test.split(_CHUNK))  # fmt: skip

    def _set_rate(self, step: int) -> None:
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * cosine_decay(step, config.steps, config.decay)

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
            found["score/seconds_to_perfect"] = float(self.record.seconds)
            found["score/steps_to_perfect"] = float(self.record.step)
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

    def film(self, *, frames: int, count: int, path: str, seed: int) -> UInt8[np.ndarray, "t n 3 h w"]:
        """Targets that walk over the canvas, and what the network makes of them; the same walks in every arm."""
        rows = walks(frames, count, path, seed).to(self.test.device).flatten()
        outlined = self.config.task == "rendering"
        images = np.concatenate([
            scene(self.task.picture(self._run(part)), self.task.centres[part], outlined) for part in rows.split(_CHUNK)
        ])  # fmt: skip
        return images.reshape(frames, count, *images.shape[1:])

    def costs(self) -> dict[str, Any]:
        """Parameters and multiply-adds an image."""
        inputs = self.task.inputs(self.train[:2])
        return {
            "parameters": {"network": sum(p.numel() for p in self.network.parameters())},
            "multiply_adds_per_image": {"network": multiply_adds(deepcopy(self.network), inputs)},
        }


STUDY = VisionStudy
