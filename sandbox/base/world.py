"""What torchrun or Slurm announces: how many processes train this run, and which of them this one is.

No torch here: a help page must not wait for it. What the processes then do together is in processes.py.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """The processes of one run.

    Attributes:
        rank: this one's number, from 0.
        size: how many there are.
        nodes: the machines they run on, the same number on each.
    """

    rank: int = 0
    size: int = 1
    nodes: int = 1


def announced() -> World:
    """The world of the environment: torchrun's, that of a Slurm step of several tasks (``srun``), or this process."""
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        size = int(told["WORLD_SIZE"])
        return World(int(told["RANK"]), size, size // int(told["LOCAL_WORLD_SIZE"]))
    # Of the step, not of the job: a plain command in a batch script is one process, whatever the job may start later.
    size = int(told.get("SLURM_STEP_NUM_TASKS", "1"))
    return World(int(told["SLURM_PROCID"]), size, int(told["SLURM_STEP_NUM_NODES"])) if size > 1 else World()
