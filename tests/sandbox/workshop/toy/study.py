"""A study of milliseconds: a small network on random points, with everything a resumed run could get wrong.

It has two modules that share a parameter, batch norm's buffers, dropout and noise from the global random streams of
torch and Python, and an optimiser with a state. ``explode_at`` makes the loss of that step infinite.
"""

import random
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from toy.spec import ToyConfig

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.train.study import Filmed, Study


class ToyStudy(Study[ToyConfig], Filmed):
    """Fits a line through noise."""

    def __init__(self, config: ToyConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        head = nn.Linear(4, 1)
        body = nn.Sequential(nn.Linear(2 + 2 * config.coord, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.modules |= {"body": body, "head": head, "tied": nn.Sequential(head)}
        parameters = [*body.parameters(), *head.parameters()]
        self.add_optimiser("adam", torch.optim.Adam(parameters, config.rate, fused=True))

    def step(self, step: int) -> dict[str, Tensor]:
        """One step on a batch of random points."""
        for module in self.modules.values():
            module.train()
        x = torch.randn(self.config.batch, 2 + 2 * self.config.coord)
        target = x.sum(1, keepdim=True) + random.gauss(0, 0.1)
        loss = (self.modules["head"](self.modules["body"](x)) - target).square().mean()
        self.optimisers["adam"].zero_grad()
        loss.backward()
        self.optimisers["adam"].step()
        if step == self.config.explode_at:
            loss = loss / 0
        losses = {"loss/toy": loss.detach(), "grad/toy": cast(nn.Linear, self.modules["head"]).weight.grad.norm()}
        return losses | ({"loss/rare": loss.detach() / 2} if step % 5 == 0 else {})

    @torch.no_grad()
    def _score(self) -> float:
        for module in self.modules.values():
            module.eval()
        x = torch.linspace(-1, 1, 20 + 20 * self.config.coord).view(10, -1)
        return float((self.modules["head"](self.modules["body"](x)) - x.sum(1, keepdim=True)).square().mean())

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """A grey square, and the error on fixed points."""
        return np.full((8, 8, 3), 128, np.uint8), {"preview/error": self._score()}

    def evaluate(self) -> dict[str, float]:
        """The error on fixed points, and a score that is never defined."""
        return {"score/error": self._score(), "score/undefined": float("nan")}

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Grey frames that grow lighter."""
        grey = np.linspace(0, 255, frames).astype(np.uint8)
        return np.broadcast_to(grey[:, None, None, None, None], (frames, count, 3, 4, 4)).copy()
