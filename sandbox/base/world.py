"""What torchrun or Slurm announces: how many processes train this run, which of them this one is, where they meet.

No torch here: a help page must not wait for it. What the processes then do together is in processes.py.
"""

import os
import re
from dataclasses import dataclass

from sandbox.base.errors import UserError, one_line

_MOST = 10**6  # processes
_ALONE_PORT = 12910  # where a Slurm step meets that belongs to no job
# Lightning reads them as whole numbers when it is imported, whoever has set them.
_READ_BY_LIGHTNING = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


@dataclass(frozen=True)
class World:
    """The processes of one run.

    Attributes:
        rank: this one's number, from 0.
        size: how many there are.
        nodes: the machines they run on, the same number on each.
        local: this one's number on its machine, from 0.
        address: of the machine of the first process, where all meet; empty where there is one process.
        port: of that machine; 0 where there is one process.
    """

    rank: int = 0
    size: int = 1
    nodes: int = 1
    local: int = 0
    address: str = ""
    port: int = 0

    @property
    def here(self) -> int:
        """How many processes run on each machine."""
        return self.size // self.nodes


def announced() -> World:
    """The world of the environment: torchrun's, that of a Slurm step of several tasks (``srun``), or this process.

    Raises:
        UserError: a variable is missing, no number, out of range or contradicts another one; it names the variable.
    """
    for name in _READ_BY_LIGHTNING:
        _check_stray(name)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _torchrun()
    # Of the step, not of the job: a plain command in a batch script is one process, whatever the job may start later.
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return _slurm()
    return World()


def _torchrun() -> World:
    why = "TORCHELASTIC_RUN_ID is set: start with torchrun, or unset it"
    size = _number("WORLD_SIZE", 1, _MOST, why)
    rank = _number("RANK", 0, size - 1, why, f"WORLD_SIZE is {size}")
    here = _number("LOCAL_WORLD_SIZE", 1, size, why, f"WORLD_SIZE is {size}")
    if size % here:
        raise UserError(f"LOCAL_WORLD_SIZE is {here}, but WORLD_SIZE is {size}: "
                        "allowed are its divisors, since every machine runs as many processes")  # fmt: skip
    local = _number("LOCAL_RANK", 0, here - 1, why, f"LOCAL_WORLD_SIZE is {here}")
    if size == 1:
        return World()
    return World(rank, size, size // here, local, _address("MASTER_ADDR", why), _number("MASTER_PORT", 1, 65535, why))


def _slurm() -> World:
    why = "SLURM_STEP_NUM_TASKS is set: start with srun, or unset it"
    size = _number("SLURM_STEP_NUM_TASKS", 1, _MOST, why)
    if size == 1:
        return World()
    steps = f"SLURM_STEP_NUM_TASKS is {size}"
    rank = _number("SLURM_PROCID", 0, size - 1, why, steps)
    nodes = _number("SLURM_STEP_NUM_NODES", 1, size, why, steps)
    if size % nodes:
        raise UserError(f"SLURM_STEP_NUM_NODES is {nodes}, but SLURM_STEP_NUM_TASKS is {size}: "
                        "allowed are its divisors, since every machine runs as many processes")  # fmt: skip
    local = _number("SLURM_LOCALID", 0, size // nodes - 1, why, f"{steps} on {nodes} machines")
    return World(rank, size, nodes, local, _slurm_address(nodes, why), _slurm_port(why))


def _slurm_address(nodes: int, why: str) -> str:
    """What the user has set, else the first machine of the step."""
    if "MASTER_ADDR" in os.environ:
        return _address("MASTER_ADDR", why)
    name = next((name for name in ("SLURM_STEP_NODELIST", "SLURM_NODELIST") if name in os.environ), None)
    if name is None:
        if nodes > 1:
            raise UserError(f"MASTER_ADDR is not set, nor is SLURM_STEP_NODELIST, and the run is on {nodes} machines: "
                            "set it to the name of the first one")  # fmt: skip
        return "127.0.0.1"
    # gpu[07-09,12],cpu3: the first of each range, then the first of all.
    first = re.split(r"[ ,]", re.sub(r"\[(.*?)(?:[,-][^\]]*)?\]", r"\1", os.environ[name]))[0]
    return _address(name, why, first)


def _slurm_port(why: str) -> int:
    """What the user has set, else one that depends on the job: steps of several jobs may share a machine."""
    if "MASTER_PORT" in os.environ:
        return _number("MASTER_PORT", 1, 65535, why)
    if "SLURM_JOB_ID" not in os.environ:
        return _ALONE_PORT
    return 15000 + _number("SLURM_JOB_ID", 0, 2**32, why) % 10_000


def _number(name: str, low: int, high: int, why: str, bound: str = "") -> int:
    allowed = f"allowed are whole numbers from {low} to {high}" if high > low else f"allowed is {low}"
    text = os.environ.get(name)
    if text is None:
        raise UserError(f"{name} is not set ({allowed}), but {why}")
    # ASCII alone: Python would read other digits, other programs not.
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else -1
    if not low <= number <= high:
        raise UserError(f"{name} is {_shown(text)}: {allowed}{f', since {bound}' if bound else ''}; {why}")
    return number


def _address(name: str, why: str, host: str | None = None) -> str:
    allowed = "allowed is the name or the address of a machine"
    text = os.environ.get(name)
    if text is None:
        raise UserError(f"{name} is not set ({allowed}), but {why}")
    host = text if host is None else host
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", host):
        raise UserError(f"{name} is {_shown(text)}: {allowed}; {why}")
    return host


def _check_stray(name: str) -> None:
    text = os.environ.get(name, "0")
    try:
        int(text)
    except ValueError:
        message = f"{name} is {_shown(text)}: allowed are whole numbers, since Lightning reads it; unset it"
        raise UserError(message) from None


def _shown(text: str) -> str:
    return one_line(repr(text), 60)
