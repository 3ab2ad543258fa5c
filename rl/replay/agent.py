"""Q-learning agents: DQN, whose games all explore alike, and Ape-X, whose games explore each in their own measure.

DQN here is double, dueling, prioritised and of several steps (Hessel et al. 2018, arXiv 1710.02298, without noisy
layers and distributions); Ape-X: Horgan et al. 2018 (arXiv 1803.00933). Both are the same actor, store and learner in
one process.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor
from tqdm import tqdm

from rl.contract import WINDOW, Agent, Game, layout_of, network_of
from rl.replay.actor import Actor
from rl.replay.learner import Learner
from rl.replay.store import Size, Store
from rl.replay.values import QPolicy, actor_epsilons, falling_epsilon, seed_values
from rl.spec import ROUND, RlConfig
from rl.vector import GameVecEnv
from sandbox.base.errors import warn


def filling(steps: int) -> "tqdm[Any]":
    """A progress bar of the agent steps that are played before there is anything to learn from."""
    pace = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=steps, desc="filling the replay", unit="step", mininterval=pace, dynamic_ncols=True, leave=False)


def make_policy(config: RlConfig, env: GameVecEnv, *, bf16: bool) -> QPolicy:
    """The network for a vector of games, its weights drawn from the run's seed; on the CPU."""
    space, actions = cast(spaces.Box, env.observation_space), cast(spaces.Discrete, env.action_space)
    policy = QPolicy(space, actions, epsilon=config.play_epsilon, **network_of(config, bf16=bf16))
    seed_values(policy, config.seed)
    return policy


def store_of(config: RlConfig, env: GameVecEnv) -> tuple[Size, tuple[int, int, int], float, float]:
    """The arguments of the `Store` that a configuration asks for, for a vector of games."""
    channels, height, width = cast(tuple[int, int, int], env.observation_space.shape)
    picture = channels // env.stack, height, width
    return Size(config.replay, config.replay_bytes), picture, config.alpha, config.beta


class QLearner(Agent):
    """What learns values of actions; where the games are played and kept is for others to say.

    Args:
        config: the run's.
        env: its games.
        device: where the network is.
        bf16: whether it runs in bfloat16.
    """

    def __init__(self, config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool) -> None:
        self.config, self.env = config, env
        self.policy: QPolicy = make_policy(config, env, bf16=bf16)
        self.policy.to(device).to(memory_format=layout_of(config, torch.device(device).type, bf16=bf16))
        self.optimiser = torch.optim.Adam(self.policy.parameters(), config.lr, eps=config.adam_eps,
                                          fused=torch.device(device).type in ("cpu", "cuda"))  # fmt: skip
        self.learner = Learner(
            self.policy, int(cast(spaces.Discrete, env.action_space).n), self.optimiser, gamma=config.gamma,
            target_every=config.target_every, max_grad_norm=config.max_grad_norm,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Tensor]:
        """The target's weights."""
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts them back."""
        self.learner.load_state_dict(state)

    def say_refill(self) -> None:
        """What a run that goes on does first."""
        warn(f"the replay is in no checkpoint: {self.config.learning_starts:,} agent steps are played before the run "
             "learns on")  # fmt: skip

    def drawing(self, policy: BasePolicy, generator: torch.Generator) -> AbstractContextManager[None]:
        """Inside, the policy draws its actions from a stream."""
        assert isinstance(policy, QPolicy)
        return policy.drawing_from(generator)


class QLearning(QLearner):
    """Plays ``batch`` agent steps, then learns ``updates`` times from ``minibatch`` transitions each, in one process.

    The store is not part of a checkpoint: a run that goes on plays ``learning_starts`` steps first, as one that begins
    does, and learns nothing meanwhile.

    Args:
        config: the run's.
        env: its games.
        device: where the network is.
        bf16: whether it runs in bfloat16.
    """

    def __init__(self, config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool) -> None:
        super().__init__(config, env, device, bf16=bf16)
        self.store = Store(*store_of(config, env))
        self.actor = Actor(env, self.policy, stack=env.stack, n_steps=config.multi_step, gamma=config.gamma,
                           seed=config.seed)  # fmt: skip
        self._largest = 1.0  # priority so far

    def begin(self, games: Sequence[Game]) -> None:
        """Starts the games."""
        self.actor.games = list(games)
        self.actor.begin()

    def update(self, step: int) -> dict[str, float]:
        """Some play, and what is learned from all that is stored."""
        config, each = self.config, self.config.n_steps
        first = (step - 1) * each
        if not len(self.store):
            self._fill(first)
        self._keep(first, each)
        losses = []
        for update in range(config.updates):
            batch = self.store.sample(config.minibatch, config.seed, step, update)
            number = (step - 1) * config.updates + update + 1
            loss, errors = self.learner.learn(batch.to(self.policy.device), number)
            self._largest = max(self._largest, float(errors.max()))
            self.store.update(batch["index"], errors)
            losses.append(loss)
        return {"train/loss": float(torch.stack(losses).mean()), "train/epsilon": float(self.epsilons(first).mean())}

    def _fill(self, first: int) -> None:
        """Play by the policy as it is, before there is anything to learn from; its draws are those before step 0."""
        steps = -(-self.config.learning_starts // self.config.envs)
        if first:
            self.say_refill()
        with filling(steps * self.config.envs) as bar:
            for done in range(0, steps, ROUND):
                part = min(ROUND, steps - done)
                self._keep(first - steps + done, part)
                bar.update(part * self.config.envs)

    def _keep(self, first: int, count: int) -> None:
        chunk = self.actor.play(first, count, self.epsilons)
        own = self.config.agent == "apex"  # DQN's new transitions come first: Schaul et al. 2016, algorithm 1
        self.store.add(chunk, None if own else np.full(len(chunk.action), self._largest, np.float32))

    def epsilons(self, step: int) -> Float[Tensor, " envs"]:
        """Exploration of each game at a step of its own."""
        config = self.config
        if config.agent == "apex":
            return actor_epsilons(config.envs)
        last = int(config.explore * config.steps * config.n_steps)
        return torch.full((config.envs,), falling_epsilon(max(step, 0), last, 1.0, config.end_epsilon))

    def state_dict(self) -> dict[str, Tensor]:
        """The target's weights, and the largest priority."""
        return super().state_dict() | {"largest": torch.tensor(self._largest)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts them back."""
        self._largest = float(state["largest"])
        super().load_state_dict({name: value for name, value in state.items() if name != "largest"})

    @property
    def games(self) -> list[Game]:
        """The newest whole games."""
        del self.actor.games[:-WINDOW]
        return list(self.actor.games)

    @property
    def observations(self) -> np.ndarray:
        """What it sees now."""
        return self.actor.observations

    @property
    def images(self) -> Sequence[np.ndarray | None]:
        """The same in colour."""
        return self.env.get_images()
