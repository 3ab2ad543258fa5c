"""Policies whose draws are their own, and A2C that looks at each observation once.

stable-baselines3's A2C runs its network when it acts and again, with the same weights, when it learns. Here what the
first look computed is kept and learned from: the same losses and gradients to rounding, a quarter less work.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor
from torch.distributions import Categorical


class Draws:
    """Standard Gumbel noise from a stream of its own, for choices: the largest sum with the logits is a draw.

    Two policies that draw with the same noise choose alike as far as they agree (Gumbel's trick is a coupling of their
    laws): arms that share the stream share their luck.

    Args:
        generator: the stream, on the CPU.
    """

    CHUNK = 64  # draws made at once

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._chunk: Iterator[Tensor] = iter(())

    def of(self, logits: Float[Tensor, "n actions"]) -> Int[Tensor, " n"]:
        """A draw for each row of logits, normalised or not. One stream serves one shape."""
        found = next(self._chunk, None)
        if found is None:
            even = torch.rand(self.CHUNK, *logits.shape, generator=self._generator).clamp_(min=1e-30)
            self._chunk = iter((-(-even.log()).log()).to(logits.device))
            found = next(self._chunk)
        return (logits + found).argmax(-1)


class Drawn(CategoricalDistribution):
    """stable-baselines3's law of discrete actions, drawn from a stream of its own where ``draws`` holds one."""

    draws: Draws | None = None

    def proba_distribution(self, action_logits: Tensor) -> "Drawn":
        """As stable-baselines3's, without a look at each number: the bench refuses losses that are not finite."""
        self.distribution = Categorical(logits=action_logits, validate_args=False)
        return self

    def sample(self) -> Tensor:
        """A draw for each row."""
        if self.draws is None:
            return super().sample()
        return self.draws.of(self.distribution.logits)


@contextmanager
def drawing_from(law: Drawn, generator: torch.Generator) -> Iterator[None]:
    """Inside, a policy's actions are drawn from this stream instead of torch's own."""
    before, law.draws = law.draws, Draws(generator)
    try:
        yield
    finally:
        law.draws = before


class KeepingPolicy(ActorCriticCnnPolicy):
    """An actor-critic on `CoordCNN` that can keep what its convolutions saw; else it is stable-baselines3's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keeps = self._learns = False
        self._kept: list[list[Tensor]] = []
        assert isinstance(self.action_dist, CategoricalDistribution), "of the games' actions"
        self.action_dist: Drawn = Drawn(self.action_dist.action_dim)

    def drawing_from(self, generator: torch.Generator) -> AbstractContextManager[None]:
        """Inside, actions are drawn from this stream instead of torch's own."""
        return drawing_from(self.action_dist, generator)

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
        networks: list[Any] = [self.features_extractor]
        if not self.share_features_extractor:
            networks = [self.pi_features_extractor, self.vf_features_extractor]
        if not (self._keeps or self._learns):
            if obs.dtype != torch.uint8 or not hasattr(networks[0], "look"):
                return super().extract_features(obs, features_extractor)
            seen = [network.look(obs) for network in networks]  # bytes: laid out before they become floats
        elif self._learns:
            seen = [torch.stack(looks, dim=1).flatten(0, 1) for looks in zip(*self._kept, strict=True)]
        else:
            with torch.enable_grad():
                seen = [network.look(obs) for network in networks]
            self._kept.append(seen)
        features = [network.dense(places) for network, places in zip(networks, seen, strict=True)]
        return features[0] if self.share_features_extractor else tuple(features)

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and log chances; while looks are kept these are 0: what learns works them out itself."""
        draws = self.action_dist.draws
        if draws is None or deterministic or not self._keeps:
            return super().forward(obs, deterministic)
        features = self.extract_features(obs)
        of_actor, of_critic = (features, features) if self.share_features_extractor else features
        logits = self.action_net(self.mlp_extractor.forward_actor(of_actor))
        values = self.value_net(self.mlp_extractor.forward_critic(of_critic))
        return draws.of(logits), values, torch.zeros(len(logits), device=logits.device)

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
