"""What the study asks of a detector, and the paper's: region proposals without classes."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vision.detection.boxes import Found, Truths, clipped, kept, moved
from vision.detection.losses import losses
from vision.detection.networks import RegionProposals


class Detector(ABC):
    """A network and how it is trained and asked. Images are ``(b, c, h, w)`` in [0, 1], of any size.

    Attributes:
        network: moves with the study's weights and modes.
        classes: whether it tells classes.
    """

    network: nn.Module
    classes = False

    @abstractmethod
    def losses(self, images: Float[Tensor, "b c h w"], truths: Truths, draws: torch.Generator) -> dict[str, Tensor]:
        """Losses by tag, ``loss/...``, whose sum is minimised, and what else is told of a step.

        Args:
            images: of a batch.
            truths: their objects.
            draws: a CPU stream, on which alone the sampling depends.
        """

    @abstractmethod
    def detect(self, images: Float[Tensor, "b c h w"]) -> list[Found]:
        """Ten proposals of each image at most, the surest first."""


class Proposer(Detector):
    """The paper's region-proposal network.

    Args:
        network: its weights.
        autocast: the run's precision, as a context; losses and boxes are computed in float32.
    """

    def __init__(self, network: RegionProposals, autocast: Any) -> None:
        self.network: RegionProposals = network
        self.autocast = autocast

    def losses(self, images: Float[Tensor, "b c h w"], truths: Truths, draws: torch.Generator) -> dict[str, Tensor]:
        """Those of boxes and scores, and the IoU of the sampled positives; see `vision.detection.losses`."""
        with self.autocast():
            moves, logits = self.network(images)
        size = size_of(images)
        return losses(moves.float(), logits.float(), self._anchors(images), truths, size, draws)

    @torch.no_grad()
    def detect(self, images: Float[Tensor, "b c h w"]) -> list[Found]:
        """The ten best after non-maximum suppression."""
        moves, logits = self.network(images)
        return kept(clipped(moved(self._anchors(images), moves), size_of(images)), logits.softmax(2)[..., 0])

    def _anchors(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "n 4"]:
        return self.network.anchors(size_of(images)).to(images.device)


def size_of(images: Float[Tensor, "b c h w"]) -> tuple[int, int]:
    """Height and width of a batch of images."""
    return images.shape[2], images.shape[3]
