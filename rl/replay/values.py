"""The network that says what each action is worth, and how it is started."""

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from rl.policies import CoordCNN, draw_weights


class QNetwork(nn.Module):
    """Values of all actions: `CoordCNN`'s convolutions, then a value and an advantage each from a dense layer of its own.

    ``(b, c, h, w) -> (b, actions)``. The dueling network of Wang et al. 2016 (arXiv 1511.06581, equation 9).

    Args:
        observation_space: pictures, channels first.
        actions: how many.
        features_dim: of the two dense layers.
        network: what `CoordCNN` takes beside.

    Raises:
        ValueError: the observations are no pictures, or smaller than the kernels.
    """

    def __init__(self, observation_space: spaces.Box, actions: int, features_dim: int = 512, **network: Any) -> None:
        super().__init__()
        self.extractor = CoordCNN(observation_space, features_dim, **network)
        flat = self.extractor.linear[0].in_features
        self.extractor.linear = nn.Identity()  # two of its own follow, which start from what convolutions saw
        self.value = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU(), nn.Linear(features_dim, 1))
        self.advantage = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU(), nn.Linear(features_dim, actions))

    def forward(self, observations: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b actions"]:
        """What each action is worth, in discounted rewards as the learner sees them."""
        seen = self.extractor(observations)
        advantage: Tensor = self.advantage(seen)
        return self.value(seen) + advantage - advantage.mean(1, keepdim=True)


def seed_values(network: QNetwork, seed: int) -> None:
    """Draws every weight anew, as agents' are: both arms start from the same content weights at one seed."""
    draw_weights(network, seed, "values", {"value.2": 0.01, "advantage.2": 0.01})


@torch.no_grad()
def epsilon_greedy(
    values: Float[Tensor, "n actions"], epsilons: Float[Tensor, " n"], generator: torch.Generator
) -> Tensor:
    """The best action of each row, or with its epsilon's probability any, all alike. Two draws a row, always."""
    count, actions = values.shape
    draws = torch.rand(count, 2, generator=generator)
    random = (draws[:, 1] * actions).long().clamp_max(actions - 1)
    return torch.where(draws[:, 0] < epsilons, random, values.argmax(1).cpu())


def actor_epsilons(count: int, base: float = 0.4, alpha: float = 7.0) -> Float[Tensor, " n"]:
    """Exploration of each actor, the largest first: ``base ** (1 + alpha i / (count - 1))``.

    Horgan et al. 2018 (arXiv 1803.00933, section 4.1). A single one has ``base``.
    """
    return base ** (1 + alpha * torch.arange(count) / max(count - 1, 1))
