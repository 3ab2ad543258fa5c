"""What a user reads when something is wrong: one line each, no traceback."""

import difflib
import reprlib
import sys
from collections.abc import Iterable
from itertools import islice

_LONGEST_NAME = 100  # characters


class UserError(Exception):
    """Something the user can put right: a wrong name, value or file. The message is one line. Exit code 2."""


class RunError(Exception):
    """A run that cannot go on for a reason outside the program, such as a loss that is not finite. Exit code 1."""


class Interrupted(Exception):
    """The user asked to stop; everything so far is in a checkpoint. Exit code 130."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the allowed name closest to ``word``, or nothing where none is close."""
    if len(word) > _LONGEST_NAME:  # no slip of a key, and slow to compare
        return ""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(problem: object, limit: int = 200) -> str:
    """The text of an exception or a value on one line, cut to ``limit`` characters."""
    text = " ".join(str(problem).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def in_words(value: object, limit: int = 60) -> str:
    """A value as Python writes it, on one line of at most ``limit`` characters; what is cut off is never written."""
    return one_line(_Short(limit).repr(value), limit)


def listed(names: Iterable[object], limit: int = 300) -> str:
    """``a, b, c``, or ``a, b and 9 more`` where all would take more than ``limit`` characters."""
    words = [name if isinstance(name, str) else in_words(name) for name in names]
    shown: list[str] = []
    room = limit
    for word in words:
        room -= len(word) + 2
        if room < 0:
            break
        shown.append(word)
    if len(shown) == len(words):
        return ", ".join(shown)
    if not shown:
        return f"{len(words)} names"
    return f"{', '.join(shown)} and {len(words) - len(shown)} more"


class _Short(reprlib.Repr):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = limit // 3
        self.maxstring = self.maxother = 2 * limit  # one_line cuts at the end, which reads better than in the middle

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of more than 4300 digits, and is slow at long ones.
        return repr(x) if x.bit_length() <= 256 else f"a whole number of about {x.bit_length() * 3 // 10} digits"

    def repr_dict(self, x: dict[object, object], level: int) -> str:  # in its own order: keys may not compare
        if level <= 0 or not x:
            return "{...}" if x else "{}"
        first = list(islice(x.items(), self.maxdict))
        shown = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in first]
        return f"{{{', '.join([*shown, *['...'] * (len(x) > len(shown))])}}}"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring])


def say(kind: str, message: str) -> None:
    """Prints ``kind: message`` on stderr, in one line whatever names it holds; raises `OSError` if nobody listens."""
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in message)
    print(f"{kind}: {line}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Prints a line that starts with ``warning:``; Python's own warnings show source code, which helps no user."""
    say("warning", message)
