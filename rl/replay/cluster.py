"""Ape-X on Ray: players, a replay and a learner, each in a process of its own, on this machine or on many.

Horgan et al. 2018 (arXiv 1803.00933). Players and replay are `rl.replay.actor.Actor` and `rl.replay.store.Store`, as in
one process. What differs: players act by weights some updates old, and what they send comes in whatever order it is
done, so that two runs of one seed are not the same. The learner waits for play where play is slower, and players wait
for the learner where that is slower: updates for an agent step are as many as in one process.
"""

import atexit
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from tqdm import tqdm

from rl.contract import WINDOW, Game
from rl.replay.actor import Actor
from rl.replay.agent import QLearner, filling, make_policy, store_of
from rl.replay.recorder import Chunk
from rl.replay.store import Store
from rl.replay.values import actor_epsilons
from rl.spec import ROUND, RlConfig
from rl.suites import suite_of
from rl.vector import GameVecEnv
from sandbox.base.cluster import connect
from sandbox.base.errors import RunError, UserError, one_line, warn
from sandbox.base.seeding import keyed_seed

AHEAD = 2  # rounds that a player may be ahead of the learner
SAMPLES = 4  # samples that are on their way to the learner
PUBLISH = 25  # updates between two times that players are sent the network's weights
PATIENCE = 60.0  # seconds without a word from any player, then one of ours
GIVEN_UP = 10  # such words, then the run ends
LIVES = 100  # players that may die in a run before it ends: something is wrong with all of them


class Player:
    """Some of the games, and the network that plays them: a process on the cluster.

    Args:
        config: the run's.
        number: of the player, from 0 on.
        life: how many with this number there were before.
        step: of the learner, as this one begins: the games' seeds follow from it.
    """

    def __init__(self, config: RlConfig, number: int, life: int, step: int) -> None:
        torch.set_num_threads(1)
        each = config.envs // config.actors
        config = config.model_copy(update={"threads": config.threads or 1})  # one core is what a player takes
        self.env = suite_of(config.env).make(config, each, True, False)
        self.env.seed(keyed_seed(config.seed, "games", step, number, life))
        self.policy = make_policy(config, self.env, bf16=False)
        self.actor = Actor(self.env, self.policy, stack=self.env.stack, n_steps=config.multi_step, gamma=config.gamma,
                           seed=config.seed, key=f"actor {number} {life}")  # fmt: skip
        self.actor.begin()
        self.epsilons = actor_epsilons(config.envs)[number * each : (number + 1) * each]

    def play(self, first: int, count: int, weights: dict[str, Tensor]) -> tuple[Chunk, list[Game]]:
        """Plays ``count`` steps of each game by these weights; what ended of transitions, and of whole games."""
        self.policy.load_state_dict(weights)
        chunk = self.actor.play(first, count, lambda step: self.epsilons)
        games, self.actor.games = self.actor.games, []
        return chunk, games

    def look(self) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """What the agent sees now, and its pictures in colour."""
        return self.actor.observations, list(self.env.get_images())


class Keeper(Store):
    """The store, in a process of its own."""

    def __init__(self, *args: Any) -> None:
        torch.set_num_threads(1)
        super().__init__(*args)


@dataclass
class _Seat:
    """A player's place: its process, and what it is at."""

    number: int
    process: Any
    life: int = 0
    steps: int = 0  # of each game, sent out
    task: Any = None


