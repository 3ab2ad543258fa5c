"""A small U-Net that commutes with shifts by 8 pixels exactly, where its padding is circular.

Ronneberger et al. 2015 (arXiv 1505.04597) with 2x2 max-pools and nearest upsampling. Upsampling that treats borders in
a way of its own, bilinear or transposed, would break the symmetry that is measured.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.types import AnyPadding
from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv

BORDER = (
    38  # pixels on each side that the network takes away where the padding is valid; the size stays a multiple of 8
)


class Block(nn.Sequential):
    """3x3 convolutions, each with batch norm and ReLU. ``(b, in, h, w) -> (b, out, h', w')``."""

    def __init__(
        self, convs: Convolutions, a: int, b: int, padding: AnyPadding, count: int, *, first: bool = False
    ) -> None:
        layers: list[nn.Module] = []
        for k in range(count):
            conv = PaddedConv(convs, b if k else a, b, padding, first=first and not k, bias=False)
            layers += [conv, nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """Four levels: two convolutions, a max-pool; on the way up nearest upsampling, the skip, one convolution.

    ``(b, 3, h, w) -> (b, width, h, w)``, h and w divisible by 8. Padding ``valid``: ``(b, 3, h + 2 BORDER, w + 2
    BORDER) -> (b, width, h, w)``, the middle of what the network sees.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them for the padding.
        padding: zeros, circular or valid.
        width: channels of the first level, doubled three times.
        skips: whether the way up sees the maps of the way down.
    """

    def __init__(self, convs: Convolutions, padding: AnyPadding, width: int, skips: bool = True) -> None:
        super().__init__()
        channels = [width * 2**k for k in range(4)]
        self.padding, self.skips = padding, skips
        self.down = nn.ModuleList(
            Block(convs, a, b, padding, 2, first=k == 0) for k, (a, b) in enumerate(pairwise([3, *channels]))
        )
        self.up = nn.ModuleList(
            Block(convs, a + (b if skips else 0), b, padding, 1) for a, b in pairwise(channels[::-1])
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Maps at the images' own size."""
        x, seen = images, []
        for k, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if k else x)
            seen.append(x)
        for block, skip in zip(self.up, seen[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, _middle(skip, x)], 1) if self.skips else x)
        return x[:, :, 1:-1, 1:-1] if self.padding == "valid" else x


def _middle(skip: Float[Tensor, "b c h w"], like: Float[Tensor, "b d h2 w2"]) -> Float[Tensor, "b c h2 w2"]:
    """The middle of a map that a valid convolution of another has outgrown; all of it otherwise."""
    rows, columns = ((a - b) // 2 for a, b in zip(skip.shape[2:], like.shape[2:], strict=True))
    return skip[:, :, rows : rows + like.shape[2], columns : columns + like.shape[3]]
