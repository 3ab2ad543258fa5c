"""A small VGG whose only source of position is its padding, or its coordinates."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.blocks import Convolutions
from vision.padding.config import Padding, PaddingConfig

STRIDE = 8  # of the whole network: sizes divisible by it are halved without remainder
CLASSES = 4  # red square or disc, blue square or disc


class PaddedConv(nn.Module):
    """A 3x3 convolution that keeps the size, under one of six paddings. ``(b, in, h, w) -> (b, out, h, w)``.

    Args:
        convs: plain or coordinate convolutions, with the padding mode that `convolutions` gives them.
        padding: ``partial`` multiplies the sum over the pixels that are there by 9 over their number (Liu et al. 2018,
            arXiv 1811.11718); ``none`` scales the map up to h + 2 by w + 2 (nearest) and convolves without padding.
        first: whether this is the network's first convolution.
    """

    def __init__(self, convs: Convolutions, in_channels: int, out_channels: int, padding: Padding, *, first: bool):
        super().__init__()
        self.kind = padding
        self.conv = convs.conv(in_channels, out_channels, 3, first=first, padding=0 if padding == "none" else 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        """Convolves."""
        size = x.shape[-2:]
        if self.kind == "none":
            x = F.interpolate(x, size=(size[0] + 2, size[1] + 2), mode="nearest")
        out: Tensor = self.conv(x)
        if self.kind != "partial":
            return out
        assert self.conv.bias is not None
        bias = self.conv.bias[:, None, None]
        return (out - bias) * _missing(size, x.device) + bias


def _missing(size: torch.Size, device: torch.device) -> Float[Tensor, "h w"]:
    """9 over the number of a 3x3 window's pixels that lie on the image: 1 inside, 1.5 at an edge, 2.25 in a corner."""
    along = [torch.ones(length, device=device) for length in size]
    for ones in along:
        ones[0] = ones[-1] = 1.5
    return along[0][:, None] * along[1][None, :]


class SmallVgg(nn.Module):
    """Four stages of two 3x3 convolutions with batch norm and ReLU, max-pools of 2 between them, mean, dense layer.

    ``(b, 3, h, w) -> (b, 4)``; h and w divisible by `STRIDE`. With circular padding and without coordinates the maps
    roll with an image that rolls by multiples of `STRIDE`, and the logits stay the same: a network without position.

    Args:
        convs: plain or coordinate convolutions, as `convolutions` makes them.
        padding: of all of them.
        width: channels of the first stage; each further one has twice as many.
    """

    def __init__(self, convs: Convolutions, padding: Padding, width: int) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList()
        for stage, (a, b) in enumerate(pairwise(channels)):
            layers: list[nn.Module] = []
            for k, c in enumerate((a, b)):
                conv = PaddedConv(convs, c, b, padding, first=stage == k == 0)
                layers += [conv, nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
            self.stages.append(nn.Sequential(*layers))
        self.head = nn.Linear(channels[-1], CLASSES)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 4"]:
        """Logits of images in [-1, 1]."""
        x = images
        for k, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if k else x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def make_network(config: PaddingConfig) -> SmallVgg:
    """The classifier of a configuration, not yet seeded."""
    mode = config.padding if config.padding in ("circular", "reflect", "replicate") else "zeros"
    convs = Convolutions(config.coord, config.coord_layers, config.with_r, mode)
    return SmallVgg(convs, config.padding, config.width)
