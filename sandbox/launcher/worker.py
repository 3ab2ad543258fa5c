"""One run of a comparison in a process of its own: `python -m sandbox.worker STUDY [flags of the study's door]`.

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
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from sandbox.base.errors import one_line
from sandbox.base.guard import guarded
from sandbox.launcher.plan import Cell

PATIENCE = 120.0  # seconds: an orphan of a killed comparison needs a step, and on a slow disk a checkpoint, to stop


@dataclass(frozen=True)
class Order:
    """A run to be made.

    Attributes:
        cell: its place in the grid.
        study: whose door it goes through.
        flags: of that door.
        log: file for everything it prints.
        cwd: where it starts.
    """

    cell: Cell
    study: str
    flags: tuple[str, ...]
    log: Path
    cwd: Path

    def begin(self) -> "subprocess.Popen[bytes]":
        """Starts it. The caller's end of its stdin must stay open until it has ended."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sandbox.launcher.worker", self.study, *self.flags]
        with self.log.open("wb") as log:
            # A session of its own: a Ctrl-C in the terminal reaches the comparison, which then asks its runs to stop.
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                    cwd=self.cwd, start_new_session=True)  # fmt: skip

    def cannot_begin(self, error: BaseException) -> None:
        """Leaves in the log why it could not be started."""
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text(f"error: could not be started: {one_line(error)}\n")

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
    """The door that the first argument names, with the other arguments."""
    if hasattr(signal, "pthread_sigmask"):  # Ray's workers block SIGINT, and their children inherit that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    import_module("sandbox.cli.train").main(sys.argv[1], sys.argv[2:], patience=PATIENCE)


if __name__ == "__main__":
    guarded(main)
