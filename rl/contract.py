"""What every agent is to the study, and the network that agents share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor
from torch.optim import Optimizer

from rl.spec import RlConfig, parse_kernels
from sandbox.nn.blocks import channels_last

Game = dict[str, float]  # a whole game, in stable-baselines3's form: return r, length l, time t
WINDOW = 100  # whole games in a running mean, as stable-baselines3 has it


class Agent(ABC):
    """An agent of a run, its games and its optimiser.

    Attributes:
        policy: the network; ``predict(observations, deterministic=...)`` gives actions.
        optimiser: whose state a checkpoint holds.
    """

    policy: BasePolicy
    optimiser: Optimizer

    @abstractmethod
    def begin(self, games: Sequence[Game]) -> None:
        """Starts the environment; ``games`` are the newest whole ones of a run that goes on."""

    @abstractmethod
    def update(self, step: int) -> dict[str, float]:
        """Plays and learns: the step of the bench, counted from 1. Returns what there is to say, by tag, finite."""

    @property
    @abstractmethod
    def games(self) -> list[Game]:
        """The newest `WINDOW` whole games."""

    @property
    @abstractmethod
    def observations(self) -> np.ndarray:
        """What it sees now."""

    @property
    @abstractmethod
    def images(self) -> Sequence[np.ndarray | None]:
        """The same in colour, where its games have any."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside network and optimiser; nothing, unless overridden."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Puts it back."""

    @abstractmethod
    def drawing(self, policy: BasePolicy, generator: torch.Generator) -> AbstractContextManager[None]:
        """Inside, the policy, or a copy of it, draws its actions from a stream."""


def network_of(config: RlConfig, *, bf16: bool) -> dict[str, Any]:
    """The arguments of `rl.policies.CoordCNN` that agents share."""
    names = "coord", "coord_layers", "with_r", "padding_mode", "pooling", "width", "features_dim"
    network = {name: getattr(config, name) for name in names}
    return network | {"kernels": parse_kernels(config.kernels), "bf16": bf16}


def layout_of(config: RlConfig, device: str, *, bf16: bool) -> torch.memory_format:
    """The layout in which an agent's convolutions are faster; measured (docs/results.md, MinAtar: trials).

    As in other studies, but for MinAtar's 10x10 planes through 16 channels: contiguous in float32.
    """
    small = config.suite == "minatar" and not bf16
    return torch.channels_last if channels_last(device, bf16) and not small else torch.contiguous_format
