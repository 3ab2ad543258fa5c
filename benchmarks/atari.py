"""Agents: the games alone, and whole training; ours against stable-baselines3 as its documentation sets it up.

    python benchmarks/atari.py --no-coord [--rounds 7] [--subproc] [--json FILE] [any flag of `python -m sandbox.rl`]
    python benchmarks/atari.py --no-coord --agent ppo [--precision bf16]
    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/atari.py --no-coord --env minatar:breakout        # on one core

Ours: ale-py's own vector of emulators, of MinAtar `rl.minatar.envs`; the precision that `--precision auto` resolves to
(bf16: channels_last). Theirs: ``VecFrameStack(make_atari_env(...), 4)`` and ``CnnPolicy`` with the same
hyperparameters, in float32; with --subproc one process a game; of MinAtar the library's own gymnasium environments,
channels first, and our network without coordinates. Both train through stable-baselines3's ``learn``, each side in a
process of its own; ours keeps freed memory, as every run of the bench does (base/memory.py). With --no-coord both have
the same network and, by default, the same rules of play; flags that change either, and --compile, change our side
alone. A round times the same number of agent steps on each side, in turn; the ratio is the median over rounds. Goals:
games alone 2, A2C 1.8 on two CPU cores, PPO 1.25 in float32 and 1.8 with bf16; A2C on MinAtar 14,000 agent steps/s on
one core.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from machine import machine
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack

from rl.agents import make_agent
from rl.minatar.games import game_of
from rl.policies import CoordCNN
from rl.spec import RlConfig, parse_kernels
from rl.suites import suite_of
from rl.vector import GameVecEnv
from sandbox.base.guard import guarded
from sandbox.base.memory import keep_freed_memory
from sandbox.cli.flags import whole_number
from sandbox.cli.train import parse
from sandbox.train.device import resolve_device, resolve_precision


def make_theirs(config: RlConfig, *, subproc: bool) -> VecEnv:
    kind = SubprocVecEnv if subproc else DummyVecEnv
    if config.suite == "minatar":
        return kind([partial(planes, config)] * config.envs)
    import ale_py

    gymnasium.register_envs(ale_py)
    env = make_atari_env(f"{config.env}NoFrameskip-v4", config.envs, seed=config.seed, vec_env_cls=kind)
    return VecFrameStack(env, 4)


def planes(config: RlConfig) -> gymnasium.Env[Any, Any]:
    """MinAtar's own environment, its planes as bytes and channels first, counted by Monitor."""
    from minatar.gym import BaseEnv

    env = BaseEnv(game_of(config.env), sticky_action_prob=config.sticky, difficulty_ramping=config.ramping)
    shape = np.asarray(env.reset()[0]).transpose(2, 0, 1).shape
    space = gymnasium.spaces.Box(0, 1, shape, np.uint8)
    seen = gymnasium.wrappers.TransformObservation(env, lambda obs: obs.transpose(2, 0, 1).astype(np.uint8), space)
    return Monitor(seen)