class ApexOnRay(QLearner):
    """Ape-X whose games are played by Ray actors.

    Args:
        config: the run's; ``actors`` players share ``envs`` games.
        env: games by the same rules, never played: their shapes.
        device: where the learner's network is.
        bf16: whether it runs in bfloat16.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, config: RlConfig, env: GameVecEnv, device: str, *, bf16: bool) -> None:
        super().__init__(config, env, device, bf16=bf16)
        size, picture, *_ = store_of(config, env)
        size.check(picture)
        self.ray: Any = None  # a finished run is looked at without its cluster
        self._games: list[Game] = []
        self._seats: list[_Seat] = []
        self._samples: deque[Any] = deque()
        self._played = self._deaths = self._now = self._first = 0

    # ---- the processes

    def begin(self, games: Sequence[Game]) -> None:
        """Joins the cluster; players begin with the first update, whose number their seeds follow from."""
        self._games, actors = list(games), self.config.actors
        self.ray = self.ray or connect(self.config.cluster or None, actors + 1, "--cluster")
        if (cores := int(self.ray.cluster_resources().get("CPU", 0))) < actors:
            raise UserError(f"--actors {actors}: the cluster has {cores} cores, and each player takes one")

    def _start(self, step: int) -> None:
        """Players and replay; before the first update as well, where somebody wants to look."""
        if self._seats:
            return
        # A core is what a player is reckoned with on a cluster; the replay and the learner are busy in turn.
        self._player = self.ray.remote(num_cpus=1, max_restarts=0)(Player)
        here = self.ray.get_runtime_context().get_node_id()  # what is learned from is sent to the learner all the time
        near = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        keeper = self.ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=near)(Keeper)
        self._keeper = keeper.remote(*store_of(self.config, self.env))
        self._publish()
        self._seats = [_Seat(number, self._player.remote(self.config, number, 0, step))
                       for number in range(self.config.actors)]  # fmt: skip
        atexit.register(self.close)  # Ray alone takes half a minute to notice that nobody waits for them

    def close(self) -> None:
        """Ends players and replay, and leaves the cluster. A second time it does nothing."""
        if self.ray is not None and self.ray.is_initialized():
            for process in [seat.process for seat in self._seats] + [self._keeper]:
                self.ray.kill(process)
            self.ray.shutdown()

    def _publish(self) -> None:
        self._weights = self.ray.put({name: value.cpu() for name, value in self.policy.state_dict().items()})

    def _replace(self, seat: _Seat) -> None:
        """A player has died: another takes its place, and what it was at is not played."""
        self._deaths += 1
        if self._deaths > LIVES:
            raise RunError(f"{self._deaths} players have died in this run: see Ray's own logs")
        warn(f"player {seat.number} died, another takes its place")
        seat.life, seat.steps, seat.task = seat.life + 1, seat.steps - ROUND, None
        seat.process = self._player.remote(self.config, seat.number, seat.life, self._now)

    # ---- play and learning

    def _allowed(self, step: int) -> int:
        """Agent steps that ``step`` updates ask for."""
        return self.config.learning_starts + (step - self._first + 1) * self.config.batch

    def _play(self, step: int, bar: "tqdm[Any] | None" = None) -> None:
        """Keeps players at work, and waits until as much is played as belongs to the step."""
        each, silent = self.config.envs // self.config.actors, 0
        while True:
            ahead = self._allowed(step) + AHEAD * ROUND * self.config.envs
            for seat in self._seats:
                if seat.task is None and seat.steps * self.config.envs < ahead:
                    seat.task = seat.process.play.options(num_returns=2).remote(seat.steps, ROUND, self._weights)
                    seat.steps += ROUND
            waiting = self._played < self._allowed(step)
            busy = {seat.task[1]: seat for seat in self._seats if seat.task is not None}
            done, _ = self.ray.wait(list(busy), num_returns=1, timeout=PATIENCE if waiting else 0)
            silent = 0 if done or not waiting else self._nothing_came(len(busy), silent + 1)
            for reference in done:
                self._take(busy[reference], each)
                if bar is not None:
                    bar.update(min(self._played, self.config.learning_starts) - bar.n)
            if not done and not waiting:
                return

    def _nothing_came(self, players: int, times: int) -> int:
        """A word after a minute without one from any player; after ten the run ends."""
        self._asked(self._keeper.__len__.remote())  # it may be the one that is gone
        told = f"nothing came from {players} players for {times * PATIENCE:.0f} s"
        if times == GIVEN_UP:
            raise RunError(f"{told}: is there a free core for each of them? The same command continues from the last "
                           "checkpoint")  # fmt: skip
        warn(f"{told}: they may wait for a core")
        return times

    def _take(self, seat: _Seat, each: int) -> None:
        chunk, games = seat.task
        try:
            self._games += self.ray.get(games)
        except self.ray.exceptions.RayActorError:
            self._replace(seat)
            return
        except self.ray.exceptions.RayTaskError as error:
            raise RunError(f"player {seat.number}: {one_line(error.cause, 200)}") from None
        self._asked(self._keeper.add.remote(chunk, None, f"{seat.number} {seat.life}"))
        self._played += ROUND * each
        seat.task = None

    def _asked(self, reference: Any) -> Any:
        """What the replay answers."""
        try:
            return self.ray.get(reference)
        except (self.ray.exceptions.ActorDiedError, self.ray.exceptions.ActorUnavailableError):
            raise RunError("the replay's process died: the same command continues from the last checkpoint") from None

    def update(self, step: int) -> dict[str, float]:
        """Waits for as much play as belongs to the step, and learns."""
        self._now = step
        if not self._first:
            self._first = step
            self._start(step)
            if step > 1:
                self.say_refill()
            with filling(self.config.learning_starts) as bar:
                self._play(step, bar)
        self._play(step)
        losses = []
        for number in range((step - 1) * self.config.updates + 1, step * self.config.updates + 1):
            while len(self._samples) < SAMPLES:
                asked = number + len(self._samples)
                self._samples.append(self._keeper.sample.remote(self.config.minibatch, self.config.seed, asked))
            batch = self._asked(self._samples.popleft())
            loss, errors = self.learner.learn(batch.to(self.policy.device), number)
            self._keeper.update.remote(batch["index"], errors)
            losses.append(loss)
            if number % PUBLISH == 0:
                self._publish()
        explored = float(actor_epsilons(self.config.envs).mean())
        return {"train/loss": float(torch.stack(losses).mean()), "train/epsilon": explored}

    # ---- what is asked for beside

    @property
    def games(self) -> list[Game]:
        """The newest whole games, as they came."""
        del self._games[:-WINDOW]
        return list(self._games)

    @property
    def observations(self) -> np.ndarray:
        """What players see now."""
        return np.concatenate([seen for seen, _ in self._looks()])

    @property
    def images(self) -> Sequence[np.ndarray | None]:
        """The same in colour."""
        return [image for _, images in self._looks() for image in images]

    def _looks(self) -> list[tuple[np.ndarray, list[np.ndarray | None]]]:
        self._start(1)
        return [self._look(seat) for seat in self._seats]

    def _look(self, seat: _Seat) -> tuple[np.ndarray, list[np.ndarray | None]]:
        try:
            seen, pictures = self.ray.get(seat.process.look.remote(), timeout=PATIENCE)
            return seen, pictures
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.GetTimeoutError):
            # Whoever waits for its play will notice. A picture without its games.
            count = self.config.envs // self.config.actors
            return np.zeros((count, *cast(spaces.Box, self.env.observation_space).shape), np.uint8), [None] * count
