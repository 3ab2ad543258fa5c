"""What every vector of games has beside play: the parts of stable-baselines3's `VecEnv` that ask for little."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices

from rl.protocol import whole


class GameVecEnv(VecEnv):
    """Games of one kind, stepped together; see `rl.envs.AtariVecEnv` and `rl.minatar.envs.MinAtarVecEnv`.

    What stands in ``info["episode"]`` is what stable-baselines3's Monitor writes there: whole games, rewards in full.
    """

    def __init__(self, num_envs: int, observations: spaces.Box, actions: spaces.Discrete, render_mode: str | None):
        self._own: list[dict[str, Any]] = [{"render_mode": render_mode} for _ in range(num_envs)]
        super().__init__(num_envs, observations, actions)

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether `close` was called."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The rules of play by name, for files."""

    @abstractmethod
    def get_action_meanings(self) -> list[str]:
        """The actions by name, in order."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Sets the seeds of the next `reset`: game i plays from ``seed + i``; None: from seeds that chance draws.

        Raises:
            ValueError: it is no whole number.
            RuntimeError: the environment is closed.
        """
        self._must_be_open("seed")
        return super().seed(None if seed is None else whole("seed", seed, -(2**63), 2**63 - 1))

    def _must_be_open(self, what: str) -> None:
        if self.is_closed:
            raise RuntimeError(f"{what} after close(): the environment is closed, make a new one")

    def _rows(self, indices: VecEnvIndices) -> list[int]:
        """The environments that indices name: all where there are none."""
        return [whole("indices", i, -self.num_envs, self.num_envs - 1) for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Of each environment: what `set_attr` set there, else what this object has by that name.

        Raises:
            AttributeError: there is no such thing.
            ValueError: there is no such environment.
        """
        return [self._own[i][attr_name] if attr_name in self._own[i] else getattr(self, attr_name)
                for i in self._rows(indices)]  # fmt: skip

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets something of some environments; the games have no part in it.

        Raises:
            ValueError: there is no such environment.
        """
        for i in self._rows(indices):
            self._own[i][attr_name] = value

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of this object once for each environment.

        Raises:
            AttributeError: there is no such method.
            ValueError: there is no such environment.
            RuntimeError: the environment is closed.
        """
        self._must_be_open(f"env_method {method_name!r}")
        method = getattr(self, method_name)
        return [method(*method_args, **method_kwargs) for _ in self._rows(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether the environments do what a wrapper does: Monitor's ``info["episode"]`` they have, else nothing."""
        return [issubclass(wrapper_class, Monitor) for _ in self._rows(indices)]
