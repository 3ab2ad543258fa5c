"""Where images and their objects come from: scattered digits, drawn when they are asked for, or pictures of COCO's."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sandbox.base.errors import UserError
from sandbox.base.reading import Unreadable
from sandbox.base.seeding import keyed_generator
from sandbox.data.coco import Coco, fitted, read_coco, tell_left_out
from sandbox.data.digits import CLASSES, read_digits
from sandbox.data.held_out import first_test
from sandbox.data.pictures import NoPicture
from sandbox.data.scattered_digits import ScatteredDigits
from sandbox.experiment.content import Content
from sandbox.train.batches import Loader
from sandbox.train.processes import share
from sandbox.train.schedule import Epochs
from vision.detection.boxes import Truths
from vision.detection.spec import DIGITS, DetectionConfig

_STEP = 4  # pixels: sizes of scaled images are multiples of it
Batch = tuple[Float[Tensor, "b c _ _"], Truths]


class Scenes(ABC):
    """Images in [0, 1] and what is in them.

    Attributes:
        channels: of the images.
        classes: of the objects.
        content: of a user's own pictures.
    """

    channels, classes = 1, CLASSES
    content: Content | None = None

    @abstractmethod
    def train(self, step: int) -> Batch:
        """What a step learns from, counted from 1: this process's share."""

    @abstractmethod
    def some(self, first: int, count: int, *, test: bool) -> Batch:
        """Some images by their number, of the held-out ones or of training."""


class Drawn(Scenes):
    """Scattered digits; held-out scenes are made of other digits than training scenes."""

    def __init__(self, config: DetectionConfig) -> None:
        self.parts = {
            test: ScatteredDigits(read_digits(config.digits, not test, _root(config)), config.layout, count=DIGITS)
            for test in (False, True)
        }
        self.epochs = Epochs(config.images, config.batch, config.seed)
        self.first_test = first_test(config.images)

    def train(self, step: int) -> Batch:
        """Scenes of an epoch's order."""
        return self._batch(share(self.epochs.indices(step)).numpy(), test=False)

    def some(self, first: int, count: int, *, test: bool) -> Batch:
        """Scenes one after another."""
        return self._batch((self.first_test if test else 0) + first + np.arange(count), test=test)

    def _batch(self, indices: Int64[np.ndarray, " b"], *, test: bool) -> Batch:
        scenes = self.parts[test].render(indices)
        boxes, labels = torch.from_numpy(scenes.boxes), torch.from_numpy(scenes.labels)
        there = torch.ones(labels.shape, dtype=torch.bool)
        return torch.from_numpy(scenes.images).float() / 255, Truths(boxes, there, labels, ~there)


def _root(config: DetectionConfig) -> str:
    return config.data_root if config.digits == "mnist" else ""


class Pictures(Scenes):
    """Pictures of a COCO file: the last ones are held out.

    Each is scaled down or up until its longer edge has ``size`` pixels, and lies in the upper left corner; what is left
    of the square is black.

    Raises:
        UserError: no such file or folder, or fewer pictures than are asked for.
    """

    channels = 3

    def __init__(self, config: DetectionConfig) -> None:
        wanted = config.images + config.test_images
        self.coco, self.content = read_coco(Path(config.annotations), Path(config.data_root)).decodable(wanted)
        there = len(self.coco.images)
        tell_left_out(config.annotations, self.coco.left_out)
        if there < wanted:
            fewer = there - config.test_images
            left = f"give --images {fewer} or fewer" if fewer >= 32 else "32 to train on are needed at least"
            raise UserError(f"--annotations {config.annotations} has {there} pictures, but {config.images} to train on "
                            f"and {config.test_images} to score on are asked for: {left}")  # fmt: skip
        self.classes, self.first_test = len(self.coco.names), config.images
        self.items = CocoItems(self.coco, config.size)
        pool = CocoItems(self.coco, config.size, config.images)
        self.loader = Loader(pool, config.batch, config.seed, workers=config.workers)

    def train(self, step: int) -> Batch:
        """Decoded ahead by other processes."""
        return _of_items(self.loader(step))

    def some(self, first: int, count: int, *, test: bool) -> Batch:
        """Decoded here, one after another."""
        start = first + (self.first_test if test else 0)
        draws = torch.Generator()
        items = [self.items.item(index, draws) for index in range(start, start + count)]
        return _of_items(tuple(torch.stack(part) for part in zip(*items, strict=True)))


def _of_items(parts: Sequence[Tensor]) -> Batch:
    images, boxes, there, labels, crowd = parts
    return images.float() / 255, Truths(boxes, there, labels, crowd)


class CocoItems:
    """Items for a `Loader`: image as bytes, boxes, which of them are objects, their labels, which are crowds.

    Args:
        coco: pictures that can be decoded.
        size: pixels along an image's edge.
        count: the first so many; None: all.
    """

    def __init__(self, coco: Coco, size: int, count: int | None = None) -> None:
        self.coco, self.size = coco, size
        self.count = len(coco.images) if count is None else count
        self.most = max([1, *(len(image.objects) for image in coco.images)])

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, draws: torch.Generator) -> tuple[Tensor, ...]:
        """A picture and its objects; nothing is drawn.

        Raises:
            UserError: the picture has been damaged since it was looked at.
        """
        try:
            picture = self.coco.picture(index)
        except (Unreadable, NoPicture) as error:
            raise UserError(f"{self.coco.images[index].file} cannot be read any more: {error}") from None
        scale = self.size / max(picture.size)
        canvas = torch.from_numpy(fitted(picture, self.size, 0)[0])
        objects = self.coco.images[index].objects
        boxes, labels = torch.zeros(self.most, 4), torch.zeros(self.most, dtype=torch.long)
        there, crowd = (torch.zeros(self.most, dtype=torch.bool) for _ in range(2))
        for k, thing in enumerate(objects):
            boxes[k], labels[k] = torch.tensor(thing.box) * scale, thing.label
            there[k], crowd[k] = not thing.crowd, thing.crowd
        return canvas, boxes, there, labels, crowd


def make_scenes(config: DetectionConfig) -> Scenes:
    """The configuration's data."""
    return Pictures(config) if config.data == "coco" else Drawn(config)


def scaled(batch: Batch, factor: float, *key: int) -> Batch:
    """A batch at another size, drawn from ``key``: multiples of 4 pixels between size / factor and size x factor."""
    images, truths = batch
    size = images.shape[-1]
    low, high = -(-size / factor // _STEP), size * factor // _STEP
    edge = _STEP * int(
        torch.randint(int(low), int(high) + 1, (1,), generator=keyed_generator(key[0], "scale", *key[1:]))
    )
    if edge == size:
        return batch
    larger = F.interpolate(images, size=(edge, edge), mode="bilinear", antialias=True)
    return larger, truths.scaled(edge / size)
