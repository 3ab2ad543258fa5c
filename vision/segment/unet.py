"""A small U-Net that commutes with shifts by its total stride exactly, where its padding is circular.

Ronneberger et al. 2015 (arXiv 1505.04597) with 2x2 max-pools and nearest upsampling. Upsampling that treats borders in
a way of its own, bilinear or transposed, would break that symmetry.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sandbox.base.types import AnyPadding
from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv


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
    """Levels of two convolutions, max-pools between them; on the way up nearest upsampling, the skip, one convolution.

    ``(b, 3, h, w) -> (b, width, h, w)``, h and w divisible by the total stride, 2^(levels - 1). With ``valid`` padding
    the answer is smaller and lies in the middle: by 34 rows and columns with three levels, by 74 with four.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them for the padding.
        padding: of all of them.
        width: channels of the first level, doubled from level to level.
        levels: how many.
        skips: whether the way up sees the maps of the way down.
    """

    def __init__(
        self, convs: Convolutions, padding: AnyPadding, width: int, levels: int = 4, skips: bool = True
    ) -> None:
        super().__init__()
        channels = [width * 2**k for k in range(levels)]
        self.skips = skips
        self.down = nn.ModuleList(
            Block(convs, a, b, padding, 2, first=k == 0) for k, (a, b) in enumerate(pairwise([3, *channels]))
        )
        self.up = nn.ModuleList(
            Block(convs, a + (b if skips else 0), b, padding, 1) for a, b in pairwise(channels[::-1])
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Maps at the images' own size, or of their middle."""
        x, seen = images, []
        for k, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if k else x)
            seen.append(x)
        for block, skip in zip(self.up, seen[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, cropped(skip, x.shape[-2], x.shape[-1])], 1) if self.skips else x)
        return x


class EncoderDecoder(UNet):
    """A U-Net of three levels and a 1x1 convolution to the answer. ``(b, 3, h, w) -> (b, outputs, h, w)``.

    Args:
        convs, padding, width: see `UNet`.
        outputs: channels of the answer.
    """

    def __init__(self, convs: Convolutions, padding: AnyPadding, width: int, outputs: int) -> None:
        super().__init__(convs, padding, width, levels=3)
        self.last = PaddedConv(convs, width, outputs, padding, first=False, kernel_size=1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b outputs h2 w2"]:
        """The answer for images in [-1, 1]."""
        out: Tensor = self.last(super().forward(images))
        return out


def cropped(maps: Shaped[Tensor, "*b h w"], height: int, width: int) -> Shaped[Tensor, "*b height width"]:
    """The middle of some maps."""
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]
