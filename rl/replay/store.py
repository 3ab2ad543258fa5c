"""Transitions to learn from: each picture once, drawn in proportion to priority.

Priorities, sampling and weights: Schaul et al. 2016 (arXiv 1511.05952, section 3.3 and 3.4), by TorchRL's sum trees in
C++.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictPrioritizedReplayBuffer

from rl.replay.recorder import Chunk
from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator

logging.getLogger("torchrl").setLevel(logging.WARNING)  # else it says on screen that a storage was made
SPARE = 1.25  # pictures for each transition: games and lives that begin bring a whole stack, ends one more
ROW_BYTES = 128  # of a transition without its pictures, at most, with its place in two trees


def bytes_needed(capacity: int, picture: int) -> int:
    """Bytes of a store of ``capacity`` transitions whose pictures have ``picture`` bytes each."""
    return int(capacity * (SPARE * picture + ROW_BYTES))


@dataclass(frozen=True)
class Size:
    """How much a store holds.

    Attributes:
        capacity: transitions.
        budget: bytes that it may take.

    Raises:
        UserError: from `check`, with the arithmetic.
    """

    capacity: int
    budget: int

    def check(self, picture: tuple[int, ...]) -> None:
        """Refuses a store that does not fit its budget."""
        size = int(np.prod(picture))
        needed = bytes_needed(self.capacity, size)
        if needed > self.budget:
            fits = int(self.budget / (SPARE * size + ROW_BYTES))
            raise UserError(
                f"a replay of {self.capacity:,} transitions takes {needed / 1e9:.2f} GB ({SPARE} pictures of {size:,} "
                f"bytes and {ROW_BYTES} bytes each), replay_bytes allows {self.budget / 1e9:.2f} GB: give --replay "
                f"{fits} or less, or more --replay-bytes"
            )


@dataclass
class _Numbering:
    """Where an actor's pictures lie: those from number ``firsts[i]`` on from row ``places[i]`` on."""

    firsts: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, first: int, place: int, gone: int) -> None:
        """A chunk's pictures from number ``first`` on, from row ``place`` on; rows before ``gone`` hold others."""
        self.firsts.append(first)
        self.places.append(place)
        while len(self.places) > 1 and self.places[1] <= gone:
            del self.firsts[0], self.places[0]

    def rows(self, numbers: Int64[np.ndarray, "t stack"]) -> Int64[np.ndarray, "t stack"]:
        """The rows of pictures; below 0, and so gone, where they lie before all that is known."""
        firsts, places = np.array(self.firsts), np.array(self.places)
        chunk = np.searchsorted(firsts, numbers, side="right") - 1
        return np.where(chunk < 0, np.iinfo(np.int64).min, places[chunk] + numbers - firsts[chunk])


