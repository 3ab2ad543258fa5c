"""Learning from stored play: ours against stable-baselines3's DQN, the replay by its size, and what actors need.

    OMP_NUM_THREADS=1 python benchmarks/replay.py [--env minatar:breakout] [--rounds 7] [--players 0 1 2] [--json FILE]

Training: the same games, convolutions, dense layer and transitions learned for an agent step, in float32, in turn in
one process; the ratio is the median over rounds. Theirs is as the Zoo has it: updates of 32. Ours has fewer and larger
ones, and is double, dueling, prioritised and of three steps, which theirs is not, so that the work is not equal. Goal:
2.
Replay: a sample of a batch with its pictures, and new priorities. Units: what a player plays and sends and what the
learner takes in, one core each; docs/scaling.md reckons with these. Players: Ape-X in one process and with Ray players
in processes of their own, whose learner may use what cores there are.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from stable_baselines3 import DQN

from rl.agents import make_agent
from rl.policies import CoordCNN
from rl.replay.agent import QLearning
from rl.replay.cluster import ApexOnRay
from rl.replay.recorder import Chunk
from rl.replay.store import Size, Store
from rl.spec import RlConfig, parse_kernels
from rl.suites import suite_of
from rl.vector import GameVecEnv
from sandbox.base.guard import guarded
from sandbox.base.memory import keep_freed_memory
from sandbox.cli.flags import whole_number

ZOO_BATCH = 32
FILLED = 2000  # agent steps before the first update, of both


def games(config: RlConfig) -> GameVecEnv:
    env = suite_of(config.env).make(config, config.envs, True, False)
    env.seed(config.seed)
    return env


def ours(config: RlConfig) -> Callable[[int], None]:
    agent = make_agent(config, games(config), "cpu")
    agent.begin([])
    step = 0

    def train(steps: int) -> None:
        nonlocal step
        for _ in range(steps // config.batch):
            step += 1
            agent.update(step)

    train(config.batch)
    return train


def theirs(config: RlConfig) -> Callable[[int], None]:
    names = "coord", "width", "features_dim", "pooling"
    network = {name: getattr(config, name) for name in names} | {"kernels": parse_kernels(config.kernels)}
    model = DQN(
        "CnnPolicy", games(config), learning_rate=config.lr, buffer_size=config.replay, learning_starts=FILLED,
        batch_size=ZOO_BATCH, train_freq=config.n_steps, gradient_steps=config.updates * config.minibatch // ZOO_BATCH,
        target_update_interval=config.target_every * config.batch // config.updates, gamma=config.gamma, device="cpu",
        policy_kwargs={"features_extractor_class": CoordCNN, "features_extractor_kwargs": network, "net_arch": [],
                       "normalize_images": False},
    )  # fmt: skip
    model.learn(FILLED)
    return lambda steps: model.learn(steps, reset_num_timesteps=False) and None


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def training(config: RlConfig, rounds: int, steps: int) -> dict[str, Any]:
    sides = {"ours": ours(config), "theirs": theirs(config)}
    took: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, train in sides.items():
            took[side].append(seconds(lambda train=train: train(steps)))  # type: ignore[misc]
    ratios = [b / a for a, b in zip(took["ours"], took["theirs"], strict=True)]
    found = {f"{side}_steps_per_second": steps / statistics.median(took[side]) for side in sides}
    return {**found, "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def replay(size: int, picture: tuple[int, int, int], stack: int, batch: int) -> dict[str, float]:
    """Milliseconds of adding a transition, of a sample and of its new priorities, in a full store."""
    store, random = Store(Size(size, 10**11), picture, alpha=0.6, beta=0.4), np.random.default_rng(0)
    part = min(1000, size)
    for first in range(0, size, part):
        rows = first + np.arange(part)[:, None] - np.arange(stack)[::-1]
        chunk = Chunk(
            first, random.integers(0, 2, (part, *picture)).astype(np.uint8), rows.clip(0), rows.clip(0),
            random.integers(6, size=part), np.zeros(part, np.float32), np.full(part, 3), np.zeros(part, bool),
            random.random(part).astype(np.float32),
        )  # fmt: skip
        added = seconds(lambda chunk=chunk: store.add(chunk))  # type: ignore[misc]
    samples, updates = [], []
    for number in range(200):
        began = time.perf_counter()
        drawn = store.sample(batch, 0, number)
        samples.append(time.perf_counter() - began)
        updates.append(seconds(lambda drawn=drawn: store.update(drawn["index"], torch.rand(batch))))  # type: ignore[misc]
    return {"add": 1e3 * added / part, "sample": 1e3 * statistics.median(samples),
            "update": 1e3 * statistics.median(updates)}  # fmt: skip


def units(config: RlConfig) -> dict[str, float]:
    """What a player and the learner do in a second, and the bytes of a transition that is sent."""
    agent = make_agent(config, games(config), "cpu")
    assert isinstance(agent, QLearning)
    agent.begin([])
    chunk = agent.actor.play(0, 200, agent.epsilons)
    played = seconds(lambda: agent.actor.play(200, 200, agent.epsilons))
    agent.store.add(chunk)
    batch = agent.store.sample(config.minibatch, 0, 1)
    learned = statistics.median(seconds(lambda: agent.learner.learn(batch, 1)) for _ in range(50))
    sent = sum(np.asarray(part).nbytes for part in chunk)
    return {"player_steps_per_second": 200 * config.envs / played, "bytes_per_transition": sent / len(chunk.action),
            "updates_per_second": 1 / learned, "batch": config.minibatch,
            "weights_bytes": 4.0 * sum(p.numel() for p in agent.policy.parameters())}  # fmt: skip


def with_players(env: str, count: int, rounds: int, steps: int) -> dict[str, float]:
    """Agent steps a second of Ape-X with so many players on Ray; 0: in one process. Median and range of rounds."""
    config = RlConfig(env=env, agent="apex", coord=False, actors=count, learning_starts=FILLED)
    agent = make_agent(config, games(config), "cpu")
    agent.begin([])
    agent.update(1)
    each = max(1, steps // config.batch)

    def train(first: int) -> None:
        for step in range(first, first + each):
            agent.update(step)

    rates = [each * config.batch / seconds(lambda first=2 + k * each: train(first))  # type: ignore[misc]
             for k in range(rounds)]  # fmt: skip
    if isinstance(agent, ApexOnRay):
        agent.close()
    return {"steps_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env", default="minatar:breakout")
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=7)
    parser.add_argument("--steps", type=whole_number(16, 10**6), default=1600, help="agent steps of a round")
    parser.add_argument("--sizes", type=whole_number(10, 10**8), nargs="+", default=[10_000, 100_000])
    parser.add_argument("--players", type=whole_number(0, 16), nargs="*", default=[], help="numbers of Ray players")
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    keep_freed_memory()
    config = RlConfig(env=flags.env, agent="dqn", coord=False, learning_starts=FILLED)
    env = games(config)
    channels, *side = env.observation_space.shape or ()
    picture = (channels // env.stack, side[0], side[1])
    found: dict[str, Any] = {"machine": machine(), "env": flags.env, "units": units(config)}
    found["replay_ms"] = {size: replay(size, picture, env.stack, config.minibatch) for size in flags.sizes}
    found["players"] = {n: with_players(flags.env, n, flags.rounds, flags.steps) for n in flags.players}
    found["training"] = training(config, flags.rounds, flags.steps)
    print(json.dumps(found, indent=1))
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    guarded(main)
