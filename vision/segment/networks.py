"""Segmentation networks: in two parts, whose channels between them can be zeroed; and an encoder-decoder with skips."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sandbox.base.types import AnyPadding, Padding
from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv
from vision.classify.networks import STRIDE, SmallVgg


def enlarged(logits: Float[Tensor, "b k h w"], circular: bool = False) -> Float[Tensor, "b k h2 w2"]:
    """`STRIDE` times as large, bilinear, as DeepLabv3 ends; ``circular``: the last row goes over into the first."""
    around = F.pad(logits, (1, 1, 1, 1), mode="circular" if circular else "replicate")
    larger = F.interpolate(around, scale_factor=float(STRIDE), mode="bilinear")
    return larger[:, :, STRIDE:-STRIDE, STRIDE:-STRIDE]


class Head(nn.Module):
    """A 3x3 convolution beside the mean of the maps, 1x1 to the classes, enlarged: DeepLabv3's plan without dilation.

    ``(b, c, h, w) -> (b, classes, 8 h, 8 w)``. With circular padding and without coordinates it rolls with its maps.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them.
        channels: c.
        classes: how many.
        padding: of the 3x3 convolution and of the enlargement, see `enlarged`.
    """

    def __init__(self, convs: Convolutions, channels: int, classes: int, padding: Padding) -> None:
        super().__init__()
        hidden = channels // 2
        self.circular = padding == "circular"
        self.conv = PaddedConv(convs, channels, hidden, padding, first=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.pooled = nn.Linear(channels, hidden)
        self.last = PaddedConv(convs, 2 * hidden, classes, padding, first=False, kernel_size=1)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h2 w2"]:
        """Logits."""
        near = self.norm(self.conv(maps)).relu()
        whole = self.pooled(maps.mean((2, 3))).relu()[:, :, None, None]
        return enlarged(self.last(torch.cat([near, whole.expand_as(near)], 1)), self.circular)


class SmallNet(SmallVgg):
    """A small VGG with `Head`. ``(b, 3, h, w) -> (b, classes, h, w)``; h and w divisible by `STRIDE`."""

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits of images in [-1, 1]."""
        logits: Tensor = self.head(self.maps(images))
        return logits


class DeepLab(nn.Module):
    """torchvision's DeepLabv3 with ResNet-50, or its FCN, without weights. ``(b, 3, h, w) -> (b, classes, h, w)``.

    Args:
        classes: how many.
        name: ``deeplabv3_resnet50`` or ``fcn_resnet50``.
    """

    def __init__(self, classes: int, name: str = "deeplabv3_resnet50") -> None:
        super().__init__()
        from torchvision.models import get_model  # a second, that only who asks for it waits for

        whole: Any = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
        self.backbone, self.classifier = whole.backbone, whole.classifier

    def maps(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048 h2 w2"]:
        """The encoder's last maps, an eighth as large."""
        out: Tensor = self.backbone(images)["out"]
        return out

    def head(self, maps: Float[Tensor, "b 2048 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        """Logits."""
        return enlarged(self.classifier(maps))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits of images in [-1, 1]."""
        return self.head(self.maps(images))


class EncoderDecoder(nn.Module):
    """A small U-Net (Ronneberger et al. 2015, arXiv 1505.04597): two max-pools of 2, nearest upsampling, skips.

    ``(b, 3, h, w) -> (b, outputs, h, w)``, h and w divisible by 4; with ``valid`` padding 34 rows and columns fewer, 17
    on each side, and h and w at least 44. With circular padding and without coordinates it rolls with images that roll
    by multiples of 4.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them.
        padding: of all of them.
        width: channels at full size; twice and four times as many at a half and a quarter.
        outputs: channels of the answer.
    """

    def __init__(self, convs: Convolutions, padding: AnyPadding, width: int, outputs: int) -> None:
        super().__init__()

        def block(*channels: int, first: bool = False) -> nn.Sequential:
            layers: list[nn.Module] = []
            for k, (a, b) in enumerate(pairwise(channels)):
                layers += [PaddedConv(convs, a, b, padding, first=first and k == 0), nn.BatchNorm2d(b),
                           nn.ReLU(inplace=True)]  # fmt: skip
            return nn.Sequential(*layers)

        w = width
        self.down = nn.ModuleList([block(3, w, w, first=True), block(w, 2 * w, 2 * w), block(2 * w, 4 * w, 4 * w)])
        self.up = nn.ModuleList([block(6 * w, 2 * w), block(3 * w, w)])
        self.last = PaddedConv(convs, w, outputs, padding, first=False, kernel_size=1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b outputs h2 w2"]:
        """The answer for images in [-1, 1]."""
        fine = self.down[0](images)
        middle = self.down[1](F.max_pool2d(fine, 2))
        x = self.down[2](F.max_pool2d(middle, 2))
        for block, skip in zip(self.up, (middle, fine), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, cropped(skip, x.shape[-2], x.shape[-1])], 1))
        out: Tensor = self.last(x)
        return out


def cropped(maps: Shaped[Tensor, "*b h w"], height: int, width: int) -> Shaped[Tensor, "*b height width"]:
    """The middle of some maps."""
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]
