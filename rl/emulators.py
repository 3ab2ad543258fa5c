"""ale-py's own vector of emulators, stepped under a watch.

What ``AtariVectorEnv`` 0.12.1 does and does not do was measured; see the notes at the lines.
"""

import atexit
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import ale_py  # first: it registers its games
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from jaxtyping import Bool, Int, UInt8

from rl.protocol import Protocol, real, whole
from sandbox.base.cores import cores
from sandbox.base.errors import RunError

T = TypeVar("T")

MOST, MOST_THREADS = 4096, 1024  # games of a vector, threads that emulate them
USUAL = 16  # games; a reset takes as long as 100 steps, and more games must not pass for ones that hang
PATIENCES = (1e-3, 1e6)  # seconds; Python's locks do not take any number


@dataclass(frozen=True)
class Frames:
    """What ``n`` emulators show after a reset or a step.

    Attributes:
        obs: pictures, the newest last: grey, or, of emulators in colour, one RGB picture.
        rewards: of the step, in full.
        signalled: a life was lost, or the game is over.
        truncated: the game was cut; like one that is over it has started anew already.
        lives: left.
        total: frames emulated so far.
        played: frames since the start of the game, the no-ops included.
        final: the last pictures of the games that ended in this step; other rows hold uninitialised memory.
    """

    obs: UInt8[np.ndarray, "n stack h w *rgb"]
    rewards: Int[np.ndarray, " n"]
    signalled: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    lives: Int[np.ndarray, " n"]
    total: Int[np.ndarray, " n"]
    played: Int[np.ndarray, " n"]
    final: UInt8[np.ndarray, "n stack h w *rgb"] | None

    def started_anew(self, before: "Frames") -> Bool[np.ndarray, " n"]:
        """Which games ended in the step from ``before`` and began again: their own count fell behind the total one."""
        anew: np.ndarray = (self.played - before.played) != (self.total - before.total)
        return anew

    def row(self, i: int) -> "Frames":
        """The i-th emulator's alone."""
        rows: dict[str, Any] = {
            name: None if values is None else values[i : i + 1] for name, values in vars(self).items()
        }
        return replace(self, **rows)

    def with_row(self, i: int, row: "Frames") -> "Frames":
        """These, the counters of the i-th emulator replaced."""
        new = {name: getattr(self, name).copy() for name in ("lives", "total", "played")}
        for name, values in new.items():
            values[i] = getattr(row, name)[0]
        return replace(self, **new)


