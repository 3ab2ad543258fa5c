"""A finished run's networks and configuration, ready for a notebook."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sandbox.base.errors import UserError
from sandbox.base.types import Device
from sandbox.experiment.config import Config
from sandbox.experiment.run import Run, read_run
from sandbox.train.checkpoints import newest_checkpoint
from sandbox.train.device import resolve_device
from sandbox.train.make import build, restore, wanted
from sandbox.train.study import Study


@dataclass(frozen=True)
class Loaded:
    """What `load` returns.

    Attributes:
        run: the run's folder and identity.
        config: its configuration.
        networks: by name, in evaluation mode; a GAN has ``generator``, ``discriminator`` and ``ema``.
        study: the study around them: ``study.preview()``, ``study.film(...)``, ``study.evaluate()``.
        step: training steps the weights have behind them.
    """

    run: Run
    config: Config
    networks: dict[str, nn.Module]
    study: Study[Any]
    step: int


def load(run_folder: Path | str, device: Device = "auto") -> Loaded:
    """Reads a run folder back: ``sandbox.load("runs/gan/sort_of_clevr/coord/seed-0").networks["ema"]``.

    The folder is only read, so the run may be in progress; the random streams stay where they are.

    Args:
        run_folder: a run's folder, complete or interrupted.
        device: where the networks go.

    Raises:
        UserError: no run there, no whole checkpoint in it or one of other code, or no such device.
    """
    run, place = read_run(run_folder), resolve_device(device)
    checkpoint = newest_checkpoint(run.checkpoints, wanted(run))
    if checkpoint is None:
        raise UserError(f"{run.folder} has no whole checkpoint to load")
    streams = torch.get_rng_state(), random.getstate()
    study = build(run, place)
    torch.set_rng_state(streams[0])
    random.setstate(streams[1])
    restore(study, checkpoint, training=False)
    networks = {name: module.eval() for name, module in study.modules.items()}
    return Loaded(run, run.config, networks, study, checkpoint.step)
