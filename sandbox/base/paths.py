"""Paths as users write them: one place that knows what ``~`` means and what no path can be."""

from pathlib import Path

from sandbox.base.errors import in_words

LONGEST = 4096  # characters: no system that we run on takes a longer path


def at_home(text: str) -> str:
    """A path that a user gave, ``~`` and ``~name`` at its start replaced by that home folder.

    Raises:
        ValueError: it is empty, longer than any path, holds a NUL character, or names no user's home.
    """
    if not text.strip():
        raise ValueError("a path must not be empty")
    if "\0" in text:
        raise ValueError(f"{in_words(text)} holds a NUL character, which no path can")
    if len(text) > LONGEST:
        raise ValueError(f"{in_words(text)} has {len(text)} characters, a path at most {LONGEST}")
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError(f"{in_words(text)}: there is no such home folder (a name may start with ./~)") from None
