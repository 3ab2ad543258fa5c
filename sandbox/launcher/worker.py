"""One run of a comparison in a process of its own: `python -m sandbox.launcher.worker FILE`.

FILE is JSON: the run's folder, identity and every setting, resolved, and the device; see `write_order`. An edit of the
YAML file while runs are made cannot tell the arms apart.

Its stdin is a pipe held open by the process that started it. When that one ends, however it ends, the pipe closes, and
this one stops after the step in hand with everything saved: a comparison that is killed leaves no run behind that goes
on by itself.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes, urlsplit

from sandbox.base.errors import UserError, one_line
from sandbox.base.files import write_json
from sandbox.base.guard import guarded
from sandbox.base.reading import ReadBack, read_json, required
from sandbox.experiment.content import Content
from sandbox.experiment.written import SMALL
from sandbox.launcher.plan import Cell, Plan

PATIENCE = 120.0  # seconds: an orphan of a killed comparison needs a step, and on a slow disk a checkpoint, to stop


class _Written(ReadBack):
    folder: str
    study: str
    experiment: str
    arm: str
    task: str | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    budget: Literal["steps", "macs"]
    config: dict[str, Any]
    content: Content | None = None


@dataclass(frozen=True)
class Order:
    """A run to be made.

    Attributes:
        cell: its place in the grid.
        file: what it is, see `write_order`.
        log: file for everything it prints.
        cwd: where it starts.
    """

    cell: Cell
    file: Path
    log: Path
    cwd: Path

    def begin(self, surroundings: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Starts it. The caller's end of its stdin must stay open until it has ended.

        Args:
            surroundings: variables of its environment, beside those of this process.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sandbox.launcher.worker", str(self.file)]
        with self.log.open("wb") as log:
            # A session of its own: a Ctrl-C in the terminal reaches the comparison, which then asks its runs to stop.
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=self.cwd,
                                    env={**os.environ, **(surroundings or {})}, start_new_session=True)  # fmt: skip

    def cannot_begin(self, error: BaseException) -> None:
        """Leaves in the log why it could not be started."""
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text(f"error: could not be started: {one_line(error)}\n", encoding="utf-8")

    def complaint(self, code: int) -> str:
        """What it said last, in one line, having ended with an exit code other than 0."""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        try:
            text = self.log.read_text(errors="replace")
        except OSError as error:
            return f"exit code {code}, and its log {self.log} cannot be read ({error.strerror})"
        lines = [part for line in text.splitlines() for part in line.split("\r")]
        spoken = [line.strip() for line in lines if line.strip()] or [f"exit code {code}"]
        errors = [line.removeprefix("error: ") for line in spoken if line.startswith("error: ")]
        return (errors or spoken)[-1]


def write_order(plan: Plan, cell: Cell, content: Content | None = None) -> Order:
    """Writes a run's settings down: folder, study, experiment, arm, task, every field of its config, device, budget.

    ``content``: of the data that the comparison's other runs have learned from, where that is known.
    """
    document = {
        # As an address: a path may hold what JSON cannot.
        "folder": plan.place(cell).resolve().as_uri(), "study": plan.experiment.study, "experiment": plan.name,
        "arm": cell.arm, "task": cell.task, "device": plan.options.device, "budget": plan.options.budget,
        "config": plan.config(cell).model_dump(mode="json"), "content": content and content.model_dump(),
    }  # fmt: skip
    file = plan.order(cell).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, document)
    return Order(cell, file, plan.beside(cell, "logs", "log").resolve(), Path.cwd())


def read_order(file: Path) -> dict[str, Any]:
    """What `write_order` wrote.

    Raises:
        UserError: the file is not there, or damaged.
    """
    with required("no order of a run (the comparison writes it again)"):
        return read_json(file, _Written, SMALL).model_dump()


def run_to_end(order: Order) -> int:
    """Makes a run and waits for it; its exit code."""
    with order.begin() as process:
        return process.wait()


def _stop_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: Python aborts if its lock is held while the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os._exit(130)  # deaf to SIGINT, in somebody's C code; its last checkpoint stands


def main() -> None:
    """Makes the run that the first argument describes."""
    if hasattr(signal, "pthread_sigmask"):  # Ray's workers block SIGINT, and their children inherit that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if len(sys.argv) != 2:
        raise UserError("python -m sandbox.launcher.worker FILE: a comparison starts it, for one of its runs")
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    from sandbox.experiment.config import validated
    from sandbox.experiment.run import Run
    from sandbox.experiment.spec import study_spec
    from sandbox.train.device import resolve_device, resolve_precision
    from sandbox.train.make import make

    file = Path(sys.argv[1])
    order = read_order(file)
    config = validated(study_spec(order["study"]).config, order["config"], str(file))
    device = resolve_device(order["device"])
    precision = resolve_precision(config.precision, device)
    content = order["content"] and Content.model_validate(order["content"])
    folder = Path(os.fsdecode(unquote_to_bytes(urlsplit(order["folder"]).path)))
    run = Run(folder, order["study"], order["experiment"], order["arm"], precision, config,
              order["task"], content)  # fmt: skip
    make(run, device, patience=PATIENCE)


if __name__ == "__main__":
    guarded(main)
