"""Faults at a chosen operation on files, inside an order: every state a crash can leave is one of few hundred.

Python announces opening, renaming, removing and so on to audit hooks before they happen. Operations are counted from 1.
"""

import errno
import os
import resource
import signal
import sys
from typing import Any, Literal

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
Fault = Literal["count", "kill", "interrupt", "terminate", "full"]
count = 0


def at_operation(number: int, fault: Fault) -> None:
    """From now on: the fault before operation ``number``; a disk that is full stays so."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        global count
        grows = event == "os.mkdir" or (
            event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)) and arguments[0] != os.devnull
        )
        if not (grows or event in CHANGES):
            return
        count += 1
        if fault == "full" and count >= number and grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])
        if count == number and fault in SIGNALS:
            os.kill(os.getpid(), SIGNALS[fault])

    sys.addaudithook(hook)


SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}


def file_limit(size: int, *, dies: bool) -> None:
    """No file may grow beyond ``size`` bytes: the write stops half-way, and the process dies or gets an `OSError`."""
    if dies:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
