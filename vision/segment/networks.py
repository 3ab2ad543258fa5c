"""Segmentation networks in two parts, encoder and head: what lies between them are the channels that are zeroed."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.types import Padding
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
