"""Reading: one place that knows what can be wrong with a file before its content is used.

    content = read_file(path)              # a regular file of at most 64 MiB, or `Unreadable` says what it is instead
    result = read_json(path, Result)       # of the model's shape, and what `write_json` wrote

Who reads decides what an `Unreadable` means: a `UserError` with the remedy (`required`), or a warning that names what
is left out.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from sandbox.base.errors import UserError, one_line
from sandbox.base.files import SEAL, seal

LIMIT = 64 * 2**20  # bytes of a file that is read as a whole, unless its reader says otherwise
# Opened without waiting: what was a file a moment ago may be a pipe now.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "is a folder"), (stat.S_ISFIFO, "is a pipe"), (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"), (stat.S_ISBLK, "is a device"),
)  # fmt: skip
_REASONS = {errno.ENOENT: "is not there", errno.ELOOP: "is a link that leads to itself", errno.ENOTDIR: "is not there",
            errno.EACCES: "must not be read (permission denied)"}  # fmt: skip

M = TypeVar("M", bound=BaseModel)


class Unreadable(Exception):
    """A file that cannot be used.

    Attributes:
        path: the file.
        problem: what is wrong, in words that follow its name: ``is empty``.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


@contextmanager
def required(remedy: str = "", flag: str = "") -> Iterator[None]:
    """Inside, a file that cannot be used is the user's mistake: `UserError` in place of `Unreadable`.

    Args:
        remedy: behind the message, what to do about it.
        flag: before it, which flag named the file.
    """
    try:
        yield
    except Unreadable as error:
        raise UserError(f"{f'{flag}: ' if flag else ''}{error}{f': {remedy}' if remedy else ''}") from None


class ReadBack(BaseModel):
    """A JSON file's shape. Frozen; numbers are finite; keys that it does not name are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


def size_of(path: Path) -> int:
    """Bytes of a regular file, or of the one that a link leads to.

    Raises:
        Unreadable: it is not there, or no regular file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise Unreadable(path, _reason(path, error)) from None
    for is_kind, words in _KINDS:
        if is_kind(status.st_mode):
            raise Unreadable(path, words)
    return status.st_size


def read_file(path: Path, limit: int = LIMIT) -> bytes:
    """The content of a regular file. A pipe is not waited for, nor is a device read without end.

    Raises:
        Unreadable: it is not there, no regular file, larger than ``limit`` bytes, or the disk does not give it.
    """
    if (size := size_of(path)) > limit:
        raise Unreadable(path, f"has {size / 1e6:.0f} MB, and more than {limit / 1e6:.0f} MB are not read")
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(path, _reason(path, error)) from None
    if len(content) > limit:
        raise Unreadable(path, f"grows while it is read, beyond {limit / 1e6:.0f} MB")
    return content


def sha256(path: Path, size: int | None = None) -> str:
    """Hex digest of a regular file's content.

    Args:
        path: the file.
        size: bytes that it must have, where that is known: a file of another size is not read, however large it is.

    Raises:
        Unreadable: it is not there, no regular file, of another size, or the disk does not give it.
    """
    if (found := size_of(path)) != size and size is not None:
        raise Unreadable(path, f"is not what was written: it has {found:,} bytes, not {size:,}")
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(path, _reason(path, error)) from None


def read_text(path: Path, limit: int = LIMIT) -> str:
    """The content of a UTF-8 file; raises what `read_file` does, and `Unreadable` where it is no UTF-8."""
    content = read_file(path, limit)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"is no UTF-8 text (byte {error.start})") from None


def read_json(path: Path, model: type[M], limit: int = LIMIT) -> M:
    """A JSON file that `sandbox.base.files.write_json` wrote; of an older version, which wrote no checksum, too.

    Raises:
        Unreadable: see `read_file`; it is no JSON, of another shape, or not what was written.
    """
    content = read_file(path, limit)
    if not content.strip(b"\0 \t\r\n"):
        raise Unreadable(path, "holds zeros alone" if content.strip() else "is empty")
    try:
        document = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Unreadable(path, f"is no JSON ({one_line(error, 80)})") from None
    return checked(path, document, model)


def checked(path: Path, document: Any, model: type[M]) -> M:
    """What `read_json` makes of a parsed document."""
    if not isinstance(document, dict):
        raise Unreadable(path, f"holds no mapping but {one_line(repr(document)[:100], 40)}")
    written = document.pop(SEAL, None)
    try:
        _refuse_huge(document)
        if written is not None and written != seal(document):
            raise Unreadable(path, "is not what was written: its checksum differs")
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise Unreadable(path, f"has another shape: {one_line(place, 60)}: {one_line(first['msg'], 80)}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise Unreadable(path, f"holds what no such file holds ({one_line(error, 80)})") from None


def _refuse_huge(value: Any) -> None:
    """Raises `ValueError` for a whole number that no floating-point number comes near: JSON allows 400 digits."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_huge(part)
    if isinstance(value, int) and abs(value) > 2**1000:
        raise ValueError(f"a number of {len(str(value))} digits")


def _reason(path: Path, error: OSError | ValueError) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT and path.is_symlink():
        return "is a link to what is not there"
    if code in _REASONS:
        return _REASONS[code]
    return f"cannot be read ({(error.strerror if isinstance(error, OSError) else None) or one_line(error, 80)})"
