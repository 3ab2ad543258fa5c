"""The work on a part of a source's records, in processes that may die: decoding, and hashing."""

import hashlib
import io
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field
from tqdm import tqdm

from sandbox.base.errors import RunError, UserError
from sandbox.base.files import write_atomically, write_json
from sandbox.base.reading import ReadBack, Unreadable, read_json, sha256
from sandbox.data.apart import Apart, Died
from sandbox.data.pictures import NoPicture, prepare
from sandbox.data.records import Folder, Source, add_record, as_text
from sandbox.experiment.content import Digest

PART = 2048  # records in a part
CRASHES = 100  # of reading one source: a file that is damaged in more places is not worth the time


class Part(ReadBack):
    """What a part holds: ``records``, of them ``count`` decoded, and the hash of all their names and bytes."""

    records: int = Field(ge=0)
    count: int = Field(ge=0)
    content: str


class Finished(Part):
    """A part on the disk.

    Attributes:
        stamp: of the source that it is a part of.
        file, file_size: checksum and bytes of its file.
        left_out: the records that are not in it, named.
    """

    stamp: str
    file: str
    file_size: int
    left_out: list[str]


@lru_cache(maxsize=1)
def contents(source: Source, records: int, stamp: str) -> list[str]:
    """The hash of each part's names and bytes; everything is read, nothing decoded. Once for a stamp of the source."""
    keys = source.keys
    parts = [keys[start : start + PART] for start in range(0, len(keys), PART)]
    with Workers(source, 1) as workers:
        made: list[str] = workers.run([(len(part), _hash_part, (part,)) for part in parts],
                                      f"{source.path.name} has changed: reading it", records, 0)  # fmt: skip
    return made


def finished(path: Path, stamp: str) -> Finished | None:
    """What a part of a source of this stamp holds, where it is whole."""
    try:
        note = read_json(path.with_suffix(".json"), Finished)
        return note if note.stamp == stamp and sha256(path, note.file_size) == note.file else None
    except Unreadable:
        return None


# ---- a function of a part tells each record before it reads it: the process may die of that


def _hash_part(source: Source, skip: set[int], keys: list[bytes], tell: Any) -> str:
    digest = Digest()
    with source.reader() as read:
        for k, key in enumerate(keys):
            tell(k)
            add_record(digest, key, _content(read, key, k in skip)[0])
    return digest.hex()


def make_part(
    source: Source, skip: set[int], keys: list[bytes], size: int, megapixels: int, stamp: str, path: Path, tell: Any
) -> Finished:
    """Writes one part, whole or absent."""
    images, left_out, digest = [], [], Digest()
    with source.reader() as read:
        for k, key in enumerate(keys):
            tell(k)
            content, problem = _content(read, key, k in skip)
            add_record(digest, key, content)
            try:
                if content is not None:
                    images.append(prepare(content, size, megapixels=megapixels))
            except NoPicture as error:
                problem = str(error)
            if problem:
                left_out.append(f"{as_text(os.fsdecode(key))}: {problem}")
    buffer = io.BytesIO()
    np.save(buffer, np.stack(images) if images else np.empty((0, 3, size, size), dtype=np.uint8))
    written = buffer.getvalue()
    note = Finished(stamp=stamp, records=len(keys), count=len(images), content=digest.hex(),
                    file=hashlib.sha256(written).hexdigest(), file_size=len(written), left_out=left_out)  # fmt: skip
    write_atomically(path, written)
    write_json(path.with_suffix(".json"), note.model_dump())
    return note


def _content(read: Any, key: bytes, skip: bool) -> tuple[bytes | None, str]:
    if skip:
        return None, "reading it ends the process: its page is damaged"
    try:
        return read(key), ""
    except Unreadable as error:
        return None, error.problem


class Workers:
    """Threads, each with a process of its own where reading may crash; one alone reads a folder's files here."""

    def __init__(self, source: Source, count: int) -> None:
        self.source = replace(source)  # a copy: the keys that the source has listed must not travel with every part
        self.here = isinstance(source, Folder) and count == 1
        self.count, self.own = count, threading.local()
        self.all: list[Apart] = []
        self.crashes = 0
        self.pool = ThreadPoolExecutor(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)  # a Ctrl-C: parts in hand are finished, others left
        for apart in self.all:
            apart.close()

    def run(self, work: list[tuple[int, Any, tuple[Any, ...]]], label: str, total: int, done: int) -> list[Any]:
        """The results of ``function(source, skip, *arguments, tell)``, in order.

        Args:
            work: records, function and arguments of each.
            label: of the progress bar.
            total: records in all.
            done: of them, before.
        """
        queue, futures = iter(work), list[Future[Any]]()
        waiting: dict[Future[Any], int] = {}
        with tqdm(total=total, initial=done, unit="image", desc=label, dynamic_ncols=True) as bar:
            while True:
                for records, function, arguments in islice(queue, 2 * self.count - len(waiting)):
                    futures.append(self.pool.submit(self._one, function, arguments))
                    waiting[futures[-1]] = records
                if not waiting:
                    return [future.result() for future in futures]
                future = next(as_completed(waiting))
                future.result()
                bar.update(waiting.pop(future))

    def _one(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        skip: set[int] = set()
        if self.here:
            return function(self.source, skip, *arguments, lambda k: None)
        while True:
            at = [-1]
            try:
                return self._apart().call(function, self.source, skip, *arguments, told=at.append)
            except Died as error:
                self.crashes += 1
                if at[-1] < 0:
                    raise RunError(f"a process that reads {self.source.path} could not start: {error}") from None
                if self.crashes > CRASHES:
                    raise UserError(f"{self.source.path} is damaged in more than {CRASHES} places ({error}): "
                                    "unpack the archive again, or download it anew") from None  # fmt: skip
                skip.add(at[-1])

    def _apart(self) -> Apart:
        if not hasattr(self.own, "apart"):
            self.own.apart = Apart()
            self.all.append(self.own.apart)
        apart: Apart = self.own.apart
        return apart
