"""TensorBoard and metrics.jsonl: the same scalars for eyes and for programs; grids, GIFs and hparams for eyes.

The x-axis is images seen, in every arm. A tracker can be put back to a mark taken at a checkpoint, so that an
interrupted run that continues doubles no point and loses none.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from sandbox.files import fsync

Mark = Mapping[str, int]  # file name -> bytes


class Tracker:
    """Writes the curves and pictures of one run.

    Args:
        folder: the run's folder.
        mark: what `mark` returned at the checkpoint from which the run continues; whatever came later is cut off.
            Empty for a new run: nothing that stands is kept.
    """

    def __init__(self, folder: Path, mark: Mark) -> None:
        self.folder = folder
        _cut(folder, mark)
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(folder))

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Adds one point to each curve, at ``images`` seen. Tags are defined in docs/metrics.md."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, images)
        known = {tag: value for tag, value in values.items() if value == value}  # JSON has no NaN
        self._metrics.write(json.dumps({"images": images, **known}) + "\n")
        self._metrics.flush()

    def picture(self, tag: str, image: UInt8[np.ndarray, "h w 3"], images: int) -> None:
        """Adds a picture to the Images tab."""
        self._writer.add_image(tag, image, images, dataformats="HWC")

    def gif(self, tag: str, content: bytes, size: tuple[int, int], images: int) -> None:
        """Adds a GIF, which plays in the Images tab (``add_video`` writes nothing with moviepy 2). Size: (h, w)."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=content)
        self._events().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), images)

    def hparams(self, values: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        """The run's own row in the HParams tab (``add_hparams`` would open a run below it)."""
        row = {
            key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in values.items()
        }
        for summary in hparams(row, dict.fromkeys(scores, 0.0)):
            self._events().add_summary(summary)

    def _events(self) -> Any:
        return self._writer.file_writer  # public, and typed as None

    def mark(self) -> dict[str, int]:
        """Bytes of each file once everything so far is on the disk: what belongs to a checkpoint written now."""
        self._metrics.flush()
        self._writer.flush()
        files = _tracked(self.folder)
        for path in files:
            fsync(path)
        return {path.name: path.stat().st_size for path in files}

    def close(self) -> None:
        """Writes what is pending and closes the files."""
        self._metrics.close()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tracked(folder: Path) -> list[Path]:
    return [path for path in (folder / "metrics.jsonl", *folder.glob("events.out.tfevents.*")) if path.exists()]


def _cut(folder: Path, mark: Mark) -> None:
    for path in _tracked(folder):
        if path.name in mark:
            os.truncate(path, mark[path.name])
        else:
            path.unlink()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The points of a run's curves, in order: ``images`` and the scalars logged there."""
    with (folder / "metrics.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
