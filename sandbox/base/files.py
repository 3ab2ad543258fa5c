"""Files that are whole or absent: written beside, flushed to the disk, renamed once. Reading: reading.py."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.base.errors import warn

SEAL = "seal"  # key of a JSON file's checksum


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


def write_atomically(path: Path, content: bytes | str, beside: str = "") -> None:
    """Writes a file in one piece: a reader, or a kill at any moment, sees the old content or the new.

    A folder in the way is set aside; see `make_way`. ``beside``: what the unfinished file is called.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file stands.
    """
    make_way(path)
    part = path.with_name(beside or f".{path.name}.part")
    remove(part)
    try:
        # A path that is no UTF-8 may stand in a text: it must not cost the text.
        write_file(part, content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        part.replace(path)
    finally:
        remove(part)
    fsync(path.parent)


def remove(path: Path) -> None:
    """Removes a file, a folder or a link, but not what the link leads to; nothing where nothing is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path, why: str) -> None:
    """Renames a file or folder to ``damaged-<name>`` beside it, with a warning that names it and says why."""
    # TensorBoard reads whatever has "tfevents" anywhere in its name, and waits for a pipe.
    name = f"damaged-{path.name.replace('tfevents', 'tf-events')}"
    target, k = path.with_name(name), 2
    while target.exists() or target.is_symlink():
        target, k = path.with_name(f"{name}-{k}"), k + 1
    path.rename(target)
    warn(f"{path} {why}: set aside as {target.name}")


def make_way(path: Path, *, folder: bool = False) -> None:
    """Sets aside what stands where a file (a folder) of ours belongs and is none: a folder, a pipe, a dead link."""
    if not (path.exists() or path.is_symlink()) or (path.is_dir() if folder else path.is_file()):
        return
    what = "is a folder" if path.is_dir() else "is a file" if path.is_file() else "is neither a file nor a folder"
    set_aside(path, what)


def json_text(document: dict[str, Any]) -> str:
    """JSON, indented, keys in their order, a checksum last. NaN and infinities become null: JSON has none."""
    plain = _finite(document)
    return json.dumps({**plain, SEAL: seal(plain)}, indent=2, allow_nan=False) + "\n"


def seal(document: dict[str, Any]) -> str:
    """The checksum of a JSON document, whatever the order of its keys.

    Raises:
        ValueError: it holds what JSON cannot.
    """
    plain = json.loads(json.dumps(document, allow_nan=False))  # keys as they come back
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes `json_text` in one piece; raises what `write_atomically` does. `sandbox.base.reading.read_json` reads."""
    write_atomically(path, json_text(document))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
