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
    """An actor-critic on `CoordCNN` that can keep what its convolutions saw; else it is stable-baselines3's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keeps = self._learns = False
        self._kept: list[list[Tensor]] = []

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

    def extract_features(self, obs: Any, features_extractor: Any = None) -> Any:
        """Features of a look; of a kept one, where there are any, in the order of `InOrder`: game by game.

        The graph that is kept ends with the convolutions: the dense layers learn from all looks at once, in one product
        instead of one for each look.
        """
        if not (self._keeps or self._learns):
            return super().extract_features(obs, features_extractor)
        networks: list[Any] = [self.features_extractor]
        if not self.share_features_extractor:
            networks = [self.pi_features_extractor, self.vf_features_extractor]
        if self._learns:
            seen = [torch.stack(looks, dim=1).flatten(0, 1) for looks in zip(*self._kept, strict=True)]
        else:
            with torch.enable_grad():
                seen = [network.look(obs) for network in networks]
            self._kept.append(seen)
        features = [network.dense(places) for network, places in zip(networks, seen, strict=True)]
        return features[0] if self.share_features_extractor else tuple(features)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """As stable-baselines3's, from what was kept; nothing kept: a new look."""
        self._learns = bool(self._kept)
        try:
            return super().evaluate_actions(obs, actions)
        finally:
            self._learns, self._kept = False, []


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
