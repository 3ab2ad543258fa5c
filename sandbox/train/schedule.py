"""What a step sees and how fast it learns: functions of the seed and the step alone, so that a resumed run is exact."""

import math

import torch
from jaxtyping import Int64
from torch import Tensor

from sandbox.base.seeding import keyed_generator


class Epochs:
    """Batches of a data set: every epoch goes through all of it in an order of its own, batches across its end.

    Args:
        count: items of the data set.
        batch: items of a step.
        seed: of the orders.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self._order: tuple[int, Tensor] | None = None

    def indices(self, step: int) -> Int64[Tensor, " batch"]:
        """The items of a step, counted from 1."""
        places = torch.arange((step - 1) * self.batch, step * self.batch)
        epochs = places.div(self.count, rounding_mode="floor")
        parts = [self._epoch(epoch)[places[epochs == epoch] % self.count] for epoch in epochs.unique().tolist()]
        return torch.cat(parts)

    def _epoch(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, torch.randperm(self.count, generator=keyed_generator(self.seed, "order", epoch))
        return self._order[1]


def cosine_decay(step: int, steps: int, share: float, rise: float = 0.0) -> float:
    """Factor of the learning rate at a step, counted from 1.

    It rises in a straight line over the first share ``rise`` of the steps, is 1, and falls over the last ``share`` of
    them to 0 along half a cosine. Adam's first steps are as long as the rate, however small the gradients are.
    """
    risen = min(step / max(rise * steps, 1), 1.0)
    left = (steps - step) / max(share * steps, 1)  # 1 at the start of the decay, 0 at the end
    return risen * (0.5 - 0.5 * math.cos(math.pi * min(left, 1.0)) if share else 1.0)
