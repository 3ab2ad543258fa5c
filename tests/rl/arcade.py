"""Games for the tests, and random play on them."""

from typing import Any

import numpy as np

from rl.envs import AtariVecEnv
from rl.protocol import Protocol


def make(game: str = "Breakout", count: int = 1, *, seed: int = 1, **choices: Any) -> AtariVecEnv:
    beside = {name: choices.pop(name) for name in ("render_mode", "patience") if name in choices}
    env = AtariVecEnv(game, count, Protocol(**choices), threads=1, **beside)
    env.seed(seed)
    return env


def play(env: AtariVecEnv, steps: int, seed: int = 0) -> list[tuple[Any, Any, Any, list[dict[str, Any]]]]:
    """Random actions from a fresh start."""
    rng = np.random.default_rng(seed)
    env.reset()
    return [env.step(rng.integers(env.action_space.n, size=env.num_envs)) for _ in range(steps)]
