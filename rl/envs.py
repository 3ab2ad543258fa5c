"""Atari games as a stable-baselines3 vector of environments, on ale-py's own emulators.

    env = AtariVecEnv("MsPacman", 16)
    A2C("CnnPolicy", env)

Learning is as with stable-baselines3's ``make_atari_env`` and ``VecFrameStack(4)``, but for the protocol's ``restart``;
what stands in ``info["episode"]`` is what its Monitor writes there: whole games, rewards in full, lengths in emulator
frames.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float32, UInt8
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from rl.emulators import MOST, MOST_THREADS, PATIENCES, Emulators, Frames, Watch, console
from rl.games import canonical, games
from rl.protocol import Protocol, real, shown, whole
from rl.vector import GameVecEnv

PATIENCE = 60.0  # seconds; a step takes milliseconds
_NOOP, _FIRE, _THIRD = 0, 1, 2
_SEEDS = 2**31 - 1


class AtariVecEnv(GameVecEnv):
    """``num_envs`` games of one kind, stepped together; a game that ends starts anew within the step.

    Observations ``(n, 4, 84, 84)`` uint8, the newest picture last; rewards float32; dones bool. An ``info`` holds
    ``lives``, ``TimeLimit.truncated`` and, where ``done``, ``terminal_observation``; where a whole game ended,
    ``episode``: ``r`` the unclipped return, ``l`` emulator frames, ``t`` seconds since the environment was made.

    Args:
        game: any name that `rl.games.canonical` knows.
        num_envs: games at a time, 1 to 4096.
        protocol: the rules of play; None: the defaults.
        threads: that emulate, 1 to 1024; 0: one a core.
        render_mode: ``rgb_array`` also runs the same games in colour, at the screen's own resolution, for `get_images`.
        patience: seconds after which a step that does not return ends the run, 0.001 to 10**6.

    Raises:
        UserError: there is no such game.
        ValueError: another argument is out of its range or of another type; the message names it.

    Once it is closed, whatever would play, look or draw seeds raises `RuntimeError`.
    """

    def __init__(
        self,
        game: str,
        num_envs: int = 16,
        protocol: Protocol | None = None,
        *,
        threads: int = 0,
        render_mode: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        if not isinstance(game, str):
            raise ValueError(f"game must be a name such as 'MsPacman', not {shown(game)}")
        if not isinstance(protocol, Protocol | None):
            raise ValueError(f"protocol must be a Protocol or None, not {shown(protocol)}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be 'rgb_array' or None, not {shown(render_mode)}")
        num_envs, threads = whole("num_envs", num_envs, 1, MOST), whole("threads", threads, 0, MOST_THREADS)
        real("patience", patience, *PATIENCES)  # before the first thread starts
        self.game, self.protocol = canonical(game), protocol or Protocol()
        rom = games()[self.game]
        self.console = console(rom, self.protocol)
        self._watch = Watch(patience)
        self._emulators = Emulators(rom, num_envs, self.protocol, self._watch, threads=threads)
        self._mirror = (Emulators(rom, num_envs, self.protocol, self._watch, threads=threads, screen=self.console)
                        if render_mode == "rgb_array" else None)  # fmt: skip
        self._pictures: Frames | None = None
        shape = (self.protocol.stack, self.protocol.size, self.protocol.size)
        seen, actions = spaces.Box(0, 255, shape, np.uint8), spaces.Discrete(len(self.console.actions))
        super().__init__(num_envs, seen, actions, render_mode)
        self._fires = self.protocol.restart == "sb3" and "FIRE" in self.console.actions
        self._began, self._seeded = time.time(), False
        self._returns = np.zeros(num_envs)
        self._age = np.full(num_envs, self.protocol.stack)
        self._now: Frames | None = None
        self._actions: np.ndarray | None = None

    # ---- playing

    def reset(self) -> UInt8[np.ndarray, "n stack h w"]:
        """Starts all games anew, with the seeds that `seed` set.

        Raises:
            RunError: it did not return in time.
            RuntimeError: the environment is closed.
        """
        self._must_be_open("reset")
        if not self._seeded and self._seeds[0] is None:
            self.seed(None)  # the mirror must play the same games
        seeds = np.array([-1 if seed is None else seed % _SEEDS for seed in self._seeds])
        self._seeded, self._now = True, None
        now = self._emulators.reset(seeds)
        if self._mirror:
            self._pictures = self._mirror.reset(seeds)
        self._returns[:] = 0
        self._now, obs = now, now.obs
        if self.protocol.restart == "sb3":
            for i in range(self.num_envs):
                self._restart(i, obs, lost=False)
        self.reset_infos = [{"lives": int(lives)} for lives in self._now.lives]
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions of a step.

        Raises:
            ValueError: they are not ``num_envs`` whole numbers, each an action of the game.
            RuntimeError: the environment is closed.
        """
        self._must_be_open("step")
        count = len(self.console.actions)
        try:
            array = np.asarray(actions)
        except ValueError:  # lists of several lengths
            array = np.empty(0)
        numbers = np.issubdtype(array.dtype, np.integer) and array.shape == (self.num_envs,)
        if not numbers or array.min() < 0 or array.max() >= count:
            raise ValueError(f"actions must be {self.num_envs} whole numbers from 0 to {count - 1}, "
                             f"not {shown(actions)}")  # fmt: skip
        self._actions = array

    def step_wait(self) -> VecEnvStepReturn:
        """Takes the step.

        Raises:
            RunError: it did not return in time.
            RuntimeError: `reset` was not called before, or not after a step that was interrupted; or it is closed.
        """
        self._must_be_open("step")
        before, actions = self._now, self._actions
        if before is None or actions is None:
            raise RuntimeError("reset the environment, then send actions, before waiting for a step")
        self._actions = None
        try:
            return self._step(before, actions)
        except BaseException:
            self._now = None  # Ctrl-C: what the emulators did is not known
            raise

    def _step(self, before: Frames, actions: np.ndarray) -> VecEnvStepReturn:
        now = self._emulators.step(actions)
        if self._mirror:
            self._pictures = self._mirror.step(actions)
        self._now = now
        self._returns += now.rewards
        over = now.started_anew(before)
        lost = self._lost(now, over)
        self._hide(now)
        ended = over | lost if self.protocol.life_loss else over
        obs, infos = now.obs, self._infos(before, now, over, lost & ended)
        if self.protocol.restart == "sb3":
            for i in np.flatnonzero(over | lost).tolist():
                self._restart(i, obs, lost=bool(lost[i]))
        rewards = np.sign(now.rewards) if self.protocol.clip_rewards else now.rewards
        return obs, self._floats(rewards), ended, infos

    @staticmethod
    def _floats(rewards: np.ndarray) -> Float32[np.ndarray, " n"]:
        # The emulators count in whole numbers; stable-baselines3 adds the value of what was cut off in place.
        return rewards.astype(np.float32)

    def _lost(self, now: Frames, over: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        # Q*bert shows no lives for some frames before the game is over: that is one end, not two.
        lost: np.ndarray = now.signalled & ~over & (now.lives > 0)
        return lost

    def _infos(
        self, before: Frames, now: Frames, over: Bool[np.ndarray, " n"], lost: Bool[np.ndarray, " n"]
    ) -> list[dict[str, Any]]:
        cut = now.truncated & ~now.signalled
        infos: list[dict[str, Any]] = [
            {"lives": lives, "TimeLimit.truncated": was_cut}
            for lives, was_cut in zip(now.lives.tolist(), cut.tolist(), strict=True)
        ]
        for i in np.flatnonzero(lost).tolist():
            infos[i]["terminal_observation"] = now.obs[i].copy()
        for i in np.flatnonzero(over).tolist():
            assert now.final is not None
            infos[i]["terminal_observation"] = now.final[i].copy()
            frames = before.played[i] + (now.total[i] - before.total[i]) - now.played[i]
            infos[i]["episode"] = self._episode(i, int(frames))
        return infos

    def _episode(self, i: int, frames: int) -> dict[str, float]:
        game = {"r": float(self._returns[i]), "l": frames, "t": round(time.time() - self._began, 6)}
        self._returns[i] = 0
        return game

    def _restart(self, i: int, obs: UInt8[np.ndarray, "n stack h w"], *, lost: bool) -> None:
        """What stable-baselines3 does before an agent sees a new life or game; ``obs[i]`` becomes what it then sees."""
        picture = obs[i, -1]
        orders = [_NOOP] * lost + [_FIRE, _THIRD] * self._fires
        while orders:
            row, lost_again = self._step_one(i, orders.pop(0))
            picture = row.obs[0, -1]
            if lost_again and orders:
                orders.insert(0, _NOOP)
        obs[i, :-1], obs[i, -1] = 0, picture
        self._age[i] = 1

    def _hide(self, now: Frames) -> None:
        """Empties what a stack still holds from before a restart: the emulators know of none."""
        self._age += 1
        for i in np.flatnonzero(self._age < self.protocol.stack):
            for pictures in (now.obs, now.final):
                if pictures is not None:
                    pictures[i, : -self._age[i]] = 0

    def _step_one(self, i: int, action: int) -> tuple[Frames, bool]:
        assert self._now is not None
        before, row = self._now.row(i), self._emulators.step_one(i, action)
        if self._mirror and self._pictures is not None:
            self._pictures.obs[i] = self._mirror.step_one(i, action).obs[0]
        over = row.started_anew(before)
        # The game counts what it scored meanwhile; the agent had no part in it.
        self._returns[i] = 0 if over[0] else self._returns[i] + row.rewards[0]
        self._now = self._now.with_row(i, row)
        return row, bool(self._lost(row, over)[0])

    # ---- what is asked for beside

    @property
    def stack(self) -> int:
        """Pictures in an observation."""
        return self.protocol.stack

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The games in colour, ``(h, w, 3)`` uint8 each, at the screen's own resolution (most: 210x160).

        Without ``render_mode="rgb_array"`` they are None.

        Raises:
            RuntimeError: `reset` was not called before, or the environment is closed.
        """
        self._must_be_open("get_images")
        if self._mirror is None:
            return [None] * self.num_envs
        if self._pictures is None:
            raise RuntimeError("reset the environment before looking at it: there are no pictures yet")
        return [picture[-1] for picture in self._pictures.obs]

    def close(self) -> None:
        """Lets the watching thread end; the emulators end with the object. A second time it does nothing."""
        self._watch.close()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._watch.closed

    def get_action_meanings(self) -> list[str]:
        """The actions by name, in order."""
        return list(self.console.actions)

    def document(self) -> dict[str, Any]:
        """The rules of play by name, for files."""
        return self.protocol.document()
