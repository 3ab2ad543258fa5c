"""Files that are whole or absent: written beside, flushed to the disk, renamed once."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's name into an `OSError` raised inside: a write to a full disk does not say where."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def fsync(path: Path) -> None:
    """Asks the system to put a file, or the names in a folder, on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Writes a file and flushes it to the disk.

    Raises:
        OSError: the disk is full, say; it names the file, which is then there in part.
    """
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file in one piece: a reader, or a kill at any moment, sees the old content or the new.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file stands.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        write_file(beside, content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync(path.parent)


def json_text(document: Any) -> str:
    """JSON, indented, keys in their order. NaN and infinities become null: JSON has none."""
    return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def write_json(path: Path, document: Any) -> None:
    """Writes `json_text` in one piece; raises what `write_atomically` does."""
    write_atomically(path, json_text(document))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