def make_plain_agent(config: RlConfig, env: VecEnv, device: str) -> A2C | PPO:
    shared: dict[str, Any] = {
        "learning_rate": config.lr, "n_steps": config.n_steps, "gamma": config.gamma, "gae_lambda": config.gae_lambda,
        "ent_coef": config.entropy, "vf_coef": config.value, "max_grad_norm": config.max_grad_norm, "device": device,
    }  # fmt: skip
    network: dict[str, Any] = {}
    if config.suite == "minatar":
        own = {name: getattr(config, name) for name in ("width", "features_dim", "pooling")}
        own |= {"coord": False, "kernels": parse_kernels(config.kernels)}
        network = {"features_extractor_class": CoordCNN, "net_arch": [], "features_extractor_kwargs": own}
    if config.agent == "ppo":
        return PPO("CnnPolicy", env, batch_size=config.minibatch, n_epochs=config.epochs, clip_range=config.clip,
                   policy_kwargs=network, **shared)  # fmt: skip
    rms = {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": config.rms_eps}}
    return A2C("CnnPolicy", env, policy_kwargs=network | rms, **shared)


def player(env: VecEnv, steps: int) -> Callable[[], None]:
    """Random actions, ``steps`` agent steps of all games together."""
    rng, actions = np.random.default_rng(0), int(cast(Any, env.action_space).n)
    env.reset()

    def play() -> None:
        for _ in range(steps // env.num_envs):
            env.step(rng.integers(actions, size=env.num_envs))

    return play


def learner(model: A2C | PPO, steps: int) -> Callable[[], None]:
    model.learn(model.n_steps * model.n_envs)  # sets up

    def learn() -> None:
        model.learn(steps, reset_num_timesteps=False)

    return learn


def serve(
    side: str, config: RlConfig, subproc: bool, device: str, precision: str, steps: int, orders: Connection
) -> None:
    """One side, in its process: takes ``games`` or ``training``, does that much of it, answers the seconds."""
    if side == "ours":
        keep_freed_memory()
    works: dict[str, Callable[[], None]] = {}

    def environment() -> VecEnv:
        if side == "theirs":
            return make_theirs(config, subproc=subproc)
        env = suite_of(config.env).make(config, config.envs, True, False)
        env.seed(config.seed)
        return env

    def prepared(what: str) -> Callable[[], None]:
        if what == "games":
            return player(environment(), steps)
        if side == "theirs":
            return learner(make_plain_agent(config, environment(), device), steps)
        agent = make_agent(config, cast(GameVecEnv, environment()), device, bf16=precision == "bf16")
        return learner(agent.model, steps)

    orders.send(torch.get_num_threads())
    with suppress(EOFError, KeyboardInterrupt):  # the benchmark is gone
        while True:
            what = orders.recv()
            if what not in works:
                works[what] = prepared(what)
            began = time.perf_counter()
            works[what]()
            orders.send(time.perf_counter() - began)


def begin(side: str, *given: Any) -> Connection:
    """Starts a side. No daemon: with --subproc it has processes of its own."""
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve, args=(side, *given, theirs)).start()
    theirs.close()
    return ours


def in_turn(what: str, key: str, sides: dict[str, Connection], steps: int, rounds: int) -> dict[str, Any]:
    """Times both sides in every round, after one that warms up; prints and returns rates and their ratio."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds + 1):
        for side, orders in sides.items():
            orders.send(key)
            times[side].append(orders.recv())
    ratios = [theirs / ours for theirs, ours in zip(times["theirs"][1:], times["ours"][1:], strict=True)]
    rates = {side: steps / statistics.median(taken[1:]) for side, taken in times.items()}
    ratio = statistics.median(ratios)
    print(f"{what}: theirs {rates['theirs']:.0f}, ours {rates['ours']:.0f} agent steps/s; "
          f"ratio {ratio:.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f})", flush=True)  # fmt: skip
    return {"ratio": ratio, "rounds": ratios, **{f"{side}_steps_per_second": rate for side, rate in rates.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=7)
    parser.add_argument("--stretch", type=whole_number(1, 10**8), default=8000, help="agent steps in a round")
    parser.add_argument("--subproc", action="store_true", help="theirs: one process a game")
    parser.add_argument("--json", type=Path)
    options, rest = parser.parse_known_args()
    order = parse("rl", rest)
    config, device = cast(RlConfig, order.config), resolve_device(order.device)  # type: ignore[arg-type]
    precision = resolve_precision(config.precision, device)
    steps = max(1, options.stretch // config.batch) * config.batch
    given = config, options.subproc, str(device), precision, steps
    sides = {side: begin(side, *given) for side in ("theirs", "ours")}
    try:
        threads = min(orders.recv() for orders in sides.values())
        print(f"{machine(str(device))}\n{config.agent} on {config.env}, ours {precision}, theirs float32, "
              f"{config.envs} games, {threads} threads a side", flush=True)  # fmt: skip
        games = in_turn("games alone", "games", sides, steps, options.rounds)
        training = in_turn("training", "training", sides, steps, options.rounds)
    finally:
        for orders in sides.values():
            orders.close()
    if options.json:
        document = {"games": games, "training": training, "precision": precision, "device": device,
                    "threads": threads, "env": config.env, "agent": config.agent}  # fmt: skip
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    guarded(main)
