"""What a user reads when something is wrong: one line each, no traceback."""

import difflib
import sys
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: a wrong name, value or file. The message is one line. Exit code 2."""


class RunError(Exception):
    """A run that cannot go on for a reason outside the program, such as a loss that is not finite. Exit code 1."""


class Interrupted(Exception):
    """The user asked to stop; everything so far is in a checkpoint. Exit code 130."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the allowed name closest to ``word``, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(problem: object, limit: int = 200) -> str:
    """The text of an exception or a value on one line, cut to ``limit`` characters."""
    text = " ".join(str(problem).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def warn(message: str) -> None:
    """Prints a line that starts with ``warning:``; Python's own warnings show source code, which helps no user."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
