"""A corridor of ``LENGTH`` cells: action 1 goes right, 0 left; the last pays 1 and ends. Its values are known."""

from typing import Any

import numpy as np
from gymnasium import spaces
from pixels import SIDE, Halves
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

LENGTH = 5


class Chain(Halves):
    """``count`` corridors; a game that takes ``most`` steps is cut off. Observations hold ``stack`` pictures."""

    def __init__(self, count: int, seed: int = 0, *, stack: int = 1, most: int = 50) -> None:
        super().__init__(count, seed)
        self.observation_space = spaces.Box(0, 255, (stack, SIDE, SIDE), np.uint8)
        self.stack, self.most = stack, most

    def reset(self) -> np.ndarray:
        self.cells, self.ages = np.zeros(self.num_envs, int), np.zeros(self.num_envs, int)
        self.seen = np.zeros((self.num_envs, self.stack, SIDE, SIDE), np.uint8)
        return self._look(np.arange(self.num_envs))

    def _look(self, games: np.ndarray) -> np.ndarray:
        self.seen[games, :-1] = self.seen[games, 1:]
        self.seen[games, -1] = cell(self.cells[games])
        return self.seen.copy()

    def step_wait(self) -> VecEnvStepReturn:
        self.cells = np.clip(self.cells + 2 * self.actions - 1, 0, LENGTH - 1)
        self.ages += 1
        won, cut = self.cells == LENGTH - 1, self.ages >= self.most
        ended = won | cut
        last = self._look(np.arange(self.num_envs))
        infos: list[dict[str, Any]] = [{} for _ in ended]
        for game in np.flatnonzero(ended):
            infos[game] = {"terminal_observation": last[game], "TimeLimit.truncated": bool(cut[game] and not won[game]),
                           "episode": {"r": float(won[game]), "l": int(self.ages[game]), "t": 0.0}}  # fmt: skip
        self.cells[ended], self.ages[ended], self.seen[ended] = 0, 0, 0
        self.seen[ended, -1] = cell(self.cells[ended])
        return self.seen.copy(), won.astype(np.float32), ended, infos


def cell(cells: np.ndarray) -> np.ndarray:
    """The picture of each cell."""
    images = np.zeros((len(cells), SIDE, SIDE), np.uint8)
    images[np.arange(len(cells)), :, 2 * cells] = 255
    return images


def true_values(gamma: float) -> np.ndarray:
    """What each action is worth in each cell but the last, (LENGTH - 1, 2)."""
    best = gamma ** np.arange(LENGTH - 2, -1.0, -1.0)
    left = gamma * best[np.maximum(np.arange(LENGTH - 1) - 1, 0)]
    return np.stack([left, best], 1)
