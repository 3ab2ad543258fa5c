"""The reinforcement learning study: A2C (Mnih et al. 2016, arXiv 1602.01783) on an Atari game, by stable-baselines3.

One step of the bench's loop is one update: stable-baselines3 plays ``n_steps`` steps of every game and learns from
them. Killed and started again, counters, optimiser, schedules and the last games' returns go on; the emulators start
new games, from a seed that depends on the step.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float64
from lightning_fabric import Fabric
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import Tensor

from rl.envs import AtariVecEnv
from rl.games import human_normalised
from rl.one_pass import OnePassA2C
from rl.policies import POLICIES, CoordCNN, seed_policy
from rl.saliency import FPS, coordinate_layers, reference_game, saliency_film, without_coordinates
from rl.spec import RlConfig
from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator
from sandbox.base.types import PathKind, Picture, Sheet, Walks
from sandbox.film.grids import tile
from sandbox.nn.blocks import channels_last
from sandbox.train import processes
from sandbox.train.encoder import Encoder
from sandbox.train.study import Filmed, State, Study

WINDOW = 100  # whole games in a running mean, as stable-baselines3 has it
_AT_ONCE = 10  # games that an evaluation plays at a time


def make_agent(config: RlConfig, env: AtariVecEnv, device: str, *, bf16: bool = False) -> OnePassA2C:
    """A2C on our network, whose weights are drawn from the run's seed; it looks at each observation once."""
    network = {name: getattr(config, name)
               for name in ("coord", "coord_layers", "with_r", "padding_mode", "pooling", "width")}  # fmt: skip
    falls = config.lr_schedule == "linear"
    model = OnePassA2C(
        POLICIES[config.heads], env, learning_rate=lambda left: config.lr * (left if falls else 1.0),
        n_steps=config.n_steps, gamma=config.gamma, gae_lambda=config.gae_lambda, ent_coef=config.entropy,
        vf_coef=config.value, max_grad_norm=config.max_grad_norm, stats_window_size=WINDOW, device=device,
        policy_kwargs={
            "features_extractor_class": CoordCNN, "features_extractor_kwargs": {**network, "bf16": bf16},
            "net_arch": [], "optimizer_class": RMSpropTFLike,
            "optimizer_kwargs": {"alpha": config.rms_decay, "eps": config.rms_eps},
        },
    )  # fmt: skip
    seed_policy(model.policy, config.seed)
    if channels_last(model.device.type, bf16):
        model.policy.to(memory_format=torch.channels_last)  # after stable-baselines3's own draw, which cannot have it
    if config.compile:
        for part in model.policy.modules():
            if isinstance(part, CoordCNN):
                part.cnn.compile()  # in place: the class and the names stay
                part.linear.compile()
    model.set_logger(Logger(None, []))  # the bench writes the curves
    return model


