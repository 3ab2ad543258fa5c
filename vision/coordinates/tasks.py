"""The three tasks: what a network is shown, what it should say, how that is scored.

All 3136 positions lie on the device. Liu et al. 2018 (arXiv 1807.03247), section 2: classification of one pixel from
(x, y), regression of (x, y) from an image with one pixel set, rendering of a 9x9 square from (x, y).
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sandbox.data.shapes import NotSoClevr
from vision.coordinates.networks import SIZE, PaperCoordRenderer
from vision.spec import VisionConfig

Rows = Int64[Tensor, " b"]
PIXELS = (SIZE - 1) / 2  # of one unit of a scaled centre


class CoordinateTask(ABC):
    """One task on all positions of Not-so-Clevr.

    Attributes:
        metric: name of the score that makes a learning curve.
        centres: (3136, 2) whole (row, column), int64.
        scaled: the same in [-1, 1], as the coordinate planes are, float32.
    """

    metric: str

    def __init__(self, config: VisionConfig, device: torch.device) -> None:
        centres = NotSoClevr().factors(np.arange(NotSoClevr.count)).centres[:, 0]
        self.config = config
        self.centres = torch.from_numpy(centres).to(device)
        self.scaled = self.centres.float() / PIXELS - 1

    def inputs(self, rows: Rows) -> Float[Tensor, "b *shape"]:
        """What the network is shown: ``(b, 2)`` scaled centres, unless a task says otherwise."""
        return self.scaled[rows]

    @abstractmethod
    def loss(self, network: nn.Module, rows: Rows) -> Float[Tensor, ""]:
        """The training loss of these positions, the forward pass included."""

    @abstractmethod
    def scores(self, outputs: Float[Tensor, "b *shape"], rows: Rows) -> dict[str, Float[Tensor, " b"]]:
        """What every position scores, by name; ``metric`` first."""

    @abstractmethod
    def summary(self, scores: dict[str, Float[Tensor, " b"]]) -> dict[str, float]:
        """The scores of a set of positions, by name."""

    @abstractmethod
    def picture(self, outputs: Float[Tensor, "b *shape"]) -> Float[Tensor, "b 64 64"]:
        """What the network says, as images in [0, 1]."""


class Classification(CoordinateTask):
    """(x, y) to one of 4096 pixels; cross-entropy."""

    metric = "accuracy"

    def pixels(self, rows: Rows) -> Rows:
        """The number of the pixel at each centre."""
        return self.centres[rows, 0] * SIZE + self.centres[rows, 1]

    def loss(self, network: nn.Module, rows: Rows) -> Float[Tensor, ""]:
        """Cross-entropy over the pixels, nats."""
        return F.cross_entropy(network(self.inputs(rows)).float().flatten(1), self.pixels(rows))

    def scores(self, outputs: Float[Tensor, "b 1 64 64"], rows: Rows) -> dict[str, Float[Tensor, " b"]]:
        """Whether the likeliest pixel is the right one, and how far it lies from it, in pixels."""
        guess = outputs.flatten(1).argmax(1)
        away = torch.stack([guess // SIZE, guess % SIZE], 1) - self.centres[rows]
        return {"accuracy": (guess == self.pixels(rows)).float(), "distance": away.float().norm(dim=1)}

    def summary(self, scores: dict[str, Float[Tensor, " b"]]) -> dict[str, float]:
        """Means."""
        return {name: float(values.mean()) for name, values in scores.items()}

    def picture(self, outputs: Float[Tensor, "b 1 64 64"]) -> Float[Tensor, "b 64 64"]:
        """Probabilities."""
        return outputs.flatten(1).softmax(1).view(-1, SIZE, SIZE)


class Regression(CoordinateTask):
    """An image with one pixel set to its (x, y); mean squared error of scaled centres."""

    metric = "error"

    def inputs(self, rows: Rows) -> Float[Tensor, "b 1 64 64"]:
        """Images of zeros with a one at the centre."""
        images = torch.zeros(len(rows), SIZE * SIZE, device=self.scaled.device)
        images[torch.arange(len(rows), device=images.device), self.centres[rows, 0] * SIZE + self.centres[rows, 1]] = 1
        return images.view(-1, 1, SIZE, SIZE)

    def loss(self, network: nn.Module, rows: Rows) -> Float[Tensor, ""]:
        """Mean squared error; 1 is the square of half the canvas."""
        return F.mse_loss(network(self.inputs(rows)).float(), self.scaled[rows])

    def scores(self, outputs: Float[Tensor, "b 2"], rows: Rows) -> dict[str, Float[Tensor, " b"]]:
        """Euclidean distances in pixels."""
        return {"error": (outputs - self.scaled[rows]).norm(dim=1) * PIXELS}

    def summary(self, scores: dict[str, Float[Tensor, " b"]]) -> dict[str, float]:
        """Mean and worst."""
        return {"error": float(scores["error"].mean()), "error_worst": float(scores["error"].max())}

    def picture(self, outputs: Float[Tensor, "b 2"]) -> Float[Tensor, "b 64 64"]:
        """A square of 5x5 pixels around the pixel that the answer falls on; nothing where it is off the canvas."""
        answer = ((outputs + 1) * PIXELS).round()
        places = torch.arange(SIZE, device=outputs.device)
        near = (places - answer[:, :, None]).abs() <= 2  # (b, 2, 64)
        return (near[:, 0, :, None] & near[:, 1, None, :]).float()


class Rendering(CoordinateTask):
    """(x, y) to the 9x9 square around it; binary cross-entropy of every pixel, mean over all."""

    metric = "iou"

    def __init__(self, config: VisionConfig, device: torch.device) -> None:
        super().__init__(config, device)
        images = NotSoClevr().render(np.arange(NotSoClevr.count)).images
        self.images = torch.from_numpy(images).to(device)  # (3136, 1, 64, 64), 13 MB

    def loss(self, network: nn.Module, rows: Rows) -> Float[Tensor, ""]:
        """Binary cross-entropy, nats a pixel, and what `centre_weight` adds."""
        weight, targets = self.config.centre_weight, self.images[rows].float()
        if not (weight and isinstance(network, PaperCoordRenderer)):
            return F.binary_cross_entropy_with_logits(network(self.inputs(rows)).float(), targets)
        centre = network.painter(self.inputs(rows))
        pixels = self.centres[rows, 0] * SIZE + self.centres[rows, 1]
        square = F.binary_cross_entropy_with_logits(network.paint(centre).float(), targets)
        return square + weight * F.cross_entropy(centre.float().flatten(1), pixels)

    def scores(self, outputs: Float[Tensor, "b 1 64 64"], rows: Rows) -> dict[str, Float[Tensor, " b"]]:
        """Intersection over union of the square and of all pixels with a probability above one half."""
        painted, target = outputs > 0, self.images[rows] > 0
        both, either = (painted & target).sum((1, 2, 3)), (painted | target).sum((1, 2, 3))
        return {"iou": both / either}

    def summary(self, scores: dict[str, Float[Tensor, " b"]]) -> dict[str, float]:
        """Mean and worst."""
        return {"iou": float(scores["iou"].mean()), "iou_worst": float(scores["iou"].min())}

    def picture(self, outputs: Float[Tensor, "b 1 64 64"]) -> Float[Tensor, "b 64 64"]:
        """Probabilities."""
        return outputs[:, 0].sigmoid()


def make_task(config: VisionConfig, device: torch.device) -> CoordinateTask:
    """The task of a configuration."""
    kinds: dict[str, type[CoordinateTask]] = {
        "classification": Classification, "regression": Regression, "rendering": Rendering,
    }  # fmt: skip
    return kinds[config.task](config, device)
