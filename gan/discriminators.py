"""Discriminators: images to one score each, large for real ones."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from gan.spec import Head
from sandbox.nn.blocks import Convolutions, DownBlock


class MatchedDiscriminator(nn.Module):
    """Stride-2 blocks down to 4x4 and a dense layer, without normalisation. ``(b, 3, s, s) -> (b,)``.

    Args:
        convs: plain or coordinate convolutions; the image meets the ``first`` one.
        width: channels at half the image's size; each smaller size has twice as many, at most ``8 * width``.
        head: ``dense`` weighs every cell of the last 4x4 map by itself; ``pooled`` weighs their mean. With ``pooled``,
            circular padding and no coordinates, images rolled by multiples of a quarter of the size, the total
            stride, score alike.
        size: of the image, 4 times a power of two.
    """

    def __init__(self, convs: Convolutions, width: int, head: Head = "dense", size: int = 64) -> None:
        super().__init__()
        halvings = (size // 4).bit_length() - 1
        channels = [3, *(width * min(2**i, 8) for i in range(halvings))]  # for 64: 3 w 2w 4w 8w at 64, 32, 16, 8, 4
        self.blocks = nn.Sequential(
            *(DownBlock(convs, a, b, 5 if i == 0 else 3, first=i == 0) for i, (a, b) in enumerate(pairwise(channels)))
        )
        self.pooled = head == "pooled"
        self.head = nn.Linear(channels[-1] * (1 if self.pooled else 16), 1)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, " b"]:
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
