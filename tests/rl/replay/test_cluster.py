"""Ape-X on Ray actors of this machine: what they send, a player that dies, a learner that is interrupted or killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from shop import ENVIRONMENT

from rl.agents import make_agent
from rl.replay.actor import Actor
from rl.replay.agent import make_policy
from rl.replay.cluster import Player, _Seat
from rl.replay.values import actor_epsilons
from rl.spec import RlConfig
from rl.suites import suite_of
from sandbox.base.errors import RunError, UserError

TINY: dict[str, Any] = {
    "env": "minatar:breakout", "agent": "apex", "actors": 2, "envs": 4, "batch": 8, "updates": 2, "steps": 400,
    "games": 2, "minibatch": 8, "replay": 2000, "learning_starts": 400, "width": 4, "features_dim": 16, "saliency": 0,
}  # fmt: skip


def test_a_player_sends_what_the_same_actor_in_one_process_keeps() -> None:
    """The same games and weights: the same transitions with the same priorities."""
    config = RlConfig(**TINY)
    player = Player(config, 1, 0, 1)
    policy = make_policy(config, player.env, bf16=False)
    env = suite_of(config.env).make(config, 2, True, False)
    env.seed(_seed_of(player))
    actor = Actor(env, policy, stack=1, n_steps=3, gamma=config.gamma, seed=config.seed, key="actor 1 0")
    epsilons = actor_epsilons(4)[2:]
    theirs, games = player.play(0, 60, {name: value.clone() for name, value in policy.state_dict().items()})
    ours = actor.play(0, 60, lambda step: epsilons)
    assert all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))
    assert [game["r"] for game in games] == [game["r"] for game in actor.games]


def _seed_of(player: Player) -> int:
    from sandbox.base.seeding import keyed_generator

    return int(torch.randint(2**31 - 1, (), generator=keyed_generator(player.actor.seed, "games", 1, 1, 0)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"actors": 3}, "envs (4) must be a multiple of actors (3)"),
        ({"actors": 0, "cluster": "auto"}, "cluster is for actors: say how many, --actors N"),
        ({"agent": "dqn"}, "actors (2) is a setting of apex alone"),
    ],
)
def test_what_does_not_go_together_is_one_line(values: dict[str, Any], said: str) -> None:
    from sandbox.experiment.config import COMMAND_LINE, validated

    with pytest.raises(UserError) as caught:
        validated(RlConfig, {**TINY, **values}, COMMAND_LINE)
    assert said in str(caught.value)


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    config = RlConfig(**TINY, cluster="127.0.0.1:1")
    env = suite_of(config.env).make(config, 4, True, False)
    agent = make_agent(config, env, "cpu")  # a finished run can be looked at without its cluster
    with pytest.raises(UserError, match=r"no Ray cluster at 127.0.0.1:1"):
        agent.begin([])
    agent.close()


def test_a_replay_that_does_not_fit_is_refused_before_a_cluster_is_joined() -> None:
    config = RlConfig(**TINY | {"replay_bytes": 1000})
    env = suite_of(config.env).make(config, 4, True, False)
    with pytest.raises(UserError, match="a replay of 2,000 transitions takes"):
        make_agent(config, env, "cpu")


class FakeRay:
    """A cluster of one core on which nothing ever comes back."""

    class exceptions:
        class RayActorError(Exception): ...

        class RayTaskError(Exception):
            def __init__(self, cause: Exception) -> None:
                self.cause = cause

        class GetTimeoutError(Exception): ...

        ActorDiedError = ActorUnavailableError = RayActorError

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def wait(self, tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return [], tasks

    def get(self, what: Any, timeout: float | None = None) -> Any:
        if isinstance(what, Exception):
            raise what
        return what

    def is_initialized(self) -> bool:
        return False


def _agent_on(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("rl.replay.cluster.connect", lambda *_: ray)
    config = RlConfig(**TINY)
    return make_agent(config, suite_of(config.env).make(config, 4, True, False), "cpu")


def test_more_players_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--actors 2: the cluster has 1 cores, and each player takes one"):
        _agent_on(FakeRay(), monkeypatch).begin([])


def _remote(answer: Any) -> Any:
    method = SimpleNamespace(remote=lambda *_: answer)
    method.options = lambda **_: method
    return method


def test_players_that_never_get_a_core_end_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = _agent_on(FakeRay(), monkeypatch)
    agent.ray, agent._first, agent._weights = FakeRay(), 1, {}
    agent._keeper = SimpleNamespace(__len__=_remote(0))
    agent._seats = [_Seat(0, SimpleNamespace(play=_remote((0, "games"))))]
    with pytest.raises(RunError, match="nothing came from 1 players for 600 s: is there a free core for each of them"):
        agent._play(1)
    assert capsys.readouterr().err.count("they may wait for a core") == 9


def test_what_goes_wrong_in_a_player_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, ray = _agent_on(FakeRay(), monkeypatch), FakeRay()
    agent.ray = ray
    wrong = ray.exceptions.RayTaskError(RuntimeError("the emulators hang\nTraceback ..."))
    with pytest.raises(RunError, match=r"^player 3: the emulators hang"):
        agent._take(_Seat(3, None, task=(None, wrong)), 2)


def test_a_picture_is_shown_without_the_games_of_a_player_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, ray = _agent_on(FakeRay(), monkeypatch), FakeRay()
    agent.ray, agent._seats = ray, [_Seat(0, SimpleNamespace(look=_remote(ray.exceptions.RayActorError())))]
    assert agent.observations.shape == (2, 4, 10, 10)
    assert agent.images == [None, None]


def _command(root: Path, *flags: object) -> "subprocess.Popen[str]":
    fields = {name: value for name, value in TINY.items() if name not in ("env", "agent")}
    words = [str(word) for name, value in fields.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = [sys.executable, "-m", "sandbox.rl", "--env", TINY["env"], "--agent", "apex", "--coord"]
    command += ["--device", "cpu", "--precision", "32", "--root", str(root), *words, *map(str, flags)]
    return subprocess.Popen(command, env=ENVIRONMENT, cwd=root, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip


def _children(process: "subprocess.Popen[str]") -> dict[int, str]:
    """Ray's processes of players and replay that belong to a command's session, and Ray's own."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                name = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"RAY_TEST_OF={process.args[process.args.index('--root') + 1]}".encode() in environment:  # type: ignore[union-attr,operator]
                found[int(entry.name)] = name
    found.pop(process.pid, None)
    return found


