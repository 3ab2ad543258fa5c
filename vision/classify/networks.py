"""A small VGG and ResNet-18, whose only source of position is their padding, or their coordinates, and their heads."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import Padding
from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv
from vision.classify.config import Network

STRIDE = 8  # of the whole network: sizes divisible by it are halved without remainder


class PooledConv(nn.Module):
    """GAPNet's head: a 3x3 convolution to the classes, then the mean. ``(b, c, h, w) -> (b, classes)``."""

    def __init__(self, convs: Convolutions, channels: int, classes: int, padding: Padding) -> None:
        super().__init__()
        self.conv = PaddedConv(convs, channels, classes, padding, first=False)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        """Logits."""
        logits: Tensor = self.conv(maps).mean((2, 3))
        return logits


class PooledLinear(nn.Linear):
    """The mean, then a dense layer. ``(b, c, h, w) -> (b, classes)``.

    Args:
        channels: of the maps.
        classes: how many.
        permuted: PermuteNet's head: between the two the channels change places, all images of a forward pass in the
            same way, each forward pass in another. Which one depends on what `restart` was told and on how many have
            passed since.
    """

    def __init__(self, channels: int, classes: int, permuted: bool = False) -> None:
        super().__init__(channels, classes)
        self.permuted = permuted
        self.restart()

    def restart(self, *key: str | int) -> None:
        """The permutations from here on are those of a key, whatever passed before."""
        self._key, self._passed = key, 0

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        """Logits."""
        pooled = maps.mean((2, 3))
        if self.permuted:
            generator = keyed_generator(0, "permutation", *self._key, self._passed)
            self._passed += 1
            pooled = pooled[:, torch.randperm(pooled.shape[1], generator=generator).to(pooled.device)]
        logits: Tensor = super().forward(pooled)
        return logits


class SmallVgg(nn.Module):
    """Four stages of two 3x3 convolutions with batch norm and ReLU, max-pools of 2 between them, and a head.

    ``(b, 3, h, w) -> (b, classes)``; h and w divisible by `STRIDE`. With circular padding and without coordinates the
    maps roll with an image that rolls by multiples of `STRIDE`, and the logits of a pooled head stay the same.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them.
        padding: of all of them.
        width: channels of the first stage; each further one has twice as many.
        head: from the last maps, of 8 x width channels, to logits.
    """

    def __init__(self, convs: Convolutions, padding: Padding, width: int, head: nn.Module) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList()
        for stage, (a, b) in enumerate(pairwise(channels)):
            layers: list[nn.Module] = []
            for k, c in enumerate((a, b)):
                conv = PaddedConv(convs, c, b, padding, first=stage == k == 0)
                layers += [conv, nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
            self.stages.append(nn.Sequential(*layers))
        self.head = head

    def maps(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The last stage's maps."""
        x = images
        for k, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if k else x)
        return x

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        """Logits of images in [-1, 1]."""
        logits: Tensor = self.head(self.maps(images))
        return logits


class ResNet18(nn.Module):
    """torchvision's ResNet-18, 7x7 stem of stride 2, without its max-pool: a total stride of 16. As the paper has it.

    The 1x1 convolutions of its shortcuts have nothing to pad, and never know coordinates.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them.
        padding: of all of them.
        head: on the last maps, of 512 channels.
    """

    def __init__(self, convs: Convolutions, padding: Padding, head: nn.Module) -> None:
        super().__init__()
        from torchvision.models import resnet18

        whole = resnet18()
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu)
        self.stages = nn.Sequential(whole.layer1, whole.layer2, whole.layer3, whole.layer4)
        self.head = head
        for name, layer in list(self.named_modules()):
            if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) and not name.startswith("head"):
                place, _, last = name.rpartition(".")
                setattr(self.get_submodule(place), last, PaddedConv(
                    convs, layer.in_channels, layer.out_channels, padding, first=name == "stem.0",
                    kernel_size=layer.kernel_size[0], stride=layer.stride[0], bias=False,
                ))  # fmt: skip

    def maps(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The last stage's maps."""
        maps: Tensor = self.stages(self.stem(images))
        return maps

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        """Logits of images in [-1, 1]."""
        logits: Tensor = self.head(self.maps(images))
        return logits


def channels_of(network: Network, width: int) -> int:
    """Channels of a network's last maps, which its head gets; ``width`` is that of `SmallVgg`."""
    return 512 if network == "resnet18" else 8 * width


def make_classifier(
    network: Network, convs: Convolutions, padding: Padding, width: int, head: nn.Module
) -> SmallVgg | ResNet18:
    """A classifier by its name, not yet seeded; ``head`` takes maps of `channels_of` channels."""
    return ResNet18(convs, padding, head) if network == "resnet18" else SmallVgg(convs, padding, width, head)
