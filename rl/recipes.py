"""The published recipes, in one table: what an agent trains with on a suite of games, where nothing else is given.

A2C, Atari: RL Baselines3 Zoo, ``hyperparams/a2c.yml``, ``atari``; what it leaves out is stable-baselines3's default.
PPO, Atari: the Zoo's ``hyperparams/ppo.yml``, ``atari``, which are those of Schulman et al. 2017 (arXiv 1707.06347) and
of CleanRL; rate and clipping fall to 0 over the run's own length.
DQN, Atari: the Zoo's ``hyperparams/dqn.yml``, ``atari``, but for 16 games at a time and one update of 128 transitions
in place of four of 32, which takes half the time, at twice its rate; double, dueling, prioritised, of three steps,
the parts of Hessel et al. 2018 (arXiv 1710.02298), priorities and their weights by Ape-X's numbers.
Ape-X, Atari: Horgan et al. 2018 (arXiv 1803.00933) and their own published replication; Adam in place of RMSProp.
MinAtar: network, sticky actions and ramping of Young and Tian 2019 (arXiv 1903.03176), whose own agents learn online,
one game at a time, and pass no recipe on to parallel ones: the agents' numbers are those of Atari but for those in
``_PAIRS`` below, which are ours: PPO's rate, 1e-3, chosen on Breakout, seed 100; for replays of 100,000 DQN's and
Ape-X's rate, 5e-4, and where they begin to learn, and Ape-X's minibatch and target. No cap on a game's length is
published: 10,000 frames are ours.
"""

from collections.abc import Mapping
from typing import Any, Literal

AgentName = Literal["a2c", "ppo", "dqn", "apex"]
SuiteName = Literal["atari", "minatar"]

