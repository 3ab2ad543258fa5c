"""A run from the state of its folder to its result: opened, trained from where it stands, scored, filmed.

study = build(run, device)          # networks and optimisers, fresh
result = complete(run, study)       # train from the newest checkpoint on, score, render
make(run, "auto")                   # both, under the run's lock, and what a command prints of it
"""

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml

from sandbox.base.errors import UserError
from sandbox.base.guard import resumable
from sandbox.base.reading import Unreadable
from sandbox.experiment.run import Run, read_run
from sandbox.experiment.spec import study_spec
from sandbox.train import processes
from sandbox.train.checkpoints import Checkpoint, Wanted, newest_checkpoint, read_checkpoint
from sandbox.train.device import make_fabric
from sandbox.train.finish import finish
from sandbox.train.loop import Loop
from sandbox.train.study import Study
from sandbox.train.tracking import Tracker


def build(run: Run, device: str) -> Study[Any]:
    """The study of a run with fresh networks; seeds the random streams of torch and Python."""
    study = study_spec(run.study).load()
    torch.manual_seed(run.config.seed)
    random.seed(run.config.seed)
    return study(run.config, make_fabric(device, run.precision))


def make(run: Run, device: str, *, overwrite: bool = False, evaluate: bool = False, patience: float = 0.0) -> None:
    """Makes a run complete, or says that it is; prints its costs and, at the end, its scores.

    Args:
        run: where it is to lie and what it is; its folder may hold any part of it, or nothing.
        device: ``cpu``, ``cuda`` or ``mps``.
        overwrite: what stands there is deleted first.
        evaluate: it is complete; its scores and pictures are made again.
        patience: seconds to wait for another process that works on the same run.

    Raises:
        UserError, RunError, Interrupted, OSError: see `sandbox.base.guard.guarded`, which turns each into a line.
    """
    if evaluate:
        _refuse_unfinished(run)
    with resumable(run.folder), run.lock(patience) if processes.is_first() else nullcontext():
        # A run that begins is built before anything is written or deleted: a mistake that only the data or the networks
        # show leaves what was there.
        early = _built(run, device) if processes.from_first(lambda: overwrite or run.state() == "new") else None
        if early is not None:
            run = processes.from_first(lambda: _cleared(run, early[0]))
        state = processes.from_first(lambda: run.open(device))
        if state == "complete" and not evaluate:
            print(f"{run.folder} is complete (--overwrite starts anew, --evaluate scores it again)")
        else:
            # Flushed: in a log file these lines must not wait for the end.
            print(f"{run.folder}: {state}, {device}, {run.precision}", flush=True)
            study, costs = early or _built(run, device)
            run = processes.from_first(lambda: run.learning_from(study.content))
            print(yaml.safe_dump(costs, sort_keys=False).rstrip(), flush=True)
            complete(run, study, evaluate=evaluate)
        if processes.is_first():
            _print_result(run)


def _refuse_unfinished(run: Run) -> None:
    """Raises `UserError` where no whole checkpoint of the last step is there to evaluate; changes nothing."""
    state = run.state()
    if state == "new":
        raise UserError(f"{run.folder} holds no run yet: --evaluate is for those whose training is finished")
    run.refuse_another(read_run(run.folder))
    path = run.checkpoints / f"step-{run.config.steps:08d}"
    try:
        read_checkpoint(path, wanted(run))
    except Unreadable as error:
        remedy = "the command without --evaluate goes on"
        if state == "complete":
            remedy = f"without {run.folder / 'result.json'} {remedy} from the last whole checkpoint"
        raise UserError(f"{path} is no finished training to evaluate ({_within(path, error)}): {remedy}") from None


def _within(path: Path, error: Unreadable) -> str:
    return error.problem if error.path == path else f"{error.path.name} {error.problem}"


def _built(run: Run, device: str) -> tuple[Study[Any], dict[str, Any]]:
    """A run's study and its costs, for which it looks at its data."""
    study = build(run, device)
    return study, study.costs()


def _cleared(run: Run, study: Study[Any]) -> Run:
    """The run, its folder free for it, its data's content recorded."""
    run.clear()
    return run.learning_from(study.content)


def _print_result(run: Run) -> None:
    result = run.result()
    for line in study_spec(run.study).table(result["scores"]):
        print(f"  {line}")
    print(f"  {result['steps']} steps in {result['seconds']:.0f} s, {result['steps_per_second']:.1f} steps/s")
    print(f"pictures:    {run.samples}\ntensorboard: tensorboard --logdir {run.folder.parent.parent}")


def complete(run: Run, study: Study[Any], *, evaluate: bool = False) -> dict[str, Any]:
    """Trains what is left of a run, scores it and renders its film. Returns what ``result.json`` then holds.

    Args:
        run: opened and locked.
        study: its study, with fresh networks.
        evaluate: the run is complete; its scores and pictures are made again.

    Raises:
        UserError: ``evaluate``, but the training is not finished; a checkpoint of other code.
        Interrupted, RunError, OSError: see `sandbox.train.loop.Loop.train`.
    """
    found = _checkpoint(run, study)
    if evaluate and (found is None or found.step < run.config.steps):
        raise UserError(f"{run.folder} holds no finished training to evaluate: the command without --evaluate goes on")
    if found is not None:
        restore(study, found, training=found.step < run.config.steps)
        found.restore_random()
    if found is not None and found.step >= run.config.steps:
        counters = found.counters
    elif processes.is_first():
        with Tracker(run.folder, found.counters["mark"] if found else {}) as tracker:
            counters = Loop(run, study, tracker, found).train()
    else:
        counters = Loop(run, study, None, found).train()
    return processes.from_first(lambda: finish(run, study, counters))


def wanted(run: Run) -> Wanted:
    """What its checkpoints are told by."""
    return Wanted(run.proof(), run.config.steps, run.config.PLACES)


def restore(study: Study[Any], found: Checkpoint, *, training: bool = True) -> None:
    """Puts a study back to where it was at a checkpoint, all but the random streams.

    Args:
        study: fresh.
        found: its checkpoint.
        training: whether it goes on. What only looks needs no optimisers, and so takes those of other code.

    Raises:
        UserError: other code, other data or other weights made it.
    """
    found.restore(study.modules, study.optimisers if training else {})
    study.load_state_dict(found.parts(study.state_dict()))


def _checkpoint(run: Run, study: Study[Any]) -> Checkpoint | None:
    """The checkpoint to go on from, the same in every process: the first one mends, then the others read."""
    with study.fabric.rank_zero_first():
        found = newest_checkpoint(run.checkpoints, wanted(run), mend=processes.is_first())
    step = found.step if found else 0
    if processes.agreed(step != processes.from_first(lambda: step)):
        raise UserError(f"not every process sees the same {run.checkpoints}: --root must lie on a disk that all share")
    return found
