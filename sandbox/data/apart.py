"""Work in a process of its own, whose crash is caught: who reads a damaged memory-mapped file is killed by the system.

with closing(Apart()) as apart:
    keys = apart.call(list_keys, path)      # a function of a module; `Died` where the process did
"""

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any

from sandbox.base.errors import one_line

# Not multiprocessing's spawn: that imports the user's own script again, which must then be written for it.
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from sandbox.data.apart import serve; serve()"


class Died(Exception):
    """The process ended in the middle. The message: how, in a few words."""


class Apart:
    """A process that calls functions, one after another; started when it is first needed, and again after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes]

    def call(
        self, function: Callable[..., Any], *arguments: Any, told: Callable[[Any], object] = lambda note: None
    ) -> Any:
        """What ``function(*arguments, tell)`` returns there; it calls ``tell`` with what is passed on to ``told``.

        Raises:
            Died: the process was killed, or could not start.
            Exception: what the function raised.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
            while True:
                kind, value = pickle.load(process.stdout)
                if kind == "note":
                    told(value)
                elif kind == "error":
                    raise value
                else:
                    return value
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise Died(self._end(process)) from None

    def _start(self) -> "subprocess.Popen[bytes]":
        # A session of its own: a Ctrl-C is for the process that started it, which finishes what is in hand.
        # What it prints goes into a file: a pipe that nobody reads stops who writes into it.
        self._said = TemporaryFile()  # noqa: SIM115  for as long as the process
        return subprocess.Popen([sys.executable, "-c", _START, json.dumps(sys.path)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=self._said, start_new_session=True)  # fmt: skip

    def _end(self, process: "subprocess.Popen[bytes]") -> str:
        self._process = None
        process.communicate()
        code = process.returncode
        with self._said as said:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
        return (
            f"killed by {signal.Signals(-code).name}" if code < 0 else one_line(words[-1] if words else f"code {code}")
        )

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            with self._said, suppress(OSError):
                self._process.communicate()
            self._process = None


def serve() -> None:
    """Answers calls until stdin ends."""
    answers: IO[bytes] = open(1, "wb", closefd=False)  # noqa: SIM115  what others print must not come between
    sys.stdout = sys.stderr

    def tell(note: Any, kind: str = "note") -> None:
        pickle.dump((kind, note), answers)
        answers.flush()

    with suppress(EOFError, BrokenPipeError):
        while True:
            function, arguments = pickle.load(sys.stdin.buffer)
            try:
                tell(function(*arguments, tell), "done")
            except Exception as error:  # goes to who called
                tell(error, "error")
