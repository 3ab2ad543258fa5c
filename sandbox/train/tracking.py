"""TensorBoard and metrics.jsonl: the same scalars for eyes and for programs; grids, GIFs and hparams for eyes.

The x-axis is images seen, in every arm. A tracker can be put back to a mark taken at a checkpoint, so that an
interrupted run that continues doubles no point and loses none.

Events are written here and now, not by torch's SummaryWriter: its thread would meet a full disk out of our sight, and
what it has not yet written when the process is killed belongs to no mark.
"""

import io
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams

from sandbox.base.errors import warn
from sandbox.base.files import naming

Mark = Mapping[str, int]  # file name -> bytes


class _Appended:
    """A file that grows at its end, unbuffered: what is written is there when the process is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path):
            self._file = path.open("ab", buffering=0)

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        with naming(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Events:
    """A TensorBoard event file.

    Args:
        folder: where it lies.
        continued: name of one that goes on; a new one without.
    """

    def __init__(self, folder: Path, continued: str | None = None) -> None:
        # After a cut a file of its own: a TensorBoard that is watching would read on in the middle of a record.
        name = continued or f"events.out.tfevents.{time.time():010.0f}.{platform.node()}.{os.getpid()}"
        self._file = _Appended(folder / name)
        self._records = RecordWriter(self._file)
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
        self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Tracker:
    """Writes the curves and pictures of one run.

    Args:
        folder: the run's folder.
        mark: what `mark` returned at the checkpoint from which the run continues; whatever came later is cut off.
            Empty for a new run: nothing that stands is kept.
    """

    def __init__(self, folder: Path, mark: Mark) -> None:
        self.folder = folder
        kept = _cut(folder, mark)
        self._metrics = _Appended(folder / "metrics.jsonl")
        self._events = Events(folder, kept)

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Adds one point to each curve, at ``images`` seen. Tags are defined in docs/metrics.md."""
        self._events.scalars(values, images)
        known = {tag: value for tag, value in values.items() if math.isfinite(value)}  # JSON has no NaN
        self._metrics.write(f"{json.dumps({'images': images, **known})}\n".encode())

    def picture(self, tag: str, image: UInt8[np.ndarray, "h w 3"], images: int) -> None:
        """Adds a picture to the Images tab."""
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        self.gif(tag, content.getvalue(), (image.shape[0], image.shape[1]), images)

    def gif(self, tag: str, content: bytes, size: tuple[int, int], images: int) -> None:
        """Adds a GIF, which plays in the Images tab (``add_video`` writes nothing with moviepy 2). Size: (h, w)."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=content)
        self._events.summary(Summary(value=[Summary.Value(tag=tag, image=image)]), images)

    def hparams(self, values: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        """The run's own row in the HParams tab (``add_hparams`` would open a run below it)."""
        row = {key: value if isinstance(value, int | float | str) else str(value) for key, value in values.items()}
        for summary in hparams(row, dict.fromkeys(scores, 0.0)):
            self._events.summary(summary)

    def mark(self) -> dict[str, int]:
        """Bytes of each file once everything so far is on the disk: what belongs to a checkpoint written now."""
        self._metrics.sync()
        self._events.sync()
        return {path.name: path.stat().st_size for path in _tracked(self.folder)}

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


def _tracked(folder: Path) -> list[Path]:
    events = sorted(folder.glob("events.out.tfevents.*"))
    return [path for path in (folder / "metrics.jsonl", *events) if path.exists()]


def _cut(folder: Path, mark: Mark) -> str | None:
    """Cuts every file back to the mark. Returns the name of the newest event file if it lost nothing."""
    kept = None
    for path in _tracked(folder):
        size = path.stat().st_size
        if path.name not in mark:
            path.unlink()
            continue
        if size < mark[path.name]:
            warn(f"{path} is shorter than it was at the last checkpoint: points of its curves are missing")
        if size > mark[path.name]:
            os.truncate(path, mark[path.name])
        if path.name != "metrics.jsonl":
            kept = path.name if size == mark[path.name] else None
        elif size < mark[path.name]:
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # the next line must not join a torn one
    return kept


def read_metrics(folder: Path) -> list[dict[str, int | float]]:
    """The points of a run's curves, in order: ``images`` and the scalars logged there."""
    with (folder / "metrics.jsonl").open(encoding="utf-8", errors="replace") as lines:
        # A line without an end is being written, or was when the run was killed.
        whole = [line for line in lines if line.endswith("\n")]
    points = [point for line in whole if (point := _point(line)) is not None]
    if len(points) < len(whole):
        warn(f"{folder / 'metrics.jsonl'}: {len(whole) - len(points)} damaged lines are left out")
    return points


def _point(line: str) -> dict[str, int | float] | None:
    try:
        point = json.loads(line)
    except ValueError:
        return None
    numbers = isinstance(point, dict) and all(type(value) in (int, float) for value in point.values())
    return point if numbers and "images" in point else None
