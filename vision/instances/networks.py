"""The networks of an instances run: a U-Net and a head."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import PaddedConv, make_convolutions
from sandbox.nn.seeding import with_start
from vision.instances.spec import InstancesConfig
from vision.segment.unet import UNet, cropped

_HIDDEN, _GROUPS, _DEEP = 32, 8, 3  # channels, groups of the norm and 3x3 convolutions of SOLO's branches (256, 32, 7)
_RARE = -4.6  # logit of a share of one in a hundred: where a focal loss begins (Lin et al. 2017, arXiv 1708.02002)


class Embedding(nn.Module):
    """A vector for each pixel and how surely it belongs to an object. ``(b, c, h, w) -> (b, dimensions + 1, h, w)``.

    Args:
        convs: of the 1x1 convolution.
        channels: c.
        dimensions: of a vector; the last channel is the logit of the foreground.
        semi: a semi-convolution (Novotny et al. 2018, arXiv 1807.10712): the pixel's row and column, in pixels
            from the middle of the canvas, are added to the first two numbers.
    """

    def __init__(self, convs: Convolutions, channels: int, dimensions: int, semi: bool) -> None:
        super().__init__()
        self.conv, self.semi = convs.conv(channels, dimensions + 1, 1), semi

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Embeddings, then the logit."""
        out: Tensor = self.conv(maps)
        if not self.semi:
            return out
        h, w = out.shape[2:]
        rows, columns = (torch.arange(n, device=out.device, dtype=torch.float32) - (n - 1) / 2 for n in (h, w))
        places = torch.stack([rows[:, None].expand(h, w), columns.expand(h, w)])
        return torch.cat([out[:, :2].float() + places, out[:, 2:].float()], 1)  # bfloat16 is too coarse


class Solo(nn.Module):
    """SOLO's two branches (Wang et al. 2020, arXiv 1912.04488): is there an object in a cell, and its mask.

    ``(b, c, h, w) -> (b, s, s)`` logits of the cells and ``(b, s^2, h / 2, w / 2)`` logits of their masks, cells row by
    row. The category branch sees the maps averaged over the cells, the mask branch at half their size. SOLO enlarges
    its maps before the last 1x1 convolution; since that sees one pixel alone, `vision.instances.solo` may do so behind
    it, and only to the masks that count.

    Args:
        convs: of all its convolutions.
        channels: c.
        cells: s.
        padding: zeros or circular.
    """

    def __init__(self, convs: Convolutions, channels: int, cells: int, padding: str) -> None:
        super().__init__()
        self.cells = cells
        self.categories = _branch(convs, channels, padding)
        self.masks = _branch(convs, channels, padding)
        self.category = with_start(convs.conv(_HIDDEN, 1, 1), bias=_RARE)
        self.mask = convs.conv(_HIDDEN, cells**2, 1)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b s s"], Float[Tensor, "b k h2 w2"]]:
        """Logits of cells and masks."""
        category: Tensor = self.category(self.categories(F.adaptive_avg_pool2d(maps, self.cells)))
        mask: Tensor = self.mask(self.masks(F.avg_pool2d(maps, 2)))
        return category[:, 0], mask


def _branch(convs: Convolutions, channels: int, padding: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k in range(_DEEP):
        conv = PaddedConv(convs, _HIDDEN if k else channels, _HIDDEN, padding, first=False, bias=False)  # type: ignore[arg-type]
        layers += [conv, nn.GroupNorm(_GROUPS, _HIDDEN), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class InstanceNet(nn.Module):
    """A U-Net and a head: images in [-1, 1] to what the head says of them."""

    def __init__(self, config: InstancesConfig) -> None:
        super().__init__()
        c = config
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, c.padding)
        self.border = c.border
        self.trunk = UNet(convs, c.padding, c.width, skips=c.skips)
        self.head: nn.Module = (
            Solo(convs, c.width, c.cells, c.padding)
            if c.head == "solo"
            else Embedding(convs, c.width, c.dimensions, c.head == "semiconv")
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Tensor | tuple[Tensor, Tensor]:
        """See `Embedding` and `Solo`."""
        maps = self.trunk(images)
        if self.border:
            maps = cropped(maps, *(length - 2 * self.border for length in images.shape[-2:]))
        out: Tensor | tuple[Tensor, Tensor] = self.head(maps)
        return out
