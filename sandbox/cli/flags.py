"""Command lines whose mistakes are one line: argparse with nearest names, and types that say their range."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sandbox.base.errors import UserError, in_words, listed, nearest, one_line
from sandbox.base.paths import at_home

_LONGEST = 2**16  # characters of an argument: ten thousand seeds


class Parser(argparse.ArgumentParser):
    """argparse that reports a mistake in one line, with the nearest name, through `UserError`."""

    def __init__(self, prog: str, description: str, **kwargs: Any) -> None:
        texts = {name: _literal(text) for name, text in {"description": description, **kwargs}.items()
                 if name in ("description", "epilog")}  # fmt: skip
        super().__init__(prog, **{**kwargs, **texts}, allow_abbrev=False, formatter_class=_Help)

    def add_argument_group(self, title: str, description: str | None = None) -> argparse._ArgumentGroup:  # type: ignore[override]
        """A group of flags under a title."""
        return super().add_argument_group(title, _literal(description) if description else None)

    def error(self, message: str) -> NoReturn:
        """Raises `UserError` instead of printing the usage."""
        raise UserError(one_line(message).removeprefix("argument "))

    def flags(self) -> list[str]:
        """Every flag there is."""
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parses everything or raises `UserError` naming the first unknown argument and the nearest flag."""
        for word in sys.argv[1:] if arguments is None else arguments:
            if len(word) > _LONGEST:
                raise UserError(
                    f"the argument {in_words(word)} has {len(word)} characters: at most {_LONGEST} are read"
                )
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            raise UserError(f"unknown argument {in_words(flag)}{nearest(flag, self.flags())} (--help lists all)")
        return options


def _literal(text: str) -> str:
    """A text as argparse shows it unchanged: of ``%(prog)``, which a YAML file may hold, it would fill in the rest."""
    return text.replace("%", "%%") if "%(prog)" in text else text


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number in ``low..high``."""

    def parse(text: str) -> int:
        number = int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{in_words(text)} is not a whole number from {low} to {high}")
        return number

    return parse


def positive(text: str) -> float:
    """An argparse type: a number above 0, such as 0.5."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{in_words(text)} is not a number above 0")
    return number


def one_of(*names: str, alias: Callable[[str], str] = str) -> Callable[[str], str]:
    """An argparse type: one of some names, or what ``alias`` makes one. Unlike ``choices`` it says which is nearest."""

    def parse(text: str) -> str:
        try:
            name = alias(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if name not in names:
            raise argparse.ArgumentTypeError(
                f"{in_words(text)} is not one of {listed(names, 100)}{nearest(text, names)}"
            )
        return name

    return parse


def path(text: str) -> Path:
    """An argparse type: a path, ``~`` the home folder; not an empty one, nor one that no system takes."""
    return Path(path_text(text))


def path_text(text: str) -> str:
    """An argparse type: what `path` takes, as text: for settings, whose file keeps it."""
    try:
        return at_home(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
