"""Whatever stands in the environment, a world is read from it or one line names the variable."""

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from shop import ENVIRONMENT

from sandbox.base.errors import UserError
from sandbox.base.world import World, announced

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "gpu1.cluster", "MASTER_PORT": "29500",
}  # fmt: skip
SLURM = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-09],cpu3", "SLURM_JOB_ID": "1234567",
}  # fmt: skip
NUMBERS = ("", " ", "a", "-1", "1.5", "1e3", "nan", "0x1", "٣", "9" * 30, "1\n2", "-0")  # none is a whole number >= 0
ADDRESSES = ("", " ", "two words", "http://there", "a;b", "x" * 300, "a\nb")


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")) or name in TORCHRUN:
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def refusal(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    given(monkeypatch, variables)
    with pytest.raises(UserError) as caught:
        announced()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 300
    return line


def test_what_torchrun_and_slurm_announce_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {})
    assert announced() == World()
    given(monkeypatch, TORCHRUN)
    assert announced() == World(3, 8, 4, 1, "gpu1.cluster", 29500)
    given(monkeypatch, SLURM)
    assert announced() == World(5, 8, 2, 1, "gpu07", 15000 + 4567)
    given(monkeypatch, {**SLURM, **TORCHRUN})  # torchrun within a Slurm step
    assert announced().address == "gpu1.cluster"
    given(monkeypatch, {**SLURM, "MASTER_ADDR": "::1", "MASTER_PORT": "7"})
    assert announced() == World(5, 8, 2, 1, "::1", 7)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("a,b", "a"), ("a b", "a"), ("a[5-9]", "a5"), ("a[12]", "a12"), ("a[3,5-9]b,c[1-2]", "a3b")],
)
def test_a_slurm_step_meets_on_its_first_machine(monkeypatch: pytest.MonkeyPatch, nodes: str, first: str) -> None:
    given(monkeypatch, {**SLURM, "SLURM_STEP_NODELIST": nodes})
    assert announced().address == first


def test_one_process_needs_no_meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "odd", "SLURM_NTASKS": "8"})
    assert announced() == World()
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    given(monkeypatch, {"TORCHELASTIC_RUN_ID": "x", **alone})
    assert announced() == World()
    given(monkeypatch, {"WORLD_SIZE": "odd", "RANK": "-1", "MASTER_PORT": "odd"})  # somebody's, without torchrun
    assert announced() == World()


@pytest.mark.parametrize(
    ("launched", "name"),
    [(TORCHRUN, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")]
    + [(SLURM, name) for name in ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_PROCID", "SLURM_LOCALID",
                                  "SLURM_JOB_ID", "MASTER_PORT")],
)  # fmt: skip
def test_a_number_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, launched: dict[str, str], name: str) -> None:
    for value in NUMBERS:
        line = refusal(monkeypatch, {**launched, name: value})
        assert line.startswith(f"{name} is {value!r}"[:30]), line
        assert "allowed" in line


@pytest.mark.parametrize("launched", [TORCHRUN, SLURM])
def test_a_variable_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, launched: dict[str, str]) -> None:
    marks, optional = ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"), ("SLURM_JOB_ID",)
    for name in launched.keys() - {*marks, *optional}:
        line = refusal(monkeypatch, {key: value for key, value in launched.items() if key != name})
        assert f"{name}" in line
        assert "not set" in line
    for mark in marks:
        assert mark in refusal(monkeypatch, {mark: "3"})


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"RANK": "8"}, "RANK is '8': allowed are whole numbers from 0 to 7, since WORLD_SIZE is 8"),
        ({"LOCAL_WORLD_SIZE": "9"}, "LOCAL_WORLD_SIZE is '9': allowed are whole numbers from 1 to 8, since WORLD_SIZE"),
        ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE is 3, but WORLD_SIZE is 8: allowed are its divisors"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0': allowed are whole numbers from 1 to 8"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK is '2': allowed are whole numbers from 0 to 1, since LOCAL_WORLD_SIZE is 2"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0': allowed are whole numbers from 1 to"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT is '0': allowed are whole numbers from 1 to 65535"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT is '65536'"),
    ],
)
def test_contradictions_of_torchrun(monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], line: str) -> None:
    assert refusal(monkeypatch, {**TORCHRUN, **changed}).startswith(line)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"SLURM_PROCID": "8"}, "SLURM_PROCID is '8': allowed are whole numbers from 0 to 7, since SLURM_STEP_NUM_TA"),
        ({"SLURM_STEP_NUM_NODES": "3"}, "SLURM_STEP_NUM_NODES is 3, but SLURM_STEP_NUM_TASKS is 8"),
        ({"SLURM_STEP_NUM_NODES": "9"}, "SLURM_STEP_NUM_NODES is '9': allowed are whole numbers from 1 to 8"),
        ({"SLURM_LOCALID": "4"}, "SLURM_LOCALID is '4': allowed are whole numbers from 0 to 3"),
        ({"SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST is ''"),
    ],
)
def test_contradictions_of_slurm(monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], line: str) -> None:
    assert refusal(monkeypatch, {**SLURM, **changed}).startswith(line)


