"""What a program may give the games, and when it may ask what: everything else is an error of one line, never a crash.

In a process of its own, where the tests' own check of types does not answer first, and where a crash would be seen.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from rl.protocol import LIMITS

# Each case is an expression over `env` (two games, reset) or `gone` (the same, closed); its error is what is reported.
REPORT = """
import json, sys
import numpy as np
import torch
from gymnasium.spaces import Box
from rl.emulators import Emulators, Watch
from rl.envs import AtariVecEnv
from rl.games import human_normalised
from rl.protocol import Protocol

nan, inf = float("nan"), float("inf")

def fresh(**others):
    return AtariVecEnv("Pong", 2, threads=1, render_mode="rgb_array", **others)

env, gone, new = fresh(), fresh(), fresh()
env.reset()
gone.reset()
gone.close()
gone.close()  # twice is as well as once
found = {}
for case in json.loads(sys.stdin.read() if len(sys.argv) < 2 else open(sys.argv[1]).read()):
    try:
        eval(case)
        found[case] = ["", ""]
    except Exception as error:
        found[case] = [type(error).__name__, str(error)]
    print(case, found[case], file=sys.stderr, flush=True)
print(json.dumps(found), flush=True)
"""


def reported(workshop: Any, folder: Path, cases: list[str]) -> dict[str, list[str]]:
    """Case -> the class and the text of its error; a crash, or a wait of the watch, fails."""
    (folder / "cases.json").write_text(json.dumps(cases))
    command = workshop.start(f"import sys\nsys.argv = ['', {str(folder / 'cases.json')!r}]\n{REPORT}")
    assert command.wait() == 0, command.stderr
    found: dict[str, list[str]] = json.loads(command.stdout.splitlines()[-1])
    return found


def refused(found: dict[str, list[str]], kind: str, words: dict[str, str]) -> None:
    for case, (name, line) in found.items():
        assert name == kind, f"{case}: {name} {line}"
        assert words[case] in line, f"{case}: {line}"
        assert "\n" not in line, case
        assert len(line) < 250, case


NO_COUNT = ("0", "-1", "1.5", "2.0", "nan", "'2'", "None", "True", "[2]", "4097", "10**30", "np.array([2])")
NO_THREADS = ("-1", "1.5", "nan", "'1'", "None", "True", "1025", "10**30")
NO_PATIENCE = ("0", "-1", "nan", "inf", "-inf", "1e300", "'60'", "None", "True", "1e-300", "10**400")
NO_INTEGERS = ("0.5", "nan", "'4'", "None", "True", "10**30", "[1]")


def of_arguments() -> dict[str, str]:
    cases = {f"AtariVecEnv('Pong', {value})": "num_envs must be a whole number from 1 to 4096" for value in NO_COUNT}
    cases |= {f"AtariVecEnv('Pong', 2, threads={value})": "threads must be a whole number from 0 to 1024"
              for value in NO_THREADS}  # fmt: skip
    cases |= {f"AtariVecEnv('Pong', 2, patience={value})": "patience must be a number from 0.001 to 1e+06"
              for value in NO_PATIENCE}  # fmt: skip
    cases |= {f"AtariVecEnv('Pong', 2, render_mode={value})": "render_mode must be 'rgb_array' or None"
              for value in ("'bogus'", "'human'", "''", "3", "True", "['rgb_array']")}  # fmt: skip
    cases |= {
        f"AtariVecEnv('Pong', 2, {value})": "protocol must be a Protocol or None" for value in ("{}", "4", "'sb3'")
    }
    cases |= {f"AtariVecEnv({value}, 2)": "game must be a name" for value in ("5", "None", "b'Pong'", "['Pong']")}
    cases |= {f"Watch({value})": "patience must be" for value in NO_PATIENCE}
    cases |= {f"Emulators('pong', {value}, Protocol(), env._watch)": "count must be" for value in NO_COUNT}
    return cases


def of_protocols() -> dict[str, str]:
    cases = {}
    for name, (low, high) in LIMITS.items():
        for value in (*NO_INTEGERS, str(low - 1), str(high + 1), "-5"):
            cases[f"Protocol({name}={value})"] = f"{name} must be a whole number from {low} to {high}, not "
    for value in ("-0.1", "1.1", "nan", "inf", "'0'", "None", "True", "[0.2]"):
        cases[f"Protocol(sticky={value})"] = "sticky must be a number from 0 to 1, not "
    for name in ("maxpool", "fire_start", "life_loss", "clip_rewards", "full_actions"):
        for value in ("1", "0", "None", "'yes'", "nan"):
            cases[f"Protocol({name}={value})"] = f"{name} must be True or False, not "
    for value in ("'bogus'", "None", "True", "''"):
        cases[f"Protocol(restart={value})"] = "restart must be 'native' or 'sb3', not "
    return cases


def of_steps() -> dict[str, str]:
    actions = (
        "[0]", "[0, 1, 2]", "[[0, 1]]", "0", "None", "'01'", "[]", "[0.0, 1.0]", "[nan, 0]", "[0, None]",
        "[True, False]", "[0, [1]]", "[[0], [1, 2]]", "[0, 6]", "[-1, 0]", "[2**70, 0]",
        "[1j, 0]", "['0', '1']", "{0, 1}",
        "np.array([2**63, 0], np.uint64)", "np.zeros((2, 300))", "torch.zeros(2)", "np.array(['NaT', 'NaT'], 'M8[s]')",
    )  # fmt: skip
    cases = {f"env.step({value})": "actions must be 2 whole numbers from 0 to 5, not " for value in actions}
    cases |= {
        f"env.seed({value})": "seed must be a whole number" for value in ("1.5", "'1'", "nan", "True", "[1]", "2**64")
    }
    for value in ("2", "-3", "[0, 2]", "'a'", "[None]", "1.5"):
        for call in ("get_attr('game', {})", "set_attr('x', 1, {})", "env_method('get_action_meanings', indices={})"):
            cases[f"env.{call.format(value)}"] = "indices must be a whole number from -2 to 1"
    del cases["env.get_attr('game', 1.5)"], cases["env.set_attr('x', 1, 1.5)"]  # no list, to stable-baselines3
    del cases["env.env_method('get_action_meanings', indices=1.5)"]
    return cases


@pytest.mark.parametrize("cases", [of_arguments(), of_protocols(), of_steps()], ids=["arguments", "protocols", "steps"])
def test_what_no_game_can_have_is_a_value_error(workshop: Any, tmp_path: Path, cases: dict[str, str]) -> None:
    refused(reported(workshop, tmp_path, list(cases)), "ValueError", cases)


def test_calls_out_of_order_are_runtime_errors(workshop: Any, tmp_path: Path) -> None:
    closed = {
        "gone.reset()": "reset", "gone.step([0, 0])": "step", "gone.step_async(np.array([0, 0]))": "step",
        "gone.step_wait()": "step", "gone.get_images()": "get_images", "gone.render()": "get_images",
        "gone.seed(1)": "seed", "gone.seed()": "seed",
        "gone.env_method('get_action_meanings')": "env_method 'get_action_meanings'",
    }  # fmt: skip
    cases = {case: f"{what} after close(): the environment is closed" for case, what in closed.items()}
    cases |= {
        f"gone._emulators.{call}": "after close(): the emulators are closed" for call in ("reset(np.array([1, 2]))",)
    }
    early = "reset the environment"
    cases |= {"new.step([0, 0])": early, "new.step_wait()": early, "env.step_wait()": early, "new.get_images()": early,
              "new.render()": early}  # fmt: skip
    refused(reported(workshop, tmp_path, list(cases)), "RuntimeError", cases)


@pytest.mark.slow
def test_what_is_at_the_ends_of_the_ranges_plays(workshop: Any, tmp_path: Path) -> None:
    def played(protocol: str, count: str = "1", others: str = "") -> str:
        new = f"AtariVecEnv('Pong', {count}, Protocol({protocol}){others})"
        return f"[(e.reset(), [e.step(np.zeros(e.num_envs, int)) for _ in range(3)], e.close()) for e in [{new}]]"

    cases = [
        played(protocol) for protocol in (
            "frameskip=1", "frameskip=64", "noop_max=0", "noop_max=1000", "size=1", "size=1024, stack=1", "stack=1",
            "stack=64", "max_frames=1", "max_frames=10**9", "sticky=1", "sticky=1.0", "sticky=np.float32(0.25)",
            "frameskip=np.int64(4)", "restart='sb3', stack=1", "restart='sb3', max_frames=1",
        )
    ]  # fmt: skip
    cases += [played("", "np.int32(2)"), played("", "2", ", threads=64"), played("", "1", ", patience=1000")]
    cases += ["json.dumps(Protocol(frameskip=np.int64(4), sticky=np.float32(0.25)).document())"]
    cases += [
        "env.step(torch.tensor([0, 1]))",
        "env.step([0, 1])",
        "env.step((np.uint8(0), 1))",
        "env.seed(np.int64(3))",
    ]
    cases += ["env.get_attr('game', -1)", "gone.get_attr('game')", "gone.close()", "new.close()"]
    found = reported(workshop, tmp_path, cases)
    assert {case: error for case, error in found.items() if error != ["", ""]} == {}


def test_what_is_no_game_is_said_with_the_nearest_name(workshop: Any, tmp_path: Path) -> None:
    cases = {
        "AtariVecEnv('Pongg', 2)": "no game 'Pongg'", "AtariVecEnv('', 2)": "no game ''",
        "human_normalised('Pongg', 1.0)": "did you mean 'Pong'?", "AtariVecEnv('x' * 9999, 1)": "no game 'xx",
    }  # fmt: skip
    refused(reported(workshop, tmp_path, list(cases)), "UserError", cases)
