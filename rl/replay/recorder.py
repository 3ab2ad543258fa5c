"""What actors see and do, as transitions of several steps between pictures that are kept once.

Returns over n steps: Sutton and Barto 2018, chapter 7; with Q-learning as Hessel et al. 2018 (arXiv 1710.02298) and
Horgan et al. 2018 (arXiv 1803.00933, section 3.2) have them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

Observations = UInt8[np.ndarray, "n c h w"]


class Chunk(NamedTuple):
    """Transitions, and the pictures that are new since the chunk before: what an actor sends.

    An actor numbers its pictures from 0. An observation is ``stack`` of them on top of one another, the newest last;
    ``start`` and ``end`` name them by their numbers, which may be of earlier chunks.
    """

    first: int  # number of the first picture
    pictures: UInt8[np.ndarray, "p c h w"]
    start: Int64[np.ndarray, "t stack"]
    end: Int64[np.ndarray, "t stack"]
    action: Int64[np.ndarray, " t"]
    reward: Float32[np.ndarray, " t"]  # discounted, over the steps of the transition
    steps: Int64[np.ndarray, " t"]  # 1 to n: fewer than n where a game or a life ended
    terminated: Bool[np.ndarray, " t"]  # nothing comes after it, so that no value is added
    priority: Float32[np.ndarray, " t"]  # absolute temporal-difference error, by the actor's own values


class _Seen(NamedTuple):
    obs: UInt8[np.ndarray, "c h w"]
    rows: tuple[int, ...]


@dataclass
class _Begun:
    """A transition whose end has not been seen."""

    start: tuple[int, ...]
    action: int
    value: float
    reward: float = 0.0
    steps: int = 0


@dataclass
class _Done:
    start: tuple[int, ...]
    end: tuple[int, ...]
    action: int
    reward: float
    steps: int
    terminated: bool
    priority: float


@dataclass
class Recorder:
    """Records the play of ``n`` games as transitions of up to ``n_steps`` steps.

    Args:
        stack: pictures in an observation.
        n_steps: steps of a transition.
        gamma: discount of a step.

    For every step call `see` with what the agent sees and its values, then `act` with what came of it.
    """

    stack: int
    n_steps: int
    gamma: float
    _pictures: list[np.ndarray] = field(default_factory=list)  # those that were not sent
    _sent: int = 0
    _now: list[_Seen] = field(default_factory=list)
    _begun: list[list[_Begun]] = field(default_factory=list)
    _done: list[_Done] = field(default_factory=list)

    def see(self, obs: Observations, values: Float32[np.ndarray, "n actions"]) -> None:
        """What the agent sees before it acts. Transitions of full length end here, with the best of these values."""
        before: list[_Seen | None] = [*self._now] if self._now else [None] * len(obs)
        self._now = [self._rows(row, seen) for row, seen in zip(obs.copy(), before, strict=True)]
        self._begun = self._begun or [[] for _ in obs]
        best = values.max(1)
        for game, begun in enumerate(self._begun):
            if begun and begun[0].steps == self.n_steps:
                self._end(begun.pop(0), self._now[game].rows, float(best[game]), terminated=False)

    def act(
        self,
        actions: Int64[np.ndarray, " n"],
        values: Float32[np.ndarray, "n actions"],
        rewards: Float32[np.ndarray, " n"],
        ended: Bool[np.ndarray, " n"],
        last: dict[int, tuple[UInt8[np.ndarray, "c h w"], float | None]],
    ) -> None:
        """What came of a step.

        Args:
            actions: those taken.
            values: of all actions, as `see` was told.
            rewards: of the step.
            ended: games whose episode ended.
            last: for each of these what was seen last and, where the episode was only cut off, the best value there;
                None: nothing comes after it.
        """
        for game, begun in enumerate(self._begun):
            action = int(actions[game])
            begun.append(_Begun(self._now[game].rows, action, float(values[game, action])))
            for each in begun:
                each.reward += self.gamma**each.steps * float(rewards[game])
                each.steps += 1
            if ended[game]:
                seen, value = last[game]
                rows = self._rows(seen, self._now[game]).rows
                for each in begun:
                    self._end(each, rows, 0.0 if value is None else value, terminated=value is None)
                begun.clear()

    def take(self) -> Chunk:
        """The transitions that have ended since the last call, and their pictures. What has begun goes on."""
        done, self._done = self._done, []
        start, end = (
            np.array([getattr(each, name) for each in done], np.int64).reshape(-1, self.stack)
            for name in ("start", "end")
        )
        pictures, self._pictures = self._pictures, []
        first, self._sent = self._sent, self._sent + len(pictures)
        return Chunk(
            first, np.stack(pictures) if pictures else np.empty((0, 1, 1, 1), np.uint8), start, end,
            np.array([each.action for each in done], np.int64), np.array([each.reward for each in done], np.float32),
            np.array([each.steps for each in done], np.int64), np.array([each.terminated for each in done], bool),
            np.array([each.priority for each in done], np.float32),
        )  # fmt: skip

    def _rows(self, obs: UInt8[np.ndarray, "c h w"], before: _Seen | None) -> _Seen:
        """The numbers of an observation's pictures; those that were the newest of the one before are kept once."""
        one = len(obs) // self.stack
        known = before.rows[1:] if before is not None and np.array_equal(before.obs[one:], obs[:-one]) else ()
        new = np.split(obs.copy(), self.stack)[len(known) :]
        first = self._sent + len(self._pictures)
        self._pictures += new
        return _Seen(obs, (*known, *range(first, first + len(new))))

    def _end(self, begun: _Begun, rows: tuple[int, ...], value: float, *, terminated: bool) -> None:
        target = begun.reward + (0.0 if terminated else self.gamma**begun.steps * value)
        self._done.append(
            _Done(begun.start, rows, begun.action, begun.reward, begun.steps, terminated, abs(target - begun.value))
        )
