"""A convolution under one of eight paddings: the one layer that tells what a border says of position."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.types import AnyPadding, CoordLayers
from sandbox.nn.blocks import Convolutions


def make_convolutions(coord: bool, layers: CoordLayers, with_r: bool, padding: AnyPadding) -> Convolutions:
    """Plain or coordinate convolutions with the padding mode that `PaddedConv` needs for a padding."""
    mode = padding if padding in ("circular", "reflect", "replicate") else "zeros"
    return Convolutions(coord, layers, with_r, mode)


class PaddedConv(nn.Module):
    """A convolution with an odd kernel of k x k under some padding. ``(b, in, h, w) -> (b, out, h', w')``.

    h' is h over the stride, rounded up, but with ``valid`` and ``full``.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them for this padding.
        padding: ``partial`` multiplies the sum over the pixels that are there by k² over their number (Liu et al. 2018,
            arXiv 1811.11718); ``none`` scales the map up by k - 1 pixels (bilinear) and convolves without padding;
            ``valid`` convolves without padding, ``full`` with k - 1 zeros on every side (arXiv 2003.07064).
        first: whether this is the network's first convolution.
        kernel_size: k.
        stride: of the convolution.
        bias: whether there is one.
    """

    def __init__(
        self, convs: Convolutions, in_channels: int, out_channels: int, padding: AnyPadding, *,
        first: bool, kernel_size: int = 3, stride: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind = padding
        around = {"none": 0, "valid": 0, "full": kernel_size - 1}.get(padding, kernel_size // 2)
        self.conv = convs.conv(in_channels, out_channels, kernel_size, stride, first=first, padding=around)
        if not bias:
            self.conv.bias = None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        """Convolves."""
        size = x.shape[-2:]
        if self.kind == "none":
            more = self.conv.kernel_size[0] - 1
            # As the authors of arXiv 2108.07884 do with k = 3, bilinear: nearest pixels would double the first and the
            # middle one alone, and move the lower right half of every map.
            x = F.interpolate(x, size=(size[0] + more, size[1] + more), mode="bilinear") if more else x
        out: Tensor = self.conv(x)
        if self.kind != "partial":
            return out
        rows, columns = (_missing(length, self.conv, x.device) for length in size)
        scale = rows[:, None] * columns[None, :]
        if self.conv.bias is None:
            return out * scale
        bias = self.conv.bias[:, None, None]
        return (out - bias) * scale + bias


def _missing(length: int, conv: nn.Conv2d, device: torch.device) -> Float[Tensor, " places"]:
    """Along one axis: k over the number of a window's pixels that lie on the image; 1 inside, above 1 at a border."""
    size, stride = conv.kernel_size[0], conv.stride[0]
    ones = F.pad(torch.ones(length, device=device), (size // 2, size // 2))
    there: Tensor = ones.unfold(0, size, stride).sum(1)
    return size / there
