"""Batches from data that lie on a disk or must be decoded: torch's DataLoader, as a function of the seed and the step.

    batches = Loader(items, batch=32, seed=0, workers=4)
    images, labels = batches(step)                        # step 1, 2, 3 ...

Which items a step sees and how each is augmented depends on (seed, step) alone, so that a resumed run is exact whatever
was prefetched. What is drawn or lies in memory needs none of this: `sandbox.train.schedule.Epochs` says which items.
"""

import signal
import time
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from sandbox.base.seeding import keyed_generator
from sandbox.train.processes import share
from sandbox.train.schedule import Epochs

T_co = TypeVar("T_co", covariant=True)
Place = tuple[int, int, int]  # step, place in its global batch, item


@runtime_checkable  # the tests check types as they run
class Items(Protocol[T_co]):
    """Data by index, of any number: nothing of them need lie in memory."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def item(self, index: int, draws: torch.Generator) -> T_co:
        """Item ``index`` as tensors, numbers or nested tuples of them, of one shape for all items.

        Args:
            index: 0 to ``len - 1``.
            draws: the random stream of its augmentation, another one each time it is shown.
        """
        ...


class _Keyed(Dataset[Any]):
    def __init__(self, items: Items[Any], seed: int) -> None:
        self.items, self.seed = items, seed

    def __getitem__(self, place: Place) -> Any:
        step, slot, index = place
        return self.items.item(index, keyed_generator(self.seed, "augmentation", step, slot))


class _Steps(Sampler[list[Place]]):
    """The places of one step after another, without end."""

    def __init__(self, epochs: Epochs, first: int) -> None:
        self.epochs, self.first = epochs, first

    def __iter__(self) -> Iterator[list[Place]]:
        step = self.first
        while True:
            items = share(self.epochs.indices(step)).tolist()
            slots = share(torch.arange(self.epochs.batch)).tolist()
            yield [(step, slot, item) for slot, item in zip(slots, items, strict=True)]
            step += 1


class Loader:
    """The batches of a run, collated as torch's DataLoader does; over several processes this process's share of each.

    Args:
        items: the data.
        batch: items of a step, over all processes.
        seed: of orders and augmentations.
        workers: processes that decode ahead; 0: none, this one does it when it is asked.
        pin: whether batches lie in page-locked memory, from which a GPU copies faster.

    Attributes:
        waited: seconds that were spent waiting for batches so far; without workers, decoding them.
    """

    def __init__(self, items: Items[Any], batch: int, seed: int, *, workers: int = 0, pin: bool = False) -> None:
        self.data = _Keyed(items, seed)
        self.epochs = Epochs(len(items), batch, seed)
        # A stream of its own: DataLoader would draw from the one that studies draw from, at other steps when resumed.
        own = torch.Generator().manual_seed(seed)
        self.how: dict[str, Any] = {
            "num_workers": workers, "pin_memory": pin, "worker_init_fn": deaf, "generator": own,
        }  # fmt: skip
        self.waited = 0.0
        self._batches: Iterator[Any] | None = None
        self._next = 0

    def __call__(self, step: int) -> Any:
        """The batch of a step, counted from 1; cheap where it follows the step that was asked for before."""
        if self._batches is None or step != self._next:
            self.close()
            self._batches = iter(DataLoader(self.data, batch_sampler=_Steps(self.epochs, step), **self.how))
        self._next = step + 1
        asked = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - asked
        return batch

    def close(self) -> None:
        """Ends the workers."""
        self._batches = None


def deaf(worker: int) -> None:
    """For ``worker_init_fn``: a Ctrl-C or a SIGTERM reaches workers too; the loop finishes its step and ends them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