class RlStudy(Study[RlConfig], Filmed):
    """Trains an agent and lets it play.

    Module: ``policy``, stable-baselines3's. A checkpoint holds the newest whole games, too. Games, actions and sampling
    follow the seed, but for a run that was interrupted: its emulators start new games.
    """

    film_frames, film_grid, film_fps, film_mp4 = 450, (1, 1), 15, True  # half a minute of play at its own speed

    def __init__(self, config: RlConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        if processes.count() > 1:
            raise UserError("an agent trains in one process; more games at a time: --envs, more threads: --threads")
        self.env = AtariVecEnv(config.env, config.envs, config.protocol(learning=True), threads=config.threads)
        self.model = make_agent(config, self.env, str(fabric.device), bf16=self.bf16)
        # stable-baselines3 sets its rates, takes its steps and lays out its network.
        self.modules["policy"] = self.model.policy
        self.optimisers["policy"] = self.model.policy.optimizer
        self.games: list[dict[str, float]] = []  # the newest whole ones, in stable-baselines3's form
        self._callback: BaseCallback | None = None
        self._mark = (0, 0.0)

    def state_dict(self) -> State:
        """``games`` (100, 2), the oldest first: return in points and length in frames; NaN where there is none yet."""
        rows = torch.full((WINDOW, 2), math.nan, dtype=torch.float64)
        if self.games:
            rows[-len(self.games) :] = torch.tensor(
                [[game["r"], game["l"]] for game in self.games], dtype=torch.float64
            )
        return {"record": {"games": rows}}

    def load_state_dict(self, state: State) -> None:
        """Puts the games back."""
        rows = state["record"]["games"].tolist()
        self.games = [{"r": r, "l": frames, "t": 0.0} for r, frames in rows if not math.isnan(r)]

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of A2C. Every ``log_every`` updates the running means over whole games come with its losses."""
        callback, model = self._begun(step), self.model
        model.num_timesteps = (step - 1) * self.config.batch
        model.collect_rollouts(self.env, callback, model.rollout_buffer, self.config.n_steps)
        model._update_current_progress_remaining(model.num_timesteps, int(self.config.goal))
        model.train()
        self.games = list(model.ep_info_buffer or ())[-WINDOW:]
        learned = {tag: value for tag, value in model.logger.name_to_value.items() if tag != "train/n_updates"}
        if math.isnan(learned["train/explained_variance"]):
            del learned["train/explained_variance"]  # undefined where all returns are equal
        found = learned | (self._means(step) if step % self.config.log_every == 0 else {})
        return {tag: torch.tensor(float(value)) for tag, value in found.items()}

    def _begun(self, step: int) -> BaseCallback:
        """Starts the games before the first update of this process."""
        if self._callback is None:
            self.env.seed(self._seed("games", step))
            _, self._callback = self.model._setup_learn(int(self.config.goal))
            assert self.model.ep_info_buffer is not None
            self.model.ep_info_buffer.extend(self.games)
            self._mark = max(step, 1), time.perf_counter()
        return self._callback

    def _means(self, step: int) -> dict[str, float]:
        steps, seconds = step - self._mark[0] + 1, time.perf_counter() - self._mark[1]
        self._mark = step + 1, time.perf_counter()
        means = {"time/fps": steps * self.config.batch / max(seconds, 1e-9)}
        if games := self.games:
            means["rollout/ep_rew_mean"] = sum(game["r"] for game in games) / len(games)
            means["rollout/ep_len_mean"] = sum(game["l"] for game in games) / len(games)
        return means

    def _seed(self, *key: str | int) -> int:
        return int(torch.randint(2**31 - 1, (), generator=keyed_generator(self.config.seed, *key)))

    @contextmanager
    def _drawing(self, *key: str | int) -> Iterator[None]:
        """Actions are drawn from a stream of their own: what is looked at must not change what is learned."""
        with torch.random.fork_rng():
            torch.manual_seed(self._seed(*key))
            yield

    # ---- pictures and scores

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """What the agent sees: the newest picture of each game, up to 16 of them."""
        self._begun(0)
        newest = cast(np.ndarray, self.model._last_obs)[:, -1]
        side = math.isqrt(min(len(newest), 16))
        return tile(np.repeat(newest[None, : side**2, None], 3, axis=2), (side, side))[0], {}

    def evaluate(self) -> dict[str, float]:
        """Scores of whole games, rewards in full, from starts of their own; see docs/metrics.md."""
        policy, blind = self.model.policy, math.nan
        returns, frames = self._games(policy)
        mean = float(returns.mean())
        if coordinate_layers(policy):
            with without_coordinates(policy) as copy:
                blind = float(self._games(copy)[0].mean())
        return {
            "score/return": mean,
            "score/return_sd": float(returns.std(ddof=1)) if len(returns) > 1 else math.nan,
            "score/human_normalised": human_normalised(self.config.env, mean),
            "score/return_without_coordinates": blind,
            "score/frames": float(frames.mean()),
            "score/games": float(len(returns)),
        }

    def _games(self, policy: ActorCriticPolicy) -> tuple[Float64[np.ndarray, " games"], Float64[np.ndarray, " games"]]:
        """Returns and lengths in frames of whole games; each policy has the same starts and draws of actions."""
        config = self.config
        rules = config.protocol(learning=False)
        env = AtariVecEnv(config.env, min(config.games, _AT_ONCE), rules, threads=config.threads)
        env.seed(self._seed("evaluation"))
        with self._drawing("evaluation actions"):
            # Every emulator plays its share of the games: the first to end would be the short ones.
            found = evaluate_policy(policy, env, config.games, deterministic=config.deterministic,
                                    return_episode_rewards=True)  # fmt: skip
        env.close()
        returns, frames = cast(tuple[list[float], list[int]], found)
        return np.asarray(returns, np.float64), np.asarray(frames, np.float64)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """``count`` games at play, in colour, one frame an agent step; ``path`` is of no use here."""
        rules = self.config.protocol(learning=False)
        env = AtariVecEnv(self.config.env, count, rules, threads=self.config.threads, render_mode="rgb_array")
        env.seed(self._seed("film", seed))
        pictures, obs = [], env.reset()
        with self._drawing("film actions", seed):
            for _ in range(frames):
                pictures.append(np.stack(env.get_images()))  # type: ignore[arg-type]
                actions, _ = self.model.predict(obs, deterministic=self.config.deterministic)
                obs = cast(np.ndarray, env.step(actions)[0])
        env.close()
        return np.stack(pictures).transpose(0, 1, 4, 2, 3)

    def films(self) -> dict[str, tuple[Sheet, int]]:
        """``saliency``: what the agent looks at, on a game that depends on the run's task and seed alone."""
        if self.config.saliency < 2:
            return {}
        rules = self.config.protocol(learning=False)
        env = AtariVecEnv(self.config.env, 1, rules, threads=self.config.threads, render_mode="rgb_array")
        env.seed(self._seed("reference game"))
        actions = keyed_generator(self.config.seed, "reference actions")
        game = reference_game(env, self.config.saliency, actions)
        env.close()
        return {"saliency": (saliency_film(self.model.policy, *game), FPS)}

    def encoder(self, name: str = "") -> Encoder:
        """The actor's convolutions; an image becomes grey and stands still for all frames of the stack."""
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
        return costs | {"protocol": self.env.protocol.document(), "actions": list(self.env.console.actions)}
