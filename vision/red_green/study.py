"""The Red-Green control: a small classifier that can read an order of colours or the half of the image they lie in.

Kayhan and van Gemert 2020 (arXiv 2003.07064). Training shows red left of green in the upper half, green left of red in
the lower one. Test images are of both kinds: similar, as in training, and dissimilar, moved to the other half, where a
network that goes by the place is wrong.
"""

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import AnyPadding, Picture
from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv, make_convolutions
from vision.classify.study import ClassifierStudy, Examples
from vision.red_green.spec import SIZE, RedGreenConfig

SQUARE = 4  # pixels of a square's edge
HALF = SIZE // 2
TOPS = (3, 11)  # where the top edge of a square in the upper half lies: from, below
_LEFTS = 10  # places of the left square's left edge
_STEP = 5  # the right square's left edge lies at least so much further right: a free column between them


def draw(count: int, key: str, swapped: bool = False) -> Examples:
    """Red-Green images: class 0, red left of green, and class 1, green left of red, in turn.

    Args:
        count: how many.
        key: of the random stream.
        swapped: class 0 lies in the lower half, 16 rows further down, class 1 in the upper one.
    """
    generator = keyed_generator(0, "red_green", key)
    labels = torch.arange(count) % 2
    left = torch.randint(_LEFTS, (count,), generator=generator)
    room = SIZE - SQUARE - _STEP - left  # places of the right square
    right = left + _STEP + (torch.rand(count, generator=generator) * room).long().clamp(max=room - 1)
    tops = torch.randint(*TOPS, (count, 2), generator=generator) + HALF * ((labels == 1) ^ swapped).long()[:, None]
    images = torch.zeros(count, 3, SIZE, SIZE, dtype=torch.uint8)
    for k, label in enumerate(labels.tolist()):
        for colour, x, y in ((label, left[k], tops[k, 0]), (1 - label, right[k], tops[k, 1])):
            images[k, colour, y : y + SQUARE, x : x + SQUARE] = 255
    return Examples(images, labels)


class RedGreenNet(nn.Module):
    """Four 3x3 convolutions without bias, the last three of stride 2, ReLU, global max, dense layer: the paper's.

    ``(b, 3, 32, 32) -> (b, 2)``. Its total stride is 8. Of images in [0, 1] with black around the squares, ``full``
    leaves no trace of the border: without a bias black stays 0, and every place that a kernel meets a square is there.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them.
        padding: of all of them.
        width: channels of the first two; the last two have twice as many.
    """

    def __init__(self, convs: Convolutions, padding: AnyPadding, width: int) -> None:
        super().__init__()
        channels = [3, width, width, 2 * width, 2 * width]
        self.convs = nn.ModuleList(
            PaddedConv(convs, channels[k], channels[k + 1], padding, first=k == 0, stride=2 if k else 1, bias=False)
            for k in range(4)
        )
        self.head = nn.Linear(channels[-1], 2)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2"]:
        """Logits of images in [-1, 1], which are taken to [0, 1] first."""
        x = (images + 1) / 2
        for conv in self.convs:
            x = conv(x).relu()
        logits: Tensor = self.head(x.amax((2, 3)))
        return logits


class RedGreenStudy(ClassifierStudy[RedGreenConfig]):
    """A classifier of the order of red and green, tested where it saw each order and where it saw the other."""

    network: RedGreenNet
    layout = (1, 2)
    roll = (1, 0)  # down: to the side the order would change

    def __init__(self, config: RedGreenConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        self.dissimilar = self._here(draw(self.config.test_images, "test", swapped=True))

    def _here(self, examples: Examples) -> Examples:
        device = self.fabric.device
        return Examples(examples.images.to(device), examples.labels.to(device))

    def make_data(self) -> tuple[Examples, Examples]:
        """Training images, and the similar test images."""
        train, test = draw(self.config.images, "train"), draw(self.config.test_images, "test")
        return self._here(train), self._here(test)

    def make_network(self) -> RedGreenNet:
        """The paper's network with the configuration's padding."""
        c = self.config
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, c.padding)
        return RedGreenNet(convs, c.padding, c.width)

    def make_optimiser(self) -> torch.optim.Optimizer:
        """Adadelta, as in the released code."""
        return torch.optim.Adadelta(
            self.network.parameters(), self.config.lr, rho=0.9, eps=1e-6, weight_decay=self.config.l2
        )

    def evaluate(self) -> dict[str, float]:
        """Accuracies; see docs/metrics.md."""
        return {
            "score/dissimilar_accuracy": self.accuracy(self.dissimilar),
            "score/similar_accuracy": self.accuracy(self.test),
            "score/train_accuracy": self.accuracy(self.train, len(self.test)),
        }

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Similar images, above the same moved to the other half, and both accuracies."""
        rows = torch.arange(min(4, len(self.test)), device=self.fabric.device)
        picture = self.sheet([(examples, rows) for examples in (self.test, self.dissimilar)])
        return picture, {
            "preview/dissimilar_accuracy": self.accuracy(self.dissimilar, 256),
            "preview/similar_accuracy": self.accuracy(self.test, 256),
        }