def _wait_for(ready: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_dead_player_is_replaced_and_a_run_that_ended_in_any_way_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "RAY_TEST_OF", str(tmp_path))
    run = tmp_path / "rl/minatar_breakout/coord/seed-0"
    metrics, flags = run / "metrics.jsonl", ("--log-every", 5, "--checkpoint-every", 5, "--preview-every", 400)

    def steps() -> int:
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    process = _command(tmp_path, *flags)
    _wait_for(lambda: steps() >= 2)
    players = [pid for pid, name in _children(process).items() if name.startswith("ray::Player")]
    assert len(players) == 2
    os.kill(players[0], signal.SIGKILL)
    before = steps()
    _wait_for(lambda: steps() >= before + 3)  # it goes on
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "died, another takes its place" in said
    _wait_for(lambda: not _children(process))

    process = _command(tmp_path, *flags)
    before = steps()
    _wait_for(lambda: steps() >= before + 2)
    (replay,) = [pid for pid, name in _children(process).items() if name.startswith("ray::Keeper")]
    os.kill(replay, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "the replay's process died: the same command continues from the last checkpoint" in said
    assert "Traceback" not in said
    _wait_for(lambda: not _children(process))

    process = _command(tmp_path, *flags)
    before = steps()
    _wait_for(lambda: steps() >= before + 2)
    process.kill()
    process.communicate()
    _wait_for(lambda: not _children(process))  # they notice that nobody waits for them any more

    process = _command(tmp_path, *flags)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "the replay is in no checkpoint: 400 agent steps are played before the run learns on" in said
    assert json.loads((run / "result.json").read_text())["steps"] == 400
    _wait_for(lambda: not _children(process))
