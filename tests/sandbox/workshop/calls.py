"""What a process of its own is asked for."""

import os
import signal
import sys


def crash(tell: object) -> None:
    os.kill(os.getpid(), signal.SIGBUS)


def double(value: int, tell: object) -> int:
    return 2 * value


def divide(value: int, tell: object) -> float:
    return value / 0


def chatter(tell: object) -> int:
    """Says more than a pipe holds."""
    return sys.stderr.write("x" * 300_000)
