"""A2C that looks at each observation once.

stable-baselines3's A2C runs its network when it acts and again, with the same weights, when it learns. Here what the
first look computed is kept and learned from: the same losses and gradients to rounding, a quarter less work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor


class KeepingPolicy(ActorCriticCnnPolicy):
    """An actor-critic that can keep the graphs of its looks; otherwise it is stable-baselines3's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keeps = False
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Every look inside is kept, in order, for the next `evaluate_actions`."""
        self._keeps, self._kept = True, []
        try:
            # Only a nesting level: while it lasts, weights that a look casts to bfloat16 are cast once for all looks.
            with torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            self._keeps = False

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and log-probabilities, none of which carries a graph."""
        if not self._keeps:
            return super().forward(obs, deterministic)
        with torch.enable_grad():
            actions, values, log_prob = super().forward(obs, deterministic)
            entropy = self.action_dist.entropy()  # of the look just taken
            assert entropy is not None
            self._kept.append((values.flatten(), log_prob, entropy))
        return actions, values.detach(), log_prob.detach()

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What was kept, in the order of `InOrder`: a game's steps one after another. Nothing kept: a new look."""
        if not self._kept:
            return super().evaluate_actions(obs, actions)
        values, log_prob, entropy = (torch.stack(parts, dim=1).flatten() for parts in zip(*self._kept, strict=True))
        self._kept = []
        return values, log_prob, entropy


class InOrder(RolloutBuffer):
    """A rollout buffer that hands everything out at once and unshuffled: the one batch of A2C."""

    def _get_samples(self, batch_inds: Any, env: Any = None) -> RolloutBufferSamples:
        return super()._get_samples(slice(None))  # type: ignore[arg-type]


class OnePassA2C(A2C):
    """stable-baselines3's A2C on a `KeepingPolicy`."""

    policy: KeepingPolicy

    def __init__(self, policy: type[KeepingPolicy], *args: Any, **kwargs: Any) -> None:
        super().__init__(policy, *args, **{"rollout_buffer_class": InOrder, **kwargs})

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """As stable-baselines3's; what the policy computes is kept for `train`."""
        with self.policy.keeping():
            return super().collect_rollouts(*args, **kwargs)
