"""The reinforcement learning study: an agent of `rl.agents` in an environment of `rl.suites`.

One step of the bench's loop is one update of the agent. Killed and started again, counters, optimiser, schedules and
the last games' returns go on; the games start anew, from a seed that depends on the step.
"""

import math
import time
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float64
from lightning_fabric import Fabric
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from rl.agents import make_agent
from rl.contract import WINDOW, Agent, Game
from rl.saliency import FPS, coordinate_layers, reference_game, saliency_film, without_coordinates
from rl.spec import RlConfig
from rl.suites import normalised, suite_of
from rl.vector import GameVecEnv
from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator, keyed_seed
from sandbox.base.types import PathKind, Picture, Sheet, Walks
from sandbox.film.grids import tile
from sandbox.train import processes
from sandbox.train.encoder import Encoder
from sandbox.train.study import Filmed, State, Study

_AT_ONCE = 10  # games that an evaluation plays at a time


class RlStudy(Study[RlConfig], Filmed):
    """Trains an agent and lets it play.

    Module: ``policy``. A checkpoint holds the newest whole games, too. Actions and the order of minibatches depend on
    seed and step; so do the games, but for a run that was interrupted, which starts new ones.
    """

    film_frames, film_grid, film_fps, film_mp4 = 450, (1, 1), 15, True  # half a minute of play at its own speed

    def __init__(self, config: RlConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        if processes.count() > 1:
            raise UserError("an agent trains in one process; more games at a time: --envs, more threads: --threads")
        self.suite = suite_of(config.env)
        self.env = self._games_of(config.envs, learning=True)
        self.agent: Agent = make_agent(config, self.env, str(fabric.device), bf16=self.bf16)
        # The agent sets its rates, takes its steps and lays out its network.
        self.modules["policy"] = self.agent.policy
        self.optimisers["policy"] = self.agent.optimiser
        self.games: list[Game] = []  # the newest whole ones
        self._playing = False
        self._mark = (0, 0.0)

    def _games_of(self, count: int, *, learning: bool = False, pictures: bool = False) -> GameVecEnv:
        """A vector of the run's game, by the rules of learning or of evaluation."""
        return self.suite.make(self.config, count, learning, pictures)

    def state_dict(self) -> State:
        """``games`` (100, 2), the oldest first: return in points and length in frames; NaN where there is none yet."""
        rows = torch.full((WINDOW, 2), math.nan, dtype=torch.float64)
        if self.games:
            rows[-len(self.games) :] = torch.tensor(
                [[game["r"], game["l"]] for game in self.games], dtype=torch.float64
            )
        own = self.agent.state_dict()
        return {"record": {"games": rows}, **({"agent": own} if own else {})}

    def load_state_dict(self, state: State) -> None:
        """Puts the games back."""
        rows = state["record"]["games"].tolist()
        self.games = [{"r": r, "l": frames, "t": 0.0} for r, frames in rows if not math.isnan(r)]
        if "agent" in state:
            self.agent.load_state_dict(state["agent"])

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update. Every ``log_every`` updates the running means over whole games come with its losses."""
        self._begin(step)
        learned = self.agent.update(step)
        self.games = self.agent.games
        found = learned | (self._means(step) if step % self.config.log_every == 0 else {})
        return {tag: torch.tensor(float(value)) for tag, value in found.items()}

    def _begin(self, step: int) -> None:
        """Starts the games before the first update of this process."""
        if not self._playing:
            self.env.seed(keyed_seed(self.config.seed, "games", step))
            self.agent.begin(self.games)
            self._playing, self._mark = True, (max(step, 1), time.perf_counter())

    def _means(self, step: int) -> dict[str, float]:
        steps, seconds = step - self._mark[0] + 1, time.perf_counter() - self._mark[1]
        self._mark = step + 1, time.perf_counter()
        means = {"time/fps": steps * self.config.batch / max(seconds, 1e-9)}
        if games := self.games:
            means["rollout/ep_rew_mean"] = sum(game["r"] for game in games) / len(games)
            means["rollout/ep_len_mean"] = sum(game["l"] for game in games) / len(games)
        return means

    # ---- pictures and scores

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """The games, up to 16 of them: in colour, or the newest picture that the agent sees of each."""
        self._begin(0)
        newest = [grey[-1][..., None].repeat(3, -1) if picture is None else picture
                  for grey, picture in zip(self.agent.observations, self.agent.images, strict=True)]  # fmt: skip
        side = math.isqrt(min(len(newest), 16))
        return tile(np.stack(newest[: side**2])[None].transpose(0, 1, 4, 2, 3), (side, side))[0], {}

    def evaluate(self) -> dict[str, float]:
        """Scores of whole games, rewards in full, from starts of their own; see docs/metrics.md."""
        policy, blind = self.agent.policy, math.nan
        returns, frames = self._games(policy)
        mean = float(returns.mean())
        if coordinate_layers(policy):
            with without_coordinates(policy) as copy:
                blind = float(self._games(copy)[0].mean())
        return {
            "score/return": mean,
            "score/return_sd": float(returns.std(ddof=1)) if len(returns) > 1 else math.nan,
            **dict([normalised(self.config.env, mean)]),
            "score/return_without_coordinates": blind,
            "score/frames": float(frames.mean()),
            "score/games": float(len(returns)),
        }

    def _games(self, policy: BasePolicy) -> tuple[Float64[np.ndarray, " games"], Float64[np.ndarray, " games"]]:
        """Returns and lengths in frames of whole games; each policy has the same starts and draws of actions."""
        config = self.config
        env = self._games_of(min(config.games, _AT_ONCE))
        env.seed(keyed_seed(config.seed, "evaluation"))
        with self.agent.drawing(policy, keyed_generator(config.seed, "evaluation actions")):
            # Every game plays its share: the first to end would be the short ones.
            found = evaluate_policy(policy, env, config.games, deterministic=config.deterministic,
                                    return_episode_rewards=True)  # fmt: skip
        env.close()
        returns, frames = cast(tuple[list[float], list[int]], found)
        return np.asarray(returns, np.float64), np.asarray(frames, np.float64)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """``count`` games at play, in colour, one frame an agent step; ``path`` is of no use here."""
        env = self._games_of(count, pictures=True)
        env.seed(keyed_seed(self.config.seed, "film", seed))
        pictures, obs = [], cast(np.ndarray, env.reset())
        policy = self.agent.policy
        with self.agent.drawing(policy, keyed_generator(self.config.seed, "film actions", seed)):
            for _ in range(frames):
                pictures.append(np.stack(env.get_images()))  # type: ignore[arg-type]
                actions, _ = policy.predict(obs, deterministic=self.config.deterministic)
                obs = cast(np.ndarray, env.step(actions)[0])
        env.close()
        return np.stack(pictures).transpose(0, 1, 4, 2, 3)

    def films(self) -> dict[str, tuple[Sheet, int]]:
        """``saliency``: what the agent looks at, on a game that depends on the run's task and seed alone."""
        if self.config.saliency < 2:
            return {}
        env = self._games_of(1, pictures=True)
        env.seed(keyed_seed(self.config.seed, "reference game"))
        actions = keyed_generator(self.config.seed, "reference actions")
        game = reference_game(env, self.config.saliency, actions, self.suite.skipped, self.suite.held)
        env.close()
        return {"saliency": (saliency_film(self.agent.policy, *game), FPS)}

    def encoder(self, name: str = "") -> Encoder:
        """The actor's convolutions; an image becomes grey, the same in every frame of the stack or plane."""
        policy = self.find_network(name)
        extractor = getattr(policy, "pi_features_extractor", None) or policy.features_extractor
        frames, size = policy.observation_space.shape[:2]
        return Encoder(
            extractor.cnn, size, lambda images: images.mean(1, keepdim=True).expand(-1, frames, -1, -1), any_size=False
        )

    def examples(self) -> dict[str, Tensor]:
        """Two looks."""
        shape = cast(tuple[int, ...], self.env.observation_space.shape)
        return {"policy": torch.zeros(2, *shape, device=self.fabric.device)}

    def costs(self) -> dict[str, Any]:
        """Parameters, multiply-adds of a look, and the rules of play."""
        with torch.random.fork_rng():  # the policy draws an action
            costs = super().costs()
        return costs | {"protocol": self.env.document(), "actions": self.env.get_action_meanings()}
