"""A game of one step: a dot lies somewhere; the right action is 0 in the left half of the picture, else 1."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvStepReturn

SIDE = 10


class Halves(VecEnv):
    """``count`` dots at a time; the reward is 1 for the right action. Chance: 0.5."""

    def __init__(self, count: int, seed: int) -> None:
        self.rng, self.render_mode = np.random.default_rng(seed), None
        super().__init__(count, spaces.Box(0, 255, (1, SIDE, SIDE), np.uint8), spaces.Discrete(2))

    def reset(self) -> np.ndarray:
        self.places = self.rng.integers(SIDE, size=(self.num_envs, 2))
        return pictures(self.places)

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        rewards = (self.actions == right(self.places)).astype(np.float32)
        last = pictures(self.places)
        infos: list[dict[str, Any]] = [{"terminal_observation": picture} for picture in last]
        return self.reset(), rewards, np.ones(self.num_envs, bool), infos

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def close(self) -> None:
        pass


def pictures(places: np.ndarray) -> np.ndarray:
    """One white dot each."""
    images = np.zeros((len(places), 1, SIDE, SIDE), np.uint8)
    images[np.arange(len(places)), 0, places[:, 0], places[:, 1]] = 255
    return images


def right(places: np.ndarray) -> np.ndarray:
    """The right actions."""
    return (places[:, 1] >= SIDE // 2).astype(int)


def everywhere() -> np.ndarray:
    """Every place there is."""
    return np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(-1, 2)
