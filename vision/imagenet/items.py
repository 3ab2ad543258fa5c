"""Pictures as training and scoring see them: decoded in workers, augmented as a function of the seed and the step."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from sandbox.base.errors import RunError
from sandbox.base.reading import Unreadable
from sandbox.data.pictures import NoPicture
from sandbox.train.batches import deaf

SHOWN_SHARE = 0.875  # of a picture's shorter edge, the middle square that is scored: 224 of 256
MISSING = -1  # the label of a picture that cannot be used
_TRIES = 100  # pictures one after another that cannot be used, until a run says so and stops


@runtime_checkable
class Labelled(Protocol):
    """Pictures with a class each: `sandbox.data.class_folders.ClassFolder`, `vision.imagenet.digits.DigitPictures`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def label(self, index: int) -> int:
        """The class of one, from 0."""
        ...

    def name(self, index: int) -> str:
        """What it is called."""
        ...

    def read(self, index: int, needed: int | None = None) -> Image.Image:
        """The picture."""
        ...


class Training:
    """Random crops, resized with antialiasing; half of them mirrored. A `sandbox.train.batches.Items`.

    Args:
        pictures: all that there are.
        size: pixels along an edge.
        crop_least: smallest share of a picture's area.
        flip: whether half are mirrored.
    """

    def __init__(self, pictures: Labelled, size: int, crop_least: float, flip: bool) -> None:
        self.pictures = pictures
        steps = [v2.RandomResizedCrop(size, scale=(crop_least, 1.0), antialias=True)]
        self.augment = v2.Compose([*steps, *([v2.RandomHorizontalFlip()] if flip else [])])

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, draws: torch.Generator) -> tuple[UInt8[Tensor, "3 h w"], int, int]:
        """A picture, its class, and which one it is: in place of one that cannot be used stands the next that can.

        Raises:
            RunError: a hundred in a row cannot be used.
        """
        problem = ""
        for place in range(index, index + min(_TRIES, len(self))):
            used = place % len(self)
            try:
                picture = self.pictures.read(used)
            except (Unreadable, NoPicture) as error:
                problem = f"{self.pictures.name(used)} {error.problem}"
                continue
            # torchvision's transforms draw from torch's own stream.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**62, (), generator=draws)))
                return as_tensor(self.augment(picture)), self.pictures.label(used), used
        raise RunError(f"{min(_TRIES, len(self))} pictures one after another cannot be used, the last: {problem}")


class Held(Dataset[Any]):
    """The middle square of some pictures; one that cannot be used is black, its label `MISSING`.

    Args:
        pictures: all that there are.
        rows: which of them.
        size: pixels along an edge.
    """

    def __init__(self, pictures: Labelled, rows: Int64[np.ndarray, " n"], size: int) -> None:
        self.pictures, self.rows, self.size = pictures, rows, size
        self.needed = round(size / SHOWN_SHARE)
        self.prepare = v2.Compose([v2.Resize(self.needed, antialias=True), v2.CenterCrop(size)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[UInt8[Tensor, "3 h w"], int]:
        index = int(self.rows[place])
        try:
            picture = self.pictures.read(index, needed=self.needed)
        except (Unreadable, NoPicture):
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), MISSING
        return as_tensor(self.prepare(picture)), self.pictures.label(index)

    def batches(self, batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All of them in order, the last batch smaller."""
        own = torch.Generator().manual_seed(0)  # DataLoader would draw from the stream that training draws from
        yield from DataLoader(self, batch, num_workers=workers, worker_init_fn=deaf, generator=own)


def as_tensor(picture: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """A picture's pixels."""
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def spread(count: int, wanted: int) -> Int64[np.ndarray, " n"]:
    """``wanted`` of ``count`` places, evenly, since pictures lie class by class; 0: all."""
    if not 0 < wanted < count:
        return np.arange(count)
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)