_Q: dict[str, Any] = {
    "envs": 16, "batch": 16, "lr_schedule": "constant", "gamma": 0.99, "multi_step": 3, "alpha": 0.6, "beta": 0.4,
    "play_epsilon": 0.01, "steps": 625_000, "log_every": 500, "preview_every": 62_500, "checkpoint_every": 12_500,
}  # fmt: skip
_AGENTS: dict[str, dict[str, Any]] = {
    "a2c": {
        "envs": 16, "batch": 80, "lr": 7e-4, "lr_schedule": "constant", "gamma": 0.99, "gae_lambda": 1.0,
        "entropy": 0.01, "value": 0.25, "max_grad_norm": 0.5, "rms_decay": 0.99, "rms_eps": 1e-5,
        "steps": 125_000, "log_every": 100, "preview_every": 12_500, "checkpoint_every": 2_500,
    },
    "ppo": {
        "envs": 8, "batch": 1024, "lr": 2.5e-4, "lr_schedule": "linear", "gamma": 0.99, "gae_lambda": 0.95,
        "entropy": 0.01, "value": 0.5, "max_grad_norm": 0.5,
        "epochs": 4, "minibatch": 256, "clip": 0.1, "adam_eps": 1e-5,
        "steps": 9766, "log_every": 8, "preview_every": 977, "checkpoint_every": 200,
    },
    "dqn": _Q | {
        "lr": 2e-4, "minibatch": 128, "updates": 1, "max_grad_norm": 10.0, "target_every": 63, "adam_eps": 1e-8,
        "replay": 100_000, "replay_bytes": 10**9, "learning_starts": 100_000, "explore": 0.1, "end_epsilon": 0.01,
    },
    "apex": _Q | {
        "lr": 6.25e-5, "minibatch": 512, "updates": 1, "max_grad_norm": 40.0, "target_every": 2_500,
        "adam_eps": 1.5e-7, "replay": 2**21, "replay_bytes": 25 * 10**9, "learning_starts": 50_000,
    },
}  # fmt: skip
_SUITES: dict[str, dict[str, Any]] = {
    "atari": {
        "kernels": "8x4 4x2 3x1", "width": 32, "features_dim": 512, "frameskip": 4, "sticky": 0.0,
        "noop_max": 30, "life_loss": True, "clip_rewards": True, "max_frames": 108_000,
    },
    "minatar": {
        "kernels": "3x1", "width": 16, "features_dim": 128, "frameskip": 1, "sticky": 0.1,
        "noop_max": 0, "life_loss": False, "clip_rewards": False, "max_frames": 10_000,
    },
}  # fmt: skip
_Q_MINATAR: dict[str, Any] = {  # 500,000 agent steps
    "steps": 31_250, "preview_every": 3_125, "checkpoint_every": 3_125, "learning_starts": 5_000, "lr": 5e-4,
}  # fmt: skip
_PAIRS: dict[tuple[str, str], dict[str, Any]] = {
    ("a2c", "minatar"): {"steps": 25_000, "preview_every": 2_500},  # 2 M agent steps
    ("ppo", "minatar"): {"steps": 1_954, "preview_every": 196, "lr": 1e-3},
    ("dqn", "minatar"): _Q_MINATAR,
    ("apex", "minatar"): _Q_MINATAR | {
        "minibatch": 128, "target_every": 63, "replay": 100_000, "replay_bytes": 10**9,
    },
}  # fmt: skip
# Fields that some agents or one suite alone have a use for: anything but its recipe's value is refused elsewhere.
OWNERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("epochs", "clip"), ("ppo",)),
    **dict.fromkeys(("minibatch", "adam_eps"), ("ppo", "dqn", "apex")),
    **dict.fromkeys(("rms_decay", "rms_eps"), ("a2c",)),
    **dict.fromkeys(("gae_lambda", "entropy", "value", "heads", "lr_schedule"), ("a2c", "ppo")),
    **dict.fromkeys(("replay", "replay_bytes", "learning_starts", "target_every"), ("dqn", "apex")),
    **dict.fromkeys(("multi_step", "updates", "alpha", "beta", "play_epsilon"), ("dqn", "apex")),
    **dict.fromkeys(("explore", "end_epsilon"), ("dqn",)),
    **dict.fromkeys(("actors", "cluster"), ("apex",)),
    "compile": ("a2c", "ppo"),  # TorchRL's loss swaps the weights of its network
    **dict.fromkeys(("frameskip", "noop_max", "life_loss", "restart", "threads"), ("atari",)),
    "ramping": ("minatar",),
}


def suite_name(env: str) -> str:
    """The suite that an environment's name points to: what stands before the colon; without one Atari."""
    before, colon, _ = env.partition(":")
    own = env.strip().lower().startswith(("minatar/", "minatar_"))  # gymnasium's way, and that of our folders
    return before.strip().lower() if colon else "minatar" if own else "atari"


def recipe(agent: str, suite: str) -> Mapping[str, Any]:
    """Field -> value; empty for an agent or a suite that is not known."""
    if agent not in _AGENTS or suite not in _SUITES:
        return {}
    return {**_AGENTS[agent], **_SUITES[suite], **_PAIRS.get((agent, suite), {})}


USUAL = recipe("a2c", "atari")


def told(field: str) -> str:
    """What the recipes have for a field, for its help: ``a2c 0.0007, ppo 0.00025``; of one value nothing else."""
    found = {(agent, suite): recipe(agent, suite)[field] for agent in _AGENTS for suite in _SUITES
             if field in recipe(agent, suite)}  # fmt: skip
    for which in (0, 1):
        names = dict.fromkeys(key[which] for key in found)
        by = {name: {value for key, value in found.items() if key[which] == name} for name in names}
        if all(len(values) == 1 for values in by.values()) and len(set(found.values())) > 1:
            return ", ".join(f"{name} {_text(*values)}" for name, values in by.items())
    if len(set(found.values())) == 1:
        return _text(*set(found.values()))
    return ", ".join(f"{agent} on {suite} {_text(value)}" for (agent, suite), value in found.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