@pytest.mark.parametrize("launched", [TORCHRUN, SLURM])
@pytest.mark.parametrize("value", ADDRESSES)
def test_an_address_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, launched: dict[str, str], value: str
) -> None:
    assert refusal(monkeypatch, {**launched, "MASTER_ADDR": value}).startswith("MASTER_ADDR is '")


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_what_lightning_would_stumble_over_is_said_without_a_launcher_too(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert refusal(monkeypatch, {name: "odd"}).startswith(f"{name} is 'odd': allowed are whole numbers")


# ---- commands


@pytest.mark.parametrize(
    "order",
    [("sandbox.gan", "--smoke"), ("sandbox.compare", "gan/sort_of_clevr"), ("sandbox", "train", "gan/sort_of_clevr"),
     ("sandbox.video", "runs/none")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("variables", [{"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "a"}, {"RANK": "odd"}])
def test_every_command_says_it_in_one_line(
    workshop: Any, tmp_path: Any, order: tuple[str, ...], variables: dict[str, str]
) -> None:
    name = list(variables)[-1]
    root = ("--root", tmp_path) if order[0] != "sandbox.video" else ()
    command = workshop.module(*order, *root, before=f"import os\nos.environ.update({variables!r})", cwd=tmp_path)
    assert command.wait() == 2
    (line,) = command.stderr.splitlines()
    assert line.startswith(f"error: {name} is ")
    assert not list(tmp_path.rglob("*.yaml"))


MEET = """
from sandbox.base.guard import guarded
from sandbox.train import processes
from sandbox.train.device import make_fabric
import torch
def meet():
    with processes.joined():
        fabric = make_fabric("cpu", "32")
        assert (fabric.world_size, fabric.global_rank) == (2, processes.rank())
        print(processes.count(), float(processes.mean(torch.tensor(float(processes.rank())))))
guarded(meet)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def started(before: str = "", **variables: object) -> "subprocess.Popen[str]":
    told = {name: str(value) for name, value in variables.items()}
    code = f"from sandbox.train import processes\n{before}\n{MEET}"
    return subprocess.Popen([sys.executable, "-c", code], env={**ENVIRONMENT, **told}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_a_slurm_step_meets_without_flags_for_lightning() -> None:
    """srun -n 2, of which Slurm tells no SLURM_NTASKS_PER_NODE, which Lightning's own reader wants."""
    step = {**STEP, "SLURM_NTASKS": 2, "MASTER_PORT": free_port()}
    both = [started(**{**step, "SLURM_PROCID": k, "SLURM_LOCALID": k}) for k in (0, 1)]
    (out, complaints), (silence, others) = (process.communicate(timeout=400) for process in both)
    assert [process.returncode for process in both] == [0, 0], complaints + others
    assert (out.splitlines()[-1], silence) == ("2 0.5", "")


STEP = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_NUM_NODES": 1, "SLURM_PROCID": 0, "SLURM_LOCALID": 0}


def ended(code: int, before: str = "", **variables: object) -> str:
    """The last line of what a process complains about that starts alone and ends by itself."""
    with started(before, **STEP, **variables) as process:
        _, complaints = process.communicate(timeout=400)
    assert process.returncode == code, complaints
    assert "Traceback" not in complaints
    line: str = complaints.splitlines()[-1]
    return line


def test_a_machine_that_nobody_knows_is_said() -> None:
    line = ended(2, MASTER_ADDR="no-such-machine.invalid", MASTER_PORT=29500)
    assert line.startswith("error: MASTER_ADDR is 'no-such-machine.invalid' and MASTER_PORT is 29500: the processes")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = ended(2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    assert line.startswith(f"error: MASTER_ADDR is '127.0.0.1' and MASTER_PORT is {port}: the processes cannot meet")


@pytest.mark.slow
def test_a_process_that_does_not_come_is_not_waited_for_without_end() -> None:
    shorter = "from datetime import timedelta\nprocesses._MEETING = timedelta(seconds=1)"
    line = ended(2, shorter, MASTER_PORT=free_port())
    assert line.startswith("error: MASTER_ADDR is '127.0.0.1' and MASTER_PORT is ")
    assert "1/2 clients joined" in line


@pytest.mark.slow
def test_two_processes_of_one_number_are_not_waited_for_without_end() -> None:
    shorter = "from datetime import timedelta\nprocesses._MEETING = timedelta(seconds=20)"
    step = {**STEP, "SLURM_STEP_NUM_TASKS": 3, "MASTER_PORT": free_port()}
    numbers = (0, 1, 1)
    three = [started(shorter, **{**step, "SLURM_PROCID": number, "SLURM_LOCALID": number}) for number in numbers]
    for process in three:
        _, complaints = process.communicate(timeout=400)
        assert process.returncode in (1, 2), complaints
        assert "Traceback" not in complaints
        # The second, where the machine is so slow that they start far apart.
        assert "has not come: MASTER_ADDR is '127." in complaints or "the processes cannot meet there" in complaints
