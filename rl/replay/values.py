"""The policy that says what each action is worth, how it is started, and how it explores."""

from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from gymnasium import spaces
from jaxtyping import Float, Int64, Num
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from rl.one_pass import Drawn, drawing_from
from rl.policies import CoordCNN, draw_weights

_NEVER = 1e-12  # the chance of an action that is not taken; its logarithm is finite


class QPolicy(BasePolicy):
    """Values of all actions: `CoordCNN`'s convolutions, then a value and an advantage, from a dense layer each.

    ``(b, c, h, w) -> (b, actions)``. The dueling network of Wang et al. 2016 (arXiv 1511.06581, equation 9). As a
    policy it takes the best action, but with probability ``epsilon`` any, all alike.

    Args:
        observation_space: pictures, channels first.
        action_space: how many actions there are.
        features_dim: of the two dense layers.
        epsilon: of the evaluation, 0 to 1.
        network: what `CoordCNN` takes beside.

    Raises:
        ValueError: the observations are no pictures, or smaller than the kernels.
    """

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Discrete, features_dim: int = 512, *,
        epsilon: float = 0.0, **network: Any,
    ) -> None:  # fmt: skip
        super().__init__(observation_space, action_space, normalize_images=False)
        actions = int(action_space.n)
        self.features_extractor: CoordCNN = CoordCNN(observation_space, features_dim, **network)
        flat = cast(nn.Linear, self.features_extractor.linear[0]).in_features
        self.features_extractor.linear = nn.Sequential()  # two of its own follow, from what the convolutions saw
        self.value = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU(), nn.Linear(features_dim, 1))
        self.advantage = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU(), nn.Linear(features_dim, actions))
        self.epsilon, self.action_dist = epsilon, Drawn(actions)

    def forward(self, observations: Num[Tensor, "b c h w"]) -> Float[Tensor, "b actions"]:
        """What each action is worth, in discounted rewards as the learner sees them."""
        seen = self.features_extractor(observations)
        advantage: Tensor = self.advantage(seen)
        value: Tensor = self.value(seen)
        return value + advantage - advantage.mean(1, keepdim=True)

    def get_distribution(self, obs: Num[Tensor, "b c h w"]) -> Drawn:
        """The chances of all actions, of bytes or of the same as floats, like other policies here."""
        values = self(obs if obs.dtype == torch.uint8 else obs / self.features_extractor.brightest)
        chances = torch.full_like(values, self.epsilon / values.shape[1])
        chances.scatter_add_(1, values.argmax(1, keepdim=True), torch.full_like(values[:, :1], 1 - self.epsilon))
        return self.action_dist.proba_distribution(chances.clamp_min(_NEVER).log())

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        with torch.no_grad():
            return self.get_distribution(observation).get_actions(deterministic)

    def drawing_from(self, generator: torch.Generator) -> AbstractContextManager[None]:
        """Inside, actions are drawn from this stream instead of torch's own."""
        return drawing_from(self.action_dist, generator)


def seed_values(policy: QPolicy, seed: int) -> None:
    """Draws every weight anew, as agents' are: both arms start from the same content weights at one seed."""
    draw_weights(policy, seed, "values", {"value.2": 0.01, "advantage.2": 0.01})


@torch.no_grad()
def epsilon_greedy(
    values: Float[Tensor, "n actions"], epsilons: Float[Tensor, " n"], generator: torch.Generator
) -> Int64[Tensor, " n"]:
    """The best action of each row, or with its epsilon's probability any, all alike. Two draws a row, always."""
    count, actions = values.shape
    draws = torch.rand(count, 2, generator=generator)
    random = (draws[:, 1] * actions).long().clamp_max(actions - 1)
    return torch.where(draws[:, 0] < epsilons, random, values.argmax(1).cpu())


def actor_epsilons(count: int, base: float = 0.4, alpha: float = 7.0) -> Float[Tensor, " n"]:
    """Exploration of each game's actor, the largest first: ``base ** (1 + alpha i / (count - 1))``.

    Horgan et al. 2018 (arXiv 1803.00933, section 4.1). A single one has ``base``.
    """
    return base ** (1 + alpha * torch.arange(count) / max(count - 1, 1))


def falling_epsilon(step: int, last: int, start: float, end: float) -> float:
    """Exploration that falls in a straight line from ``start`` at step 0 to ``end`` at ``last``, and stays there."""
    return start + min(step / max(last, 1), 1.0) * (end - start)