class Store:
    """The newest transitions.

    Args:
        size: how many, in how many bytes.
        picture: shape of a picture, (c, h, w).
        alpha: 0 to 1; how much priority decides: drawn in proportion to priority ** alpha.
        beta: 0 to 1; how much of the resulting bias the weights take back: weight (p / smallest p) ** -beta.
        eps: added to every priority, so that none is 0.

    Raises:
        UserError: it does not fit its bytes.
    """

    def __init__(self, size: Size, picture: tuple[int, int, int], alpha: float, beta: float, eps: float = 1e-6) -> None:
        size.check(picture)
        self._room = max(int(SPARE * size.capacity), 1)
        self._pictures = np.empty((self._room, *picture), np.uint8)  # no memory before it is written
        self._written = self._added = self._dead = 0
        self._oldest = np.zeros(size.capacity, np.int64)  # the oldest picture of each transition
        self._numberings: dict[str, _Numbering] = {}
        self._random = torch.Generator()
        self._buffer = TensorDictPrioritizedReplayBuffer(
            alpha=alpha, beta=beta, eps=eps, storage=LazyTensorStorage(size.capacity), generator=self._random
        )

    def __len__(self) -> int:
        return len(self._buffer)

    def add(self, chunk: Chunk, priorities: Float[np.ndarray, " t"] | None = None, actor: str = "") -> None:
        """Adds transitions with their own priorities, or others; the oldest go.

        Raises:
            ValueError: a chunk has more pictures than the whole store.
        """
        count, first = len(chunk.pictures), self._written
        if count > self._room:
            raise ValueError(f"a chunk of {count} pictures does not fit a store of {self._room}")
        self._pictures[np.arange(first, first + count) % self._room] = chunk.pictures
        self._written += count
        numbering = self._numberings.setdefault(actor, _Numbering())
        numbering.add(chunk.first, first, self._written - self._room)
        if len(chunk.action):
            own = chunk.priority if priorities is None else priorities
            self._keep(chunk, numbering.rows(chunk.start), numbering.rows(chunk.end), own)
        self._forget()

    def _keep(
        self, chunk: Chunk, start: Int64[np.ndarray, "t stack"], end: Int64[np.ndarray, "t stack"],
        priorities: Float[np.ndarray, " t"],
    ) -> None:  # fmt: skip
        fields = {name: torch.from_numpy(np.asarray(getattr(chunk, name)))
                  for name in ("action", "reward", "steps", "terminated")}  # fmt: skip
        rows = {"start": torch.from_numpy(start), "end": torch.from_numpy(end)}
        index = self._buffer.extend(TensorDict({**fields, **rows}, [len(chunk.action)]))
        self._oldest[index.numpy()] = np.minimum(start.min(1), end.min(1))
        self._added += len(chunk.action)
        self.update(index, torch.from_numpy(priorities.astype(np.float32)))

    def _forget(self) -> None:
        """Transitions whose pictures are gone are hardly drawn any more; they are the oldest ones."""
        self._dead, limit = max(self._dead, self._added - len(self._oldest)), self._written - self._room
        slots = []
        while self._dead < self._added and self._oldest[slot := self._dead % len(self._oldest)] < limit:
            slots.append(slot)
            self._dead += 1
        if slots:
            self._buffer.update_priority(torch.tensor(slots), torch.zeros(len(slots)))

    def sample(self, count: int, seed: int, *key: str | int) -> TensorDict:
        """Transitions as TorchRL's losses read them; which ones follows from the store and the key alone.

        ``observation``, ``("next", "observation")`` (count, stack * c, h, w) uint8; ``action`` (count,);
        ``("next", ...)`` ``reward``, ``done``, ``terminated`` (count, 1); ``steps_to_next_obs`` (count, 1); ``index``;
        ``priority_weight`` (count,), at most 1, and 0 for a transition whose pictures are gone.
        """
        self._random.set_state(keyed_generator(seed, "replay", *key).get_state())
        drawn = self._buffer.sample(count)
        start, end = drawn["start"].numpy(), drawn["end"].numpy()
        gone = self._gone(drawn["index"])
        terminated = drawn["terminated"][:, None]
        after = TensorDict(
            {"observation": self._look(end), "reward": drawn["reward"][:, None], "done": terminated,
             "terminated": terminated}, [count],
        )  # fmt: skip
        return TensorDict(
            {"observation": self._look(start), "action": drawn["action"], "next": after,
             "steps_to_next_obs": drawn["steps"][:, None], "index": drawn["index"],
             "priority_weight": drawn["priority_weight"].masked_fill(gone, 0.0)}, [count],
        )  # fmt: skip

    def update(self, index: Int64[Tensor, " t"], priorities: Float[Tensor, " t"]) -> None:
        """New priorities, absolute temporal-difference errors, of transitions that `sample` named by ``index``."""
        self._buffer.update_priority(index, priorities.masked_fill(self._gone(index), 0.0))

    def _gone(self, index: Int64[Tensor, " t"]) -> Bool[Tensor, " t"]:
        return torch.from_numpy(self._oldest[index.numpy()] < self._written - self._room)

    def _look(self, rows: Int64[np.ndarray, "t stack"]) -> UInt8[Tensor, "t channels h w"]:
        pictures = self._pictures[rows % self._room]
        return torch.from_numpy(pictures.reshape(len(rows), -1, *pictures.shape[-2:]))
