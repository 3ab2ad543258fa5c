"""An actor: games, a network to play them by, and a recorder. The same in one process and on a cluster."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from stable_baselines3.common.vec_env.base_vec_env import VecEnv
from torch import Tensor, nn

from rl.replay.recorder import Chunk, Recorder
from rl.replay.values import epsilon_greedy
from sandbox.base.seeding import keyed_generator


class Actor:
    """Plays games and hands over what it saw.

    Args:
        env: the games, played together; observations (n, c, h, w) uint8.
        network: values of all actions of a batch of observations.
        stack: pictures in an observation.
        n_steps: steps of a transition.
        gamma: discount of a step.
        seed: of the draws of exploration, together with the number of the step.
        key: tells this actor's draws from those of others.

    Attributes:
        games: whole games that ended, the newest last, as stable-baselines3's Monitor writes them.
        observations: what is seen now.
    """

    def __init__(
        self, env: VecEnv, network: nn.Module, *, stack: int, n_steps: int, gamma: float, seed: int, key: str = "actor"
    ) -> None:
        self.env, self.network, self.key, self.seed = env, network, key, seed
        self.games: list[dict[str, float]] = []
        self._recorder = Recorder(stack, n_steps, gamma)
        self.observations = np.empty(0, np.uint8)

    def play(self, first: int, count: int, epsilons: Callable[[int], Float[Tensor, " n"]]) -> Chunk:
        """Plays ``count`` steps of every game, numbers ``first`` and on; what ended of them.

        Args:
            first: number of the first step: the draws follow from seed, key and number alone.
            count: steps.
            epsilons: of a step's number, for each game: the probability of an action by chance.
        """
        if not len(self.observations):
            self.begin()
        for step in range(first, first + count):
            self._step(step, epsilons(step))
        return self._recorder.take()

    def begin(self) -> None:
        """Starts the games."""
        self.observations = np.asarray(self.env.reset())

    def _step(self, step: int, epsilons: Float[Tensor, " n"]) -> None:
        values = self.values(self.observations)
        self._recorder.see(self.observations, values.numpy())
        actions = epsilon_greedy(values, epsilons, keyed_generator(self.seed, self.key, step)).numpy()
        obs, rewards, ended, infos = self.env.step(actions)
        self._recorder.act(actions, values.numpy(), np.asarray(rewards), np.asarray(ended), self._last(ended, infos))
        self.observations = np.asarray(obs)
        self.games += [info["episode"] for info in infos if "episode" in info]

    def _last(self, ended: np.ndarray, infos: list[dict[str, Any]]) -> dict[int, tuple[np.ndarray, float | None]]:
        last: dict[int, tuple[np.ndarray, float | None]] = {}
        for game in np.flatnonzero(ended).tolist():
            seen = infos[game]["terminal_observation"]
            cut = infos[game].get("TimeLimit.truncated", False)
            last[game] = seen, float(self.values(seen[None]).max()) if cut else None
        return last

    @torch.no_grad()
    def values(self, obs: np.ndarray) -> Float[Tensor, "n actions"]:
        """Of all actions, on the CPU."""
        device = next(self.network.parameters()).device
        values: Tensor = self.network(torch.from_numpy(obs).to(device))
        return values.float().cpu()
