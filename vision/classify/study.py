"""What every task that trains a classifier of images shares: examples, steps, accuracies, pictures, films."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.film.cells import in_rows
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.seeding import seed_parameters
from sandbox.train.encoder import Encoder
from sandbox.train.processes import share
from sandbox.train.schedule import Epochs, cosine_decay
from sandbox.train.study import Filmed, Study
from vision.classify.config import ClassifierConfig
from vision.classify.pictures import answered

CHUNK = 64  # images at a time outside training
_SHOWN = 8  # test images of a picture


class Examples:
    """Images, as bytes, with a class each.

    Args:
        images: ``(n, 3, h, w)``; a subclass may show one several times.
        labels: ``(n,)``, classes counted from 0.
    """

    def __init__(self, images: UInt8[Tensor, "_ 3 h w"], labels: Int64[Tensor, " n"]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """What a network sees of some of them, in [-1, 1]."""
        return self.images[rows].float() / 127.5 - 1

    def rows(self, count: int | None = None) -> Int64[Tensor, " b"]:
        """The first ``count`` of them, or all."""
        return torch.arange(len(self) if count is None else min(count, len(self)), device=self.labels.device)


D = TypeVar("D", bound=ClassifierConfig)


class ClassifierStudy(Study[D], Filmed):
    """A classifier and how it learns.

    Module: ``network``. Training runs in the run's precision, all scores in float32.

    Attributes:
        train, test: the data.
        layout: rows and columns in which films and pictures show the classes; their product is the number of classes.
        roll: which way a film's images roll: once around along (rows, columns), each 0 or 1.
        previewed: test examples of the learning curve's accuracy.
    """

    film_frames, film_grid, film_fps = 16, (2, 1), 8
    layout: tuple[int, int] = (2, 2)
    roll: ClassVar[tuple[int, int]] = (1, 1)
    previewed = 512

    def __init__(self, config: D, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        self.train, self.test = self.make_data()
        network = self.make_network()
        place_by_name({"network": network}, {"network": Convolutions(config.coord, config.coord_layers, config.with_r)})
        seed_parameters(network, config.seed, "network")
        self.network = self.add_network("network", network)
        self.add_optimiser("network", self.make_optimiser())
        self.epochs = Epochs(len(self.train), config.batch, config.seed)

    def rate(self, step: int) -> float:
        """The rate falls over the last share of the steps."""
        return cosine_decay(step, self.config.steps, self.config.decay)

    @abstractmethod
    def make_data(self) -> tuple[Examples, Examples]:
        """Training and test data, on the device."""

    @abstractmethod
    def make_network(self) -> nn.Module:
        """The classifier, not yet seeded: images in [-1, 1] to logits."""

    def make_optimiser(self) -> torch.optim.Optimizer:
        """Adam, unless a task has another one; `step` sets its rate."""
        return self.adam(self.network.parameters(), self.config.lr)

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """What a step minimises, under ``loss/train``, and what else it reports."""
        with self.fabric.autocast():
            logits = self.network(self.train.inputs(rows))
        return {"loss/train": F.cross_entropy(logits.float(), self.train.labels[rows])}

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the classifier."""
        self.set_rates(step)
        rows = share(self.epochs.indices(step).to(self.train.labels.device))
        self.network.train()
        losses = self.losses(rows, step)
        norms = self.optimise("network", losses["loss/train"])
        self.average_buffers("network")
        return {tag: loss.detach() for tag, loss in losses.items()} | norms

    # ---- scores and pictures

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        """What the network says of some images, in evaluation mode."""
        self.network.eval()
        out: Tensor = self.network(images)
        return out

    def accuracy(self, examples: Examples, count: int | None = None) -> float:
        """The share of examples, all or the first ``count``, whose likeliest class is the right one."""
        right = [self.logits(examples.inputs(rows)).argmax(1) == examples.labels[rows]
                 for rows in examples.rows(count).split(CHUNK)]  # fmt: skip
        return float(torch.cat(right).float().mean())

    def evaluate(self) -> dict[str, float]:
        """Accuracies; see docs/metrics.md."""
        return {
            "score/test_accuracy": self.accuracy(self.test),
            "score/train_accuracy": self.accuracy(self.train, len(self.test)),
        }

    def shares(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b rows columns"]:
        """Softmax of the logits, as the pictures lay it out."""
        laid: Tensor = self.logits(images).softmax(1).unflatten(1, self.layout)
        return laid

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Test images, each beside the shares of its classes, the right one framed; and the test accuracy."""
        picture = self.sheet([(self.test, self.test.rows(_SHOWN))])
        return picture, {"preview/test_accuracy": self.accuracy(self.test, self.previewed)}

    def sheet(self, parts: Sequence[tuple[Examples, Int64[Tensor, " b"]]]) -> Picture:
        """Some examples, four in a row, each beside the shares of its classes, the right one framed."""
        pictures = []
        for examples, rows in parts:
            images = examples.inputs(rows)
            pairs = zip(images, self.shares(images), examples.labels[rows].tolist(), strict=True)
            pictures += [answered(image, shares, truth) for image, shares, truth in pairs]
        return in_rows(pictures, columns=4)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Test images that roll once around, each beside the shares of its classes."""
        return np.stack([self._rolled(k % len(self.test), frames) for k in range(count)], 1)

    def _rolled(self, number: int, frames: int) -> UInt8[np.ndarray, "t 3 _ _"]:
        (image,) = self.test.inputs(self.test.rows()[number : number + 1])
        sizes = image.shape[-2:]
        ways = [[round(t * size / frames) * way for size, way in zip(sizes, self.roll, strict=True)]
                for t in range(frames)]  # fmt: skip
        moved = torch.stack([image.roll(way, (-2, -1)) for way in ways])
        pictures = [answered(one, shares, None) for one, shares in zip(moved, self.shares(moved), strict=True)]
        return np.stack(pictures).transpose(0, 3, 1, 2)

    def examples(self) -> dict[str, Tensor]:
        """Two images."""
        return {"network": self.train.inputs(self.train.rows(2))}

    def encoder(self, name: str = "") -> Encoder:
        """The classifier, which sees images in [-1, 1]."""
        return Encoder(self.find_network(name), self.config.size, lambda images: 2 * images - 1)
