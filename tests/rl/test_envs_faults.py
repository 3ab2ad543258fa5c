"""What must not happen to the games: stray bytes, wrong actions, emulators that hang, interrupted steps."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.emulators import Frames, Watch
from sandbox.base.errors import RunError

sys.path.insert(0, str(Path(__file__).parent))
from arcade import make, play


@pytest.mark.parametrize(
    ("restart", "cut"),
    [("native", 600), *(pytest.param(restart, 108_000, marks=pytest.mark.slow) for restart in ("native", "sb3"))],
)
def test_no_uninitialised_byte_reaches_the_learner(monkeypatch: pytest.MonkeyPatch, restart: str, cut: int) -> None:
    """Every row of the final pictures that the emulators do not write is filled with a value that no game shows."""
    mark, poisoned = 213, 0

    def poison(frames: Frames, over: np.ndarray) -> None:
        nonlocal poisoned
        if frames.final is not None:
            frames.final.flags.writeable = True
            frames.final[~over] = mark
            poisoned += int((~over).sum())

    env, clean = (make("Breakout", 3, restart=restart, max_frames=cut) for _ in range(2))
    step = env._emulators.step

    def marked(actions: np.ndarray) -> Frames:
        before = env._now
        assert before is not None
        frames = step(actions)
        poison(frames, frames.started_anew(before))
        return frames

    monkeypatch.setattr(env._emulators, "step", marked)
    lives = cuts = 0
    for ours, theirs in zip(play(env, 450), play(clean, 450), strict=True):
        assert np.array_equal(ours[0], theirs[0])
        for mine, other in zip(ours[3], theirs[3], strict=True):
            lives += "terminal_observation" in mine and "episode" not in mine
            cuts += mine["TimeLimit.truncated"]
            if "episode" in mine:
                assert np.array_equal(mine["terminal_observation"], other["terminal_observation"])
            if "terminal_observation" in mine:
                assert not (mine["terminal_observation"] == mark).all((1, 2)).any()
    assert cuts > 2 if cut == 600 else lives > 5
    assert poisoned > 5


@pytest.mark.parametrize(
    "actions",
    [[0, 4], [-1, 0], [0], [0.0, 1.0], [[0, 1]], ["0", "1"]],
    ids=["high", "low", "few", "float", "2-d", "text"],
)
def test_actions_are_checked_before_they_are_sent(actions: list[Any]) -> None:
    env = make("Breakout", 2)
    env.reset()
    with pytest.raises(ValueError, match="2 whole numbers from 0 to 3"):
        env.step(np.array(actions))
    env.step(np.array([3, 0]))  # and it plays on


def test_steps_before_the_reset_are_refused() -> None:
    env = make()
    env.step_async(np.array([0]))
    with pytest.raises(RuntimeError, match="reset"):
        env.step_wait()


def test_emulators_that_hang_end_the_run() -> None:
    """An action out of range, sent past the check, blocks ale-py for ever; the program ends all the same."""
    code = """
import numpy as np
from rl.envs import AtariVecEnv
from sandbox.base.guard import guarded
env = AtariVecEnv("Breakout", 2, patience=2)
env.reset()
def hang():
    env._actions = np.array([99, 0])
    env.step_wait()
guarded(hang)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()  # and no report of what ale-py's bindings leak
    assert "a step did not return within 2 s: the emulators hang" in line


def test_the_watch_hands_on_what_a_call_raises_and_gives_up_on_none_that_returns() -> None:
    watch = Watch(5.0)
    assert watch.call(lambda: 3, "it") == 3
    with pytest.raises(ZeroDivisionError):
        watch.call(lambda: 1 // 0, "it")
    watch.patience = 0.05
    with pytest.raises(RunError, match="it did not return within"):
        watch.call(threading.Event().wait, "it")


def test_a_reset_of_many_games_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    env, asked = make(count=3), list[float]()
    monkeypatch.setattr("rl.emulators.USUAL", 2)
    call = env._watch.call
    monkeypatch.setattr(env._watch, "call", lambda *given: asked.append(given[2]) or call(*given))  # type: ignore[func-returns-value]
    env.reset()
    assert asked == [1.5]
    watch = Watch(0.05)
    assert watch.call(lambda: time.sleep(0.3) or 3, "it", 200.0) == 3  # type: ignore[func-returns-value]


class _Interrupted:
    """The answers of a watch; the first wait for one ends as Ctrl-C ends it."""

    def __init__(self, answers: Any) -> None:
        self.answers, self.waits = answers, 0

    def get(self, timeout: float) -> Any:
        self.waits += 1
        if self.waits == 1:
            raise KeyboardInterrupt
        return self.answers.get(timeout=timeout)


def test_an_answer_that_was_not_waited_for_is_no_answer_to_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(5.0)
    monkeypatch.setattr(watch, "_answers", _Interrupted(watch._answers))
    with pytest.raises(KeyboardInterrupt):
        watch.call(lambda: "first", "it")
    assert watch.call(lambda: "second", "it") == "second"
    assert watch.call(lambda: "third", "it") == "third"


def test_after_an_interrupted_step_the_games_must_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make()
    env.reset()

    def interrupted(function: Any, what: str, times: float = 1.0) -> Any:
        function()  # the emulators step all the same
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(env._watch, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.step(np.array([0]))
    with pytest.raises(RuntimeError, match="reset the environment"):
        env.step(np.array([0]))
    env.reset()
    env.step(np.array([0]))
