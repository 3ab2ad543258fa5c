"""The shift study: a classifier, and how often a shift of an image changes the class it gives.

Islam et al. 2021 (arXiv 2108.07884): a loss on the difference between the pooled features of two shifts of one image,
added to the classification loss. Images lie on a margin of one colour that is as wide as a shift can go, so that a
shift moves them and neither cuts nor wraps anything.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import Picture
from sandbox.data.cifar import read_cifar
from sandbox.data.held_out import first_test
from sandbox.data.shapes import SortOfClevr
from sandbox.nn.padded import make_convolutions
from sandbox.train.processes import rank
from vision.classify.networks import PooledLinear, ResNet18, SmallVgg, channels_of, make_classifier
from vision.classify.study import CHUNK, ClassifierStudy, Examples
from vision.shift.spec import ShiftConfig

PAIRS = 4  # of shifts of each test image
_PREVIEWED = 64  # test images of a learning curve's consistency


class Margined(Examples):
    """Images on a margin of some pixels all around, of one value in [-1, 1]."""

    margin, value = 0, 1.0

    def inputs(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """Some of them, each in the middle of its canvas, in [-1, 1]."""
        return F.pad(super().inputs(rows), (self.margin,) * 4, value=self.value)


def shifted(images: Float[Tensor, "b 3 h w"], ways: Int64[Tensor, "b 2"]) -> Float[Tensor, "b 3 h w"]:
    """Each image moved by its own (rows, columns); with a margin as wide as that, only margin is rolled around."""
    return torch.stack([image.roll(way, (1, 2)) for image, way in zip(images, ways.tolist(), strict=True)])


class ShiftStudy(ClassifierStudy[ShiftConfig]):
    """A classifier and its answers to shifted images."""

    network: SmallVgg | ResNet18

    def __init__(self, config: ShiftConfig, fabric: Fabric) -> None:
        self.layout = (2, config.classes // 2)
        super().__init__(config, fabric)

    def make_data(self) -> tuple[Examples, Examples]:
        """Shapes, and the class of each: 2 x (the red object is a disc) + (the blue one is); or CIFAR-10."""
        return self._examples(train=True), self._examples(train=False)

    def _examples(self, train: bool) -> Margined:
        config, device = self.config, self.fabric.device
        first, count = (0, config.images) if train else (first_test(config.images), config.test_images)
        if config.data == "cifar10":
            images, labels = read_cifar(config.data_root, count, train)
        else:
            shapes = SortOfClevr().render(first + np.arange(count))
            images, labels = shapes.images, shapes.pair_classes
        examples = Margined(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))
        examples.margin, examples.value = int(config.margin), 1.0 if config.data == "shapes" else 0.0
        return examples

    def make_network(self) -> SmallVgg | ResNet18:
        """The configuration's network, with a mean and a dense layer behind it."""
        c = self.config
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, c.padding)
        head = PooledLinear(channels_of(c.network, c.width), c.classes)
        return make_classifier(c.network, convs, c.padding, c.width, head)

    def _ways(self, count: int, generator: torch.Generator) -> Int64[Tensor, "count 2"]:
        """Shifts, uniform over -margin..margin along each axis."""
        margin = int(self.config.margin)
        return torch.randint(-margin, margin + 1, (count, 2), generator=generator)

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """Cross-entropy, and the difference of two shifts' pooled features where it has a weight."""
        config, images, count = self.config, self.train.inputs(rows), len(rows)
        generator = keyed_generator(config.seed, "shifts", step, rank())
        pair = [shifted(images, self._ways(count, generator)) for _ in range(2)]
        parts = [pair[0] if config.shown == "shifted" else images, *(pair if config.invariance else [])]
        with self.fabric.autocast():
            maps = self.network.maps(torch.cat(parts))
            logits = self.network.head(maps[:count])
        cross = F.cross_entropy(logits.float(), self.train.labels[rows])
        if not config.invariance:
            return {"loss/train": cross, "loss/classification": cross}
        first, second = maps[count:].float().mean((2, 3)).chunk(2)
        difference = F.mse_loss(first, second)
        return {
            "loss/train": cross + config.invariance * difference,
            "loss/classification": cross,
            "loss/invariance": difference,
        }

    # ---- scores

    @torch.no_grad()
    def shifts(self, count: int) -> dict[str, float]:
        """What shifts do to the first ``count`` test images; see docs/metrics.md."""
        self.network.eval()
        generator = keyed_generator(0, "consistency")
        ways = self._ways(len(self.test) * PAIRS * 2, generator).unflatten(0, (len(self.test), PAIRS, 2))
        same, right, gaps, lengths = [], [], [], []
        for rows in self.test.rows(count).split(CHUNK):
            images, labels = self.test.inputs(rows), self.test.labels[rows]
            for k in range(PAIRS):
                pooled = [self.network.maps(shifted(images, ways[rows.cpu(), k, one])).mean((2, 3)) for one in (0, 1)]
                first, second = (self.network.head(part[:, :, None, None]).argmax(1) for part in pooled)
                same.append(first == second)
                right += [first == labels, second == labels]
                gaps.append((pooled[0] - pooled[1]).square().sum(1))
                lengths += [part.square().sum(1) for part in pooled]
        difference = torch.cat(gaps).mean() / torch.cat(lengths).mean().clamp_min(1e-12)
        return {
            "consistency": float(torch.cat(same).float().mean()),
            "shifted_accuracy": float(torch.cat(right).float().mean()),
            "feature_difference": float(difference),
        }

    def evaluate(self) -> dict[str, float]:
        """Accuracies and what shifts do; see docs/metrics.md."""
        return {**super().evaluate(), **{f"score/{name}": value for name, value in self.shifts(len(self.test)).items()}}

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Test images, the test accuracy, and the consistency of a few."""
        picture, scores = super().preview()
        return picture, {**scores, "preview/consistency": self.shifts(_PREVIEWED)["consistency"]}