class Watch:
    """Waits for calls that may never return: a blocked emulator is deaf to Ctrl-C, too.

    Args:
        patience: seconds after which a call is given up, within `PATIENCES`.

    Raises:
        ValueError: the patience is no such number.
    """

    def __init__(self, patience: float) -> None:
        self.patience = real("patience", patience, *PATIENCES)
        self.closed = False
        self._number = 0
        self._orders: queue.SimpleQueue[tuple[int, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
        # A daemon: Python must not wait for it when the program ends.
        threading.Thread(target=_serve, args=(self._orders, self._answers), daemon=True).start()

    def call(self, function: Callable[[], T], what: str, times: float = 1.0) -> T:
        """``function()``, run by another thread; ``times`` the patience is had with it.

        Raises:
            RunError: it has not returned in time; it will be left alone for ever.
            RuntimeError: the watch is closed.
        """
        if self.closed:
            raise RuntimeError(f"{what} after close(): the emulators are closed, make new ones")
        patience = times * self.patience
        self._number += 1
        self._orders.put((self._number, function))
        number = 0
        try:
            while number != self._number:  # an answer that Ctrl-C did not wait for is no answer to this
                number, answer, error = self._answers.get(timeout=patience)
        except queue.Empty:
            atexit.register(_say_no_more)
            raise RunError(f"{what} did not return within {patience:g} s: the emulators hang; "
                           "the same command goes on from the last checkpoint") from None  # fmt: skip
        if error is not None:
            raise error
        result: T = answer
        return result

    def close(self) -> None:
        """Lets the thread end. A second time it does nothing."""
        if not self.closed:
            self.closed = True
            self._orders.put(None)


def _say_no_more() -> None:
    """Closes stderr as the program ends: emulators that hang are never freed, and ale-py's bindings report that."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _serve(
    orders: "queue.SimpleQueue[tuple[int, Callable[[], Any]] | None]",
    answers: "queue.SimpleQueue[tuple[int, Any, BaseException | None]]",
) -> None:
    while (order := orders.get()) is not None:
        number, function = order
        try:
            answers.put((number, function(), None))
        except BaseException as error:
            answers.put((number, None, error))


@dataclass(frozen=True)
class Console:
    """What is fixed about a game: the size of its screen in pixels and its actions by name, in order."""

    height: int
    width: int
    actions: tuple[str, ...]


def console(rom: str, protocol: Protocol) -> Console:
    """The screen and the actions of a ROM."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner
    machine = ale_py.ALEInterface()
    path = roms.get_rom_path(rom)
    assert path is not None, rom
    machine.loadROM(path)
    height, width = machine.getScreenDims()
    actions = machine.getLegalActionSet() if protocol.full_actions else machine.getMinimalActionSet()
    return Console(int(height), int(width), tuple(action.name for action in actions))


class Emulators:
    """``count`` emulators of one game. Steps are taken by all together; where asked for, by one alone.

    Args:
        rom: name of the ROM.
        count: how many, 1 to `MOST`.
        protocol: the rules of play.
        watch: waits for them.
        threads: that emulate; 0: one a core: the network waits meanwhile. With ``restart: sb3`` one a game, whatever
            this says.
        screen: RGB pictures of this size, in place of grey stacks.

    Raises:
        ValueError: a number out of its range. The library's own answer would be a crash.
    """

    def __init__(
        self, rom: str, count: int, protocol: Protocol, watch: Watch, *, threads: int = 0, screen: Console | None = None
    ) -> None:
        count, threads = whole("count", count, 1, MOST), whole("threads", threads, 0, MOST_THREADS)
        # One vector steps as a whole: emulators that restart by themselves need one each.
        sizes = [1] * count if protocol.restart == "sb3" else [count]
        size = (screen.height, screen.width) if screen else (protocol.size, protocol.size)
        self.watch = watch
        self.vectors = [AtariVectorEnv(
            rom, n, num_threads=min(n, threads or cores()),
            img_height=size[0], img_width=size[1], grayscale=screen is None, stack_num=1 if screen else protocol.stack,
            frameskip=protocol.frameskip, maxpool=protocol.maxpool, noop_max=protocol.noop_max,
            use_fire_reset=protocol.fire_start and protocol.restart == "native",
            repeat_action_probability=protocol.sticky, full_action_space=protocol.full_actions,
            max_num_frames_per_episode=protocol.max_frames, autoreset_mode="SameStep",
            # episodic_life would start the whole game anew; native clipping would hide the game's own score.
            episodic_life=False, life_loss_info=protocol.life_loss or protocol.restart == "sb3", reward_clipping=False,
        ) for n in sizes]  # fmt: skip
        self.bounds = np.cumsum([0, *sizes])
        # Before Python takes its modules down, or the bindings complain of leaks.
        weakref.finalize(self, self.vectors.clear)

    def reset(self, seeds: Int[np.ndarray, " n"]) -> Frames:
        """Starts every game anew. A seed of -1 leaves the random stream where it is.

        Raises:
            RunError: see `Watch.call`.
        """
        # Through the watch as well: it comes after a step that Ctrl-C did not wait for.
        parts = self.watch.call(
            lambda: [vector.reset(seed=seeds[low : low + vector.num_envs].astype(np.int32))
                     for vector, low in zip(self.vectors, self.bounds, strict=False)],
            "a reset", max(1.0, len(seeds) / USUAL))  # fmt: skip
        nothing = np.zeros(len(seeds), bool)
        return _frames([(obs, nothing[: len(obs)].astype(np.int32), nothing[: len(obs)], nothing[: len(obs)], info)
                        for obs, info in parts])  # fmt: skip

    def step(self, actions: Int[np.ndarray, " n"]) -> Frames:
        """One agent step of all. The actions must be in range: one that is not blocks for ever.

        Raises:
            RunError: see `Watch.call`.
        """
        for vector, low in zip(self.vectors, self.bounds, strict=False):
            vector.send(np.ascontiguousarray(actions[low : low + vector.num_envs], np.int64))
        return self.watch.call(lambda: _frames([vector.recv() for vector in self.vectors]), "a step")

    def step_one(self, i: int, action: int) -> Frames:
        """One agent step of the i-th emulator alone; only where each has a vector of its own."""
        return self.watch.call(lambda: _frames([self.vectors[i].step(np.array([action]))]), "a step")


def _frames(parts: Sequence[tuple[Any, Any, Any, Any, dict[str, Any]]]) -> Frames:
    obs, rewards, signalled, truncated, infos = zip(*parts, strict=True)

    def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    # A vector in which no game ended has no final pictures: its rows are never read.
    finals = [info.get("final_obs", part) for part, info in zip(obs, infos, strict=True)]
    ended = any("final_obs" in info for info in infos)
    lives, total, played = (
        joined([info[name] for info in infos]) for name in ("lives", "frame_number", "episode_frame_number")
    )
    final = joined(finals) if ended else None
    return Frames(joined(obs), joined(rewards), joined(signalled), joined(truncated), lives, total, played, final)
