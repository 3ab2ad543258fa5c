"""TensorBoard and metrics.jsonl: the same scalars for eyes and for programs; grids, GIFs and hparams for eyes.

The x-axis is images seen, in every arm. A tracker can be put back to a mark taken at a checkpoint, so that an
interrupted run that continues doubles no point and loses none. Each line of metrics.jsonl ends with a checksum of its
own, ``crc``, and a mark holds one of each whole file: damage is told, not drawn.

Events are written here and now, not by torch's SummaryWriter: its thread would meet a full disk out of our sight, and
what it has not yet written when the process is killed belongs to no mark.
"""

import json
import math
import os
import platform
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8
from pydantic_core import from_json
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams

from sandbox.base.errors import warn
from sandbox.base.files import make_way, naming, write_atomically
from sandbox.base.reading import Unreadable, read_file
from sandbox.film.encode import png

# File name -> bytes and their CRC-32; marks of older versions have no checksum.
Mark = Mapping[str, int | Sequence[int]]
_EVENTS = "events.out.tfevents."
_CRC = ', "crc": '
LARGEST = 2**30  # bytes of metrics.jsonl


class _Appended:
    """A file that grows at its end, unbuffered: what is written is there when the process is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_way(path)
        with naming(path):
            self._file = path.open("ab", buffering=0)
        self.size, self.crc = path.stat().st_size, _crc(path)

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        with naming(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]
        self.size, self.crc = self.size + len(content), zlib.crc32(content, self.crc)

    def sync(self) -> None:
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class _Replaced:
    """The same in memory: what follows a file's first bytes takes the place of its rest in one piece, at the end."""

    def __init__(self, path: Path, kept: int) -> None:
        self.path = path
        self._content = bytearray()
        if path.is_file():
            with naming(path), path.open("rb") as file:
                self._content += file.read(kept)
        if len(self._content) < kept and path.suffix == ".jsonl":
            del self._content[self._content.rfind(b"\n") + 1 :]  # the next line must not join a torn one

    @property
    def size(self) -> int:
        return len(self._content)

    @property
    def crc(self) -> int:
        return zlib.crc32(self._content)

    def write(self, content: bytes) -> None:
        self._content += content

    def sync(self) -> None:
        # TensorBoard would take a file beside it that has its name for another one.
        write_atomically(self.path, bytes(self._content), beside=".curves.part")

    def close(self) -> None:
        """Nothing is open."""


class Events:
    """A TensorBoard event file.

    Args:
        folder: where it lies.
        continued: name of one that goes on; a new one without.
        kept: of that one the first bytes alone, the rest is replaced in one piece by `sync`; None: all, it grows.
    """

    def __init__(self, folder: Path, continued: str | None = None, kept: int | None = None) -> None:
        # After a cut a file of its own: a TensorBoard that is watching would read on in the middle of a record.
        name = continued or f"{_EVENTS}{time.time():010.0f}.{platform.node()}.{os.getpid()}"
        self.file = _Appended(folder / name) if kept is None else _Replaced(folder / name, kept)
        self._records = RecordWriter(self.file)
        if not continued:
            self._write(file_version="brain.Event:2")

    def _write(self, **content: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())

    def summary(self, summary: Summary, step: int = 0) -> None:
        """Adds what TensorBoard calls a summary: values with tags."""
        self._write(summary=summary, step=step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve."""
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self.summary(Summary(value=points), step)

    def sync(self) -> None:
        """Puts everything so far on the disk."""
        self.file.sync()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


class Tracker:
    """Writes the curves and pictures of one run.

    Args:
        folder: the run's folder.
        mark: what `mark` returned at the checkpoint from which the run continues; whatever came later is cut off.
            Empty for a new run: nothing that stands is kept.
        replace: what came later stands until `mark` puts the new in its place, each file in one piece.
    """

    def __init__(self, folder: Path, mark: Mark, *, replace: bool = False) -> None:
        self.folder = folder
        self._metrics: _Appended | _Replaced
        self._earlier: list[_Replaced] = []
        for path in (folder / "metrics.jsonl", *folder.glob(f"{_EVENTS}*")):
            make_way(path)  # TensorBoard would wait for a pipe
        last = _last_if_whole(folder, mark)
        if replace:
            sizes = {name: _noted(noted)[0] for name, noted in mark.items()}
            self._before = dict(mark)
            self._metrics = _Replaced(folder / "metrics.jsonl", sizes.get("metrics.jsonl", 0))
            self._events = Events(folder, last, sizes[last] if last else 0)
            self._earlier = [_Replaced(path, sizes[path.name]) for path in _tracked(folder)
                             if path.name in mark and path.name not in ("metrics.jsonl", last)]  # fmt: skip
        else:
            grown = last is not None and (folder / last).stat().st_size != _noted(mark[last])[0]
            self._before = _cut(folder, mark)
            self._metrics = _Appended(folder / "metrics.jsonl")
            self._events = Events(folder, None if grown else last)
        self._late = [path for path in _tracked(folder) if replace and path.name not in mark]

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Adds one point to each curve, at ``images`` seen. Tags are defined in docs/metrics.md."""
        self._events.scalars(values, images)
        known = {tag: value for tag, value in values.items() if math.isfinite(value)}  # JSON has no NaN
        self._metrics.write(_line({"images": images, **known}))

    def picture(self, tag: str, image: UInt8[np.ndarray, "h w 3"], images: int) -> None:
        """Adds a picture to the Images tab."""
        self.gif(tag, png(image), (image.shape[0], image.shape[1]), images)

    def gif(self, tag: str, content: bytes, size: tuple[int, int], images: int) -> None:
        """Adds a GIF, which plays in the Images tab (``add_video`` writes nothing with moviepy 2). Size: (h, w)."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=content)
        self._events.summary(Summary(value=[Summary.Value(tag=tag, image=image)]), images)

    def hparams(self, values: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        """The run's own row in the HParams tab (``add_hparams`` would open a run below it)."""
        row = {key: value if isinstance(value, int | float | str) else str(value) for key, value in values.items()}
        for summary in hparams(row, dict.fromkeys(scores, 0.0)):
            self._events.summary(summary)

    def mark(self) -> dict[str, int | Sequence[int]]:
        """Bytes and CRC-32 of each file once all is on the disk: what belongs to a checkpoint written now."""
        for file in (self._metrics, self._events.file, *self._earlier):
            file.sync()
        for path in self._late:
            if path not in (self._metrics.path, self._events.file.path):
                path.unlink(missing_ok=True)
        now = {file.path.name: (file.size, file.crc) for file in (self._metrics, self._events.file)}
        return {**self._before, **now}

    def close(self) -> None:
        """Closes the files."""
        self._metrics.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _line(point: Mapping[str, Any]) -> bytes:
    text = json.dumps(point)
    return f"{text[:-1]}{_CRC}{zlib.crc32(text.encode())}}}\n".encode()


def _crc(path: Path, size: int | None = None) -> int:
    """The CRC-32 of a file, or of its first bytes."""
    crc, left = 0, path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 2**20))):
            crc, left = zlib.crc32(part, crc), left - len(part)
    return crc


