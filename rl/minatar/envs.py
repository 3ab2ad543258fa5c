"""MinAtar's games as a stable-baselines3 vector of environments, on the library's own game objects.

    env = MinAtarVecEnv("breakout", 16)
    A2C("CnnPolicy", env, policy_kwargs=dict(features_extractor_class=CoordCNN))

No gymnasium environment lies between: a step is one loop over the games, which writes into one array.
"""

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8
from matplotlib import colormaps
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from rl.minatar.games import canonical, game_of, must_be_installed
from rl.protocol import real, shown, whole
from rl.vector import GameVecEnv

SIDE, ACTIONS = 10, ("n", "l", "u", "r", "d", "f")  # no-op, left, up, right, down, fire: of every game, as published
SCALE = 16  # pixels of a film for a place
MOST = 4096
_SEEDS = 2**31 - 1


def game_module(game: str) -> ModuleType:
    """The library's module of a game, loaded by its file.

    The package's own ``__init__`` imports pyplot, seaborn and pandas for a display that is of no use here: seconds.

    Raises:
        UserError: the library is not installed.
    """
    must_be_installed()
    name = f"minatar.environments.{game}"
    if name not in sys.modules:
        package = find_spec("minatar")
        assert package is not None
        assert package.origin is not None
        spec = spec_from_file_location(name, Path(package.origin).parent / "environments" / f"{game}.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


class MinAtarVecEnv(GameVecEnv):
    """``num_envs`` games of one kind, stepped together; a game that ends starts anew within the step.

    Observations ``(n, c, 10, 10)`` uint8, 0 or 1, a channel for each kind of object (the library has bools, channels
    last); rewards float32, in full; dones bool. ``info`` as `rl.envs.AtariVecEnv` has it; a frame is a step. All six
    actions, as published, also where a game has no use for some.

    Args:
        game: any name that `rl.minatar.games.canonical` knows.
        num_envs: games at a time, 1 to 4096.
        sticky: probability that the action before is taken instead, also over the start of a game, as published.
        ramping: games become harder as they go on, as published (Asterix, Seaquest, Space Invaders; the other two have
            no such thing).
        max_frames: a game is cut after so many steps; the value of what follows is left to the learner.
        clip_rewards: the learner is given the sign of the reward. Whole games are always counted in full.

    Raises:
        UserError: there is no such game, or no library.
        ValueError: another argument is out of its range; the message names it.

    Once it is closed, whatever would play raises `RuntimeError`.
    """

    def __init__(
        self,
        game: str,
        num_envs: int = 16,
        *,
        sticky: float = 0.1,
        ramping: bool = True,
        max_frames: int = 10_000,
        clip_rewards: bool = False,
    ) -> None:
        self.game = game_of(canonical(game))
        num_envs = whole("num_envs", num_envs, 1, MOST)
        self.sticky, self.ramping = real("sticky", sticky, 0.0, 1.0), bool(ramping)
        self.clip_rewards = bool(clip_rewards)
        self.max_frames = whole("max_frames", max_frames, 1, 10**9)
        kind = game_module(self.game).Env
        self._games = [kind(ramping=self.ramping) for _ in range(num_envs)]
        channels = int(self._games[0].state_shape()[2])
        self.palette = _palette(channels)
        space = spaces.Box(0, 1, (channels, SIDE, SIDE), np.uint8)
        super().__init__(num_envs, space, spaces.Discrete(len(ACTIONS)), "rgb_array")
        self._states = np.zeros((num_envs, SIDE, SIDE, channels), bool)
        self._last = [0] * num_envs
        self._returns, self._lengths = [0.0] * num_envs, [0] * num_envs
        self._rng = np.random.default_rng()
        self._actions: list[int] | None = None
        self._ready = self._closed = False
        self._began = time.time()

    # ---- playing

    def reset(self) -> UInt8[np.ndarray, "n c 10 10"]:
        """Starts all games anew, with the seeds that `seed` set; without any the random streams go on.

        Raises:
            RuntimeError: the environment is closed.
        """
        self._must_be_open("reset")
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(self._seeds[0] % _SEEDS)
            self._last = [0] * self.num_envs
        for i, (game, seed) in enumerate(zip(self._games, self._seeds, strict=True)):
            if seed is not None:
                game.random = np.random.RandomState(seed % _SEEDS)
            game.reset()
            self._states[i] = game.state()
        self._returns, self._lengths = [0.0] * self.num_envs, [0] * self.num_envs
        self._ready = True
        self.reset_infos = [{} for _ in self._games]
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def _observations(self) -> UInt8[np.ndarray, "n c 10 10"]:
        return np.ascontiguousarray(self._states.transpose(0, 3, 1, 2)).view(np.uint8)

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions of a step.

        Raises:
            ValueError: they are not ``num_envs`` whole numbers from 0 to 5.
            RuntimeError: the environment is closed.
        """
        self._must_be_open("step")
        array = np.asarray(actions)
        numbers = np.issubdtype(array.dtype, np.integer) and array.shape == (self.num_envs,)
        if not numbers or array.min() < 0 or array.max() >= len(ACTIONS):
            raise ValueError(f"actions must be {self.num_envs} whole numbers from 0 to {len(ACTIONS) - 1}, "
                             f"not {shown(actions)}")  # fmt: skip
        self._actions = array.tolist()

    def step_wait(self) -> VecEnvStepReturn:
        """Takes the step.

        Raises:
            RuntimeError: `reset` was not called before, or the environment is closed.
        """
        self._must_be_open("step")
        if not self._ready or self._actions is None:
            raise RuntimeError("reset the environment, then send actions, before waiting for a step")
        actions, self._actions = self._actions, None
        if self.sticky:
            repeats = self._rng.random(self.num_envs) < self.sticky
            actions = [last if again else new
                       for again, last, new in zip(repeats.tolist(), self._last, actions, strict=True)]  # fmt: skip
        self._last = actions
        rewards, dones = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in actions]
        for i, (game, action) in enumerate(zip(self._games, actions, strict=True)):
            reward, over = game.act(action)
            self._lengths[i] += 1
            if reward:
                rewards[i] = reward
                self._returns[i] += float(reward)
            if over or self._lengths[i] >= self.max_frames:
                dones[i] = True
                self._end(i, infos[i], cut=not over)
            self._states[i] = game.state()
        return self._observations(), np.sign(rewards) if self.clip_rewards else rewards, dones, infos

    def _end(self, i: int, info: dict[str, Any], *, cut: bool) -> None:
        """Notes the game that has ended and starts the next."""
        last = self._games[i].state().transpose(2, 0, 1)
        info |= {"TimeLimit.truncated": cut, "terminal_observation": np.ascontiguousarray(last).view(np.uint8)}
        info["episode"] = {"r": self._returns[i], "l": self._lengths[i], "t": round(time.time() - self._began, 6)}
        self._returns[i], self._lengths[i] = 0.0, 0
        self._games[i].reset()

    # ---- what is asked for beside

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The games in the library's colours, ``(160, 160, 3)`` uint8 each; of two objects the later channel.

        Raises:
            RuntimeError: the environment is closed.
        """
        self._must_be_open("get_images")
        channels = self._states.shape[-1]
        shown = (self._states * np.arange(1, channels + 1)).max(-1)  # (n, 10, 10)
        return list(self.palette[shown].repeat(SCALE, axis=1).repeat(SCALE, axis=2))

    def get_action_meanings(self) -> list[str]:
        """The actions by name, in order."""
        return list(ACTIONS)

    def document(self) -> dict[str, Any]:
        """The rules of play by name, for files."""
        return {name: getattr(self, name) for name in ("sticky", "ramping", "max_frames", "clip_rewards")} | {
            "full_actions": True
        }

    def close(self) -> None:
        """Ends it. A second time it does nothing."""
        self._closed = True

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed


def _palette(channels: int) -> UInt8[np.ndarray, "_ 3"]:
    """Black, and the library's colours of the channels: seaborn's ``cubehelix``, evenly inside matplotlib's map."""
    places = np.linspace(0, 1, channels + 2)[1:-1]
    colours = colormaps["cubehelix"](places)[:, :3]
    return np.concatenate([np.zeros((1, 3)), 255 * colours]).round().astype(np.uint8)


def random_returns(game: str, games: int, seed: int = 0, **rules: Any) -> list[float]:
    """Returns of ``games`` whole games of random play, ten at a time, each playing its share."""
    env = MinAtarVecEnv(game, 10, **rules)
    env.seed(seed)
    env.reset()
    rng, found = np.random.default_rng(seed), [list[float]() for _ in range(10)]
    while min(map(len, found)) < -(-games // 10):
        for own, info in zip(found, env.step(rng.integers(len(ACTIONS), size=10))[3], strict=True):
            if "episode" in info:
                own.append(info["episode"]["r"])
    return [value for own in found for value in own[: -(-games // 10)]][:games]
