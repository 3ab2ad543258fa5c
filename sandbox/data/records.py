"""Encoded images one by one: an LMDB in LSUN's layout, or a folder of files; see `sandbox.data.lsun`."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sandbox.base.errors import UserError, warn
from sandbox.base.reading import Unreadable, read_file, size_of
from sandbox.data.pictures import ENDINGS, LARGEST, MEGAPIXELS, NoPicture, prepare
from sandbox.experiment.content import Content, Digest, joined

NAMED = 100  # records that cannot be used and are named; all are counted
Read = Callable[[bytes], bytes]


def as_text(name: str) -> str:
    """A file's name without what is no text: names may hold any bytes."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


@dataclass(frozen=True)
class Source(ABC):
    """Where encoded images come from.

    Attributes:
        path: a folder.
        first: only so many records, in the order of their names; None: all. LSUN's names are in no order of their own.
    """

    path: Path
    first: int | None = None
    kind = ""

    @property
    def name(self) -> str:
        """What the folder is called, as text, whatever bytes its name has."""
        return as_text(self.path.name)

    @property
    @abstractmethod
    def keys(self) -> list[bytes]:
        """The name of every record, sorted."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many records these are."""

    @property
    @abstractmethod
    def stamp(self) -> str:
        """What changes when the files do: their names, sizes and times of change, not their content."""

    @abstractmethod
    def reader(self) -> AbstractContextManager[Read]:
        """Opens the source: a function that gives the bytes of a key, or raises `Unreadable`."""

    @property
    def left_out(self) -> list[str]:
        """What looks like a record and is none, each named with the reason."""
        return []


class Folder(Source):
    """Image files, however deep. Links are followed, to each folder once; only regular files are records."""

    kind = "folder of images"

    @cached_property
    def _found(self) -> tuple[list[tuple[bytes, int, int]], list[str]]:
        """Key, size and time of change of every file, sorted; what is left out."""
        files: list[tuple[bytes, int, int]] = []
        left_out: list[str] = []
        seen: set[tuple[int, int]] = set()
        links: list[Path] = []
        folders = [self.path]
        while folders or links:
            # Links last: where a folder and a link to it lie side by side, the folder's own name counts.
            here = folders.pop() if folders else links.pop(0)
            try:
                status = here.stat()
                if (status.st_dev, status.st_ino) in seen:
                    left_out.append(f"{self._name(here)}: leads to a folder that is read already")
                    continue
                seen.add((status.st_dev, status.st_ino))
                entries = sorted(here.iterdir())
            except OSError as error:
                left_out.append(f"{self._name(here)}: cannot be read ({error.strerror})")
                continue
            for entry in entries:
                if os.path.isdir(entry):  # unlike Path.is_dir it says no where it must not look
                    (links if entry.is_symlink() else folders).append(entry)
                elif entry.suffix.lower() in ENDINGS or (entry.is_symlink() and not os.path.exists(entry)):
                    try:
                        size, changed = size_of(entry), entry.stat().st_mtime_ns
                        files.append((os.fsencode(entry.relative_to(self.path)), size, changed))
                    except (Unreadable, OSError) as error:
                        left_out.append(f"{self._name(entry)}: {getattr(error, 'problem', error)}")
        return sorted(files), sorted(left_out)

    def _name(self, path: Path) -> str:
        return as_text(str(path.relative_to(self.path)))

    @property
    def keys(self) -> list[bytes]:
        """Each file's path below the folder, sorted."""
        return [key for key, *_ in self._found[0][: self.first]]

    @property
    def count(self) -> int:
        """How many files."""
        return len(self._found[0][: self.first])

    @property
    def stamp(self) -> str:
        """Of names, sizes and times of change."""
        return joined(part for file in self._found[0][: self.first] for part in file)

    @property
    def left_out(self) -> list[str]:
        """Pipes, devices, dead links, folders that must not be read, and folders that a second link leads to."""
        return self._found[1]

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Files need no opening."""
        yield lambda key: read_file(self.path / os.fsdecode(key), LARGEST)


def add_record(digest: Digest, key: bytes, content: bytes | None) -> None:
    """Takes a record into the hash of the data's content; None: it cannot be read."""
    digest.add(key, "unreadable" if content is None else content)


def told(folder: Path, missing: list[str], of: int) -> str:
    """One line that says how many records are left out, and the first of them."""
    return f"{folder}: {len(missing)} of {of} pictures are left out, {missing[0]}"


def decoded(
    source: Source, keys: list[bytes], size: int, megapixels: int = MEGAPIXELS
) -> tuple[UInt8[np.ndarray, "n 3 size size"], Content]:
    """Some records as pictures in memory, see `prepare`, and what they are. What cannot be decoded is left out.

    Raises:
        UserError: none of them can be decoded.
    """
    images, missing, digest = [], list(source.left_out), Digest()
    with source.reader() as read:
        for key in keys:
            try:
                content = read(key)
                images.append(prepare(content, size, megapixels=megapixels))
                add_record(digest, key, content)
            except (Unreadable, NoPicture) as error:
                missing.append(f"{as_text(os.fsdecode(key))}: {error.problem}")
    if not images:
        raise UserError(f"{source.path}: none of its {len(keys)} pictures can be decoded, {missing[0]}")
    if missing:
        warn(told(source.path, missing, len(keys) + len(source.left_out)))
    return np.stack(images), Content(kind=source.kind, name=source.name, records=len(images), sha256=digest.hex())
