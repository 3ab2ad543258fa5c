"""Agents: what learns, by name. A further one is an entry of `AGENTS`; the study knows `Agent` alone.

agent = make_agent(config, env, "cpu")
agent.begin([])
for step in range(1, config.steps + 1):
    losses = agent.update(step)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from rl.contract import WINDOW, Agent, Game, layout_of, network_of
from rl.one_pass import KeepingPolicy, OnePassA2C
from rl.policies import POLICIES, CoordCNN, KernelsTooLarge, seed_policy
from rl.spec import RlConfig
from rl.vector import GameVecEnv
from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator, keyed_seed


class OnPolicy(Agent):
    """An actor-critic of stable-baselines3 that learns from what it has just played.

    Actions come from streams keyed by (seed, step), the order of minibatches too: arms share them.

    Args:
        model: on a policy of `rl.policies.POLICIES`.
        config: the run's.
        bf16: whether the network runs in bfloat16.
        shuffles: it learns in minibatches.
    """

    def __init__(self, model: OnPolicyAlgorithm, config: RlConfig, *, bf16: bool, shuffles: bool = False) -> None:
        self.model, self.config, self.shuffles = model, config, shuffles
        policy = model.policy
        assert isinstance(policy, KeepingPolicy)
        seed_policy(policy, config.seed)
        policy.to(memory_format=layout_of(config, model.device.type, bf16=bf16))  # after stable-baselines3's own draw
        if config.compile:
            for part in policy.modules():
                if isinstance(part, CoordCNN):
                    part.cnn.compile()  # in place: the class and the names stay
                    part.linear.compile()
        model.set_logger(Logger(None, []))  # the bench writes the curves
        self.policy, self.optimiser = policy, policy.optimizer
        self._callback: BaseCallback | None = None

    def begin(self, games: Sequence[Game]) -> None:
        """Starts the games."""
        _, self._callback = self.model._setup_learn(int(self.config.goal))
        assert self.model.ep_info_buffer is not None
        self.model.ep_info_buffer.extend(games)

    def update(self, step: int) -> dict[str, float]:
        """One rollout, and what is learned from it."""
        model, seed = self.model, self.config.seed
        assert self._callback is not None, "begin first"
        assert model.env is not None
        model.num_timesteps = (step - 1) * self.config.batch
        with self.drawing(self.policy, keyed_generator(seed, "actions", step)):
            model.collect_rollouts(model.env, self._callback, model.rollout_buffer, self.config.n_steps)
        model._update_current_progress_remaining(model.num_timesteps, int(self.config.goal))
        with self.ordered(step):
            model.train()
        learned = {tag: float(value) for tag, value in model.logger.name_to_value.items() if tag != "train/n_updates"}
        if math.isnan(learned["train/explained_variance"]):
            del learned["train/explained_variance"]  # undefined where all returns are equal
        return learned

    def ordered(self, step: int) -> AbstractContextManager[None]:
        """Inside, minibatches are in the order that belongs to the step."""
        if not self.shuffles:
            return nullcontext()
        return _shuffling(keyed_seed(self.config.seed, "minibatches", step))

    @property
    def games(self) -> list[Game]:
        """The newest whole games."""
        return list(self.model.ep_info_buffer or ())[-WINDOW:]

    @property
    def observations(self) -> np.ndarray:
        """What it sees now."""
        found = self.model._last_obs
        assert isinstance(found, np.ndarray)
        return found

    @property
    def images(self) -> Sequence[np.ndarray | None]:
        """The same in colour, where its games have any."""
        assert self.model.env is not None
        return self.model.env.get_images()

    def drawing(self, policy: BasePolicy, generator: torch.Generator) -> AbstractContextManager[None]:
        """Inside, the policy draws its actions from a stream."""
        assert isinstance(policy, KeepingPolicy)
        return policy.drawing_from(generator)


@contextmanager
def _shuffling(seed: int) -> Iterator[None]:
    """Inside, numpy's global stream, which stable-baselines3 orders minibatches by, is that of ``seed``."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _network(config: RlConfig, *, bf16: bool) -> dict[str, Any]:
    return {"features_extractor_class": CoordCNN, "features_extractor_kwargs": network_of(config, bf16=bf16),
            "net_arch": []}  # fmt: skip


def _shared(config: RlConfig) -> dict[str, Any]:
    """The arguments that A2C and PPO share."""
    return {
        "learning_rate": _falling(config, config.lr), "n_steps": config.n_steps, "gamma": config.gamma,
        "gae_lambda": config.gae_lambda, "ent_coef": config.entropy, "vf_coef": config.value,
        "max_grad_norm": config.max_grad_norm, "stats_window_size": WINDOW,
    }  # fmt: skip


def _falling(config: RlConfig, value: float) -> Callable[[float], float]:
    falls = config.lr_schedule == "linear"
    return lambda left: value * (left if falls else 1.0)


def make_a2c(config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool) -> OnPolicy:
    """A2C (Mnih et al. 2016, arXiv 1602.01783), which looks at each observation once; a step is one update."""
    rms = {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"alpha": config.rms_decay, "eps": config.rms_eps}}
    model: A2C = OnePassA2C(POLICIES[config.heads], env, device=device, **_shared(config),
                            policy_kwargs=_network(config, bf16=bf16) | rms)  # fmt: skip
    return OnPolicy(model, config, bf16=bf16)


def make_ppo(config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool) -> OnPolicy:
    """PPO (Schulman et al. 2017, arXiv 1707.06347); a step is one rollout and its epochs."""
    fused = torch.device(device).type in ("cpu", "cuda")
    adam = {"optimizer_class": torch.optim.Adam, "optimizer_kwargs": {"eps": config.adam_eps, "fused": fused}}
    model = PPO(
        POLICIES[config.heads], env, device=device, batch_size=config.minibatch, n_epochs=config.epochs,
        clip_range=_falling(config, config.clip), policy_kwargs=_network(config, bf16=bf16) | adam, **_shared(config),
    )  # fmt: skip
    return OnPolicy(model, config, bf16=bf16, shuffles=True)


def make_q(config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool) -> Agent:
    """DQN and Ape-X, see `rl.replay.agent`; TorchRL is imported here alone.

    Raises:
        UserError: it is not installed, or the replay does not fit its memory.
    """
    if find_spec("torchrl") is None:
        raise UserError(f"{config.agent} needs TorchRL, which is not installed: pip install 'coordconv-sandbox[apex]'")
    if config.actors:
        from rl.replay.cluster import ApexOnRay

        return ApexOnRay(config, env, device, bf16=bf16)
    from rl.replay.agent import QLearning

    return QLearning(config, env, device, bf16=bf16)


AGENTS: dict[str, Callable[..., Agent]] = {"a2c": make_a2c, "ppo": make_ppo, "dqn": make_q, "apex": make_q}


def make_agent(config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool = False) -> Any:
    """The agent that a configuration names, its weights drawn from the run's seed.

    Raises:
        UserError: the kernels are too large for the game's pictures, or what it needs beside is not there.
    """
    try:
        return AGENTS[config.agent](config, env, device, bf16=bf16)
    except KernelsTooLarge as error:
        raise UserError(f"--kernels is {config.kernels!r}, and {error}") from None