def _tracked(folder: Path) -> list[Path]:
    return [path for path in (folder / "metrics.jsonl", *sorted(folder.glob(f"{_EVENTS}*"))) if path.is_file()]


def _noted(noted: int | Sequence[int]) -> tuple[int, int | None]:
    """Bytes and, where it is known, CRC-32 of a file at a mark."""
    return (noted, None) if isinstance(noted, int) else (noted[0], noted[1])


def _last_if_whole(folder: Path, mark: Mark) -> str | None:
    """The name of the newest event file if it begins as it was at the mark; says of each file that does not.

    Behind a damaged record nothing is shown, so such a file does not go on.
    """
    whole = []
    for name, noted in mark.items():
        path, (size, crc) = folder / name, _noted(noted)
        if not path.is_file():
            warn(f"{path} was there at the last checkpoint and is not any more: points of its curves are missing")
        elif path.stat().st_size < size:
            warn(f"{path} is shorter than it was at the last checkpoint: points of its curves are missing")
        elif crc is not None and _crc(path, size) != crc:
            warn(f"{path} is not what it was at the last checkpoint: points of its curves are damaged")
        else:
            whole.append(name)
    last = max((name for name in mark if name.startswith(_EVENTS)), default=None)
    return last if last in whole else None


def _cut(folder: Path, mark: Mark) -> dict[str, int | Sequence[int]]:
    """Cuts every file back to the mark. Returns bytes and CRC-32 of every file that is left."""
    left: dict[str, int | Sequence[int]] = {}
    for path in _tracked(folder):
        if path.name not in mark:
            path.unlink()
            continue
        size, (wanted, _) = path.stat().st_size, _noted(mark[path.name])
        if size > wanted:
            os.truncate(path, wanted)
        elif size < wanted and path.suffix == ".jsonl":
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # the next line must not join a torn one
        left[path.name] = (path.stat().st_size, _crc(path))
    return left


def checksum(folder: Path) -> str:
    """What tells the curves of a complete run from those of others: of the whole ``metrics.jsonl``."""
    return f"{_crc(folder / 'metrics.jsonl'):08x}"


def read_metrics(folder: Path, curves: str | None = None) -> list[dict[str, int | float]]:
    """The points of a run's curves, in order: ``images`` and the scalars logged there. What is damaged is left out.

    Args:
        folder: the run's.
        curves: their `checksum`, where that is known.
    """
    path = folder / "metrics.jsonl"
    try:
        # A line without an end is being written, or was when the run was killed.
        content = read_file(path, LARGEST)
        lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    except Unreadable as error:
        warn(f"{error}: its curves are not shown")
        return []
    found = [point for line in lines if (point := _point(line)) is not None]
    if len(found) < len(lines):
        warn(f"{path}: {len(lines) - len(found)} damaged lines are left out")
    elif curves not in (None, f"{zlib.crc32(content):08x}"):
        warn(f"{path} is not what was written when this run ended: its curves may be another run's")
    return found


def _point(line: bytes) -> dict[str, int | float] | None:
    text, found, crc = line.rpartition(_CRC.encode())
    if found and crc.strip(b"}\n") != b"%d" % zlib.crc32(text + b"}"):
        return None
    try:
        point = from_json(text + b"}" if found else line, allow_inf_nan=False)
    except ValueError:
        return None
    numbers = isinstance(point, dict) and all(type(value) in (int, float) and abs(value) < 2**1023
                                              for value in point.values())  # fmt: skip
    return point if numbers and "images" in point else None
