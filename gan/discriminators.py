"""Discriminators: images to one score each, large for real ones."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from gan.config import Head
from sandbox.blocks import Convolutions, DownBlock


class MatchedDiscriminator(nn.Module):
    """Four stride-2 blocks and a dense layer, without normalisation. ``(b, 3, 64, 64) -> (b,)``.

    Args:
        convs: plain or coordinate convolutions; the image meets the ``first`` one.
        width: channels at 32x32; each smaller size has twice as many, at most ``8 * width``.
        head: ``dense`` weighs every cell of the last 4x4 map by itself; ``pooled`` weighs their mean. With ``pooled``,
            circular padding and no coordinates, images rolled by multiples of 16 pixels, the total stride, score alike.
    """

    def __init__(self, convs: Convolutions, width: int, head: Head = "dense") -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width]  # at 64, 32, 16, 8, 4 pixels
        self.blocks = nn.Sequential(
            *(DownBlock(convs, a, b, 5 if i == 0 else 3, first=i == 0) for i, (a, b) in enumerate(pairwise(channels)))
        )
        self.pooled = head == "pooled"
        self.head = nn.Linear(channels[-1] * (1 if self.pooled else 16), 1)

    def forward(self, images: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, " b"]:
        """Scores of images in [-1, 1]."""
        x = self.blocks(images)  # (b, 8w, 4, 4)
        scores: Tensor = self.head(x.mean((2, 3)) if self.pooled else x.flatten(1))
        return scores.squeeze(1)


class PaperDiscriminator(nn.Module):
    """The paper's: 5x5 convolutions of stride 2 to 64, 128, 256, 512, batch norm after the first, dense layer.

    ``(b, 3, 64, 64) -> (b,)``. The CoordConv arm adds the coordinates at its input alone. Liu et al. 2018, section 5.
    """

    def __init__(self, convs: Convolutions) -> None:
        super().__init__()
        layers: list[nn.Module] = [convs.conv(3, 64, 5, stride=2, first=True), nn.LeakyReLU(0.2)]
        for a, b in [(64, 128), (128, 256), (256, 512)]:
            layers += [convs.conv(a, b, 5, stride=2), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(512 * 16, 1)

    def forward(self, images: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, " b"]:
        """Scores of images in [-1, 1]."""
        scores: Tensor = self.head(self.layers(images).flatten(1))
        return scores.squeeze(1)
