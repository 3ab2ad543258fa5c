"""Makes the runs of a comparison that are not complete: one or several at a time here, or many on a Ray cluster."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from filelock import FileLock, Timeout

from sandbox.base.cores import cores
from sandbox.base.errors import Interrupted, UserError
from sandbox.base.files import write_atomically
from sandbox.base.world import announced
from sandbox.experiment.content import Content
from sandbox.experiment.exported import read_exported
from sandbox.experiment.run import Run, read_run, refuse_mixed_data, refuse_mixed_precision
from sandbox.launcher.plan import Cell, Plan
from sandbox.launcher.pools import Cluster, Local, Pool
from sandbox.launcher.preview import Preview
from sandbox.launcher.screen import Progress, Screen
from sandbox.launcher.worker import PATIENCE, Order, write_order

POLL = 0.5  # seconds between two looks at the runs


class Failure(NamedTuple):
    """A run's exit code and what it said last."""

    code: int
    line: str


def make_runs(plan: Plan) -> dict[Cell, str]:
    """Makes the runs that are not complete. Returns what those that failed said.

    Raises:
        UserError: a run's folder holds another configuration or precision; no Ray; every run was refused, so that there
            is nothing to report.
        Interrupted: Ctrl-C; every run has a checkpoint.
    """
    if announced().size > 1:
        raise UserError("torchrun and srun train one run (python -m sandbox.gan); for many there is --ray")
    missing, contents = _missing(plan)
    progress = {cell: _progress(plan, cell, cell in missing) for cell in plan.cells()}
    if not missing:
        print(f"{plan.folder}: all {len(progress)} runs are complete", flush=True)
        return {}
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(plan.file, plan.document())
    screen = Screen(str(plan.folder), progress, plan.arms)
    orders = [write_order(plan, cell, contents.get(cell)) for cell in missing]
    pool = _pool(plan)
    try:
        with screen:
            failed = _work(pool, orders, screen, progress, Preview(plan, missing[0]))
    except KeyboardInterrupt:
        whole = pool.stop()
        _wait_until_free(plan, missing)
        if not whole:
            raise  # a run was killed: what came after its last checkpoint is lost
        raise Interrupted(f"stopped with {screen.summary()}") from None
    if len(failed) == len(progress) and all(_was_refused(plan, *each) for each in failed.items()):
        cell, failure = next(iter(failed.items()))
        raise UserError(f"no run could begin; {cell}: {failure.line}")
    return {cell: failure.line for cell, failure in failed.items()}


def _was_refused(plan: Plan, cell: Cell, failure: Failure) -> bool:
    """Whether a run's settings or data were wrong, and nothing of it is there."""
    return failure.code == 2 and not (plan.place(cell) / "config.yaml").exists()


def _work(
    pool: Pool, orders: Sequence[Order], screen: Screen, progress: Mapping[Cell, Progress], preview: Preview
) -> dict[Cell, Failure]:
    failed: dict[Cell, Failure] = {}
    for order in orders:
        pool.submit(order)
    left = len(orders)
    while left:
        for order, code in pool.ended():
            left -= 1
            progress[order.cell].end(failed=bool(code))
            if code:
                failed[order.cell] = Failure(code, order.complaint(code))
            screen.tell(f"{order.cell}: {f'failed: {failed[order.cell].line}' if code else 'complete'}")
        for order in pool.running():
            progress[order.cell].begin()
        if preview.renew():
            screen.tell(f"first samples side by side, renewed as they train: {preview.path}")
        screen.show()
        if left:
            time.sleep(POLL)
    return failed


def _missing(plan: Plan) -> tuple[list[Cell], dict[Cell, Content]]:
    """What is to be made, and what each of these must learn from, as far as other runs have told."""
    missing, runs = [], []
    for cell in plan.cells():
        if exported := plan.exported(cell):
            found = read_exported(exported)[0]
            _run(plan, cell, found.precision).refuse_another(found)
            runs.append(found)
            continue
        folder = plan.place(cell)
        if (folder / "config.yaml").is_file():
            found = read_run(folder)
            _run(plan, cell, found.precision).refuse_another(found)
            runs.append(found)
            with suppress(UserError):  # a damaged one is made again, from its last checkpoint
                if found.state() == "complete" and found.result():
                    continue
        missing.append(cell)
    refuse_mixed_data(runs)
    if missing and plan.options.ray in (None, "local"):  # what a cluster's machines resolve to, only they know
        refuse_mixed_precision([*runs, *(_run(plan, cell, precision) for cell, precision in _resolved(plan, missing))])
    contents = {cell: run.content for cell in missing for run in runs if run.content is not None
                and run.task == cell.task and run.config.sees_the_same(plan.config(cell))}  # fmt: skip
    return missing, contents


def _run(plan: Plan, cell: Cell, precision: str) -> Run:
    study, config = plan.experiment.study, plan.config(cell)
    return Run(plan.place(cell), study, plan.name, cell.arm, precision, config, cell.task)


def _resolved(plan: Plan, cells: Sequence[Cell]) -> list[tuple[Cell, str]]:
    from sandbox.train.device import resolve_device, resolve_precision

    device = resolve_device(plan.options.device)
    return [(cell, resolve_precision(plan.config(cell).precision, device)) for cell in cells]


def _progress(plan: Plan, cell: Cell, missing: bool) -> Progress:
    goal = plan.config(cell).goal
    return Progress(plan.place(cell), goal, "waiting" if missing else "complete", 0.0 if missing else goal)


def _pool(plan: Plan) -> Pool:
    options = plan.options
    if options.ray not in (None, "local"):  # this machine may be none of the cluster's
        gpus = options.gpus or float(options.device == "cuda")
        return Cluster(options.ray, options.jobs, options.cpus or 1.0, gpus)
    import torch

    from sandbox.train.device import resolve_device

    devices = torch.cuda.device_count() if resolve_device(options.device) == "cuda" else 0
    cpus = options.cpus or float(max(1, cores() // options.jobs))
    if options.ray is None:
        shared = options.jobs > 1 and "OMP_NUM_THREADS" not in os.environ
        threads = max(1, int(cpus)) if shared or options.cpus else None
        return Local(options.jobs, threads, devices if options.jobs > 1 else 0)
    return Cluster(None, options.jobs, cpus, options.gpus or min(1.0, devices / options.jobs))


def _wait_until_free(plan: Plan, cells: Sequence[Cell]) -> None:
    # On a cluster the runs hear of the end a moment later than we do.
    until = time.monotonic() + PATIENCE
    for cell in cells:
        folder = plan.place(cell)
        if folder.is_dir():
            with suppress(Timeout), FileLock(folder / ".lock", timeout=max(0.0, until - time.monotonic())):
                pass
