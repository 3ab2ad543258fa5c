"""The one switch every network is built with: plain or coordinate convolutions, and the blocks made of them.

    convs = Convolutions(coord=True, layers="all")
    convs.conv(3, 64, 3, first=True)     # CoordConv2d(3, 64, 3, padding=1); with coord=False an nn.Conv2d
    seed_parameters(network, seed=0)     # both arms of a comparison start from the same content weights

A network takes a `Convolutions` and asks it for every convolution, so that two arms differ in nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.errors import UserError, nearest
from sandbox.base.types import CoordLayers, PaddingMode
from sandbox.nn.convolve import add_map
from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d
from sandbox.nn.coordify import convolutions, coordify
from sandbox.nn.planes import full_precision, is_call_bound


@dataclass(frozen=True)
class Convolutions:
    """Makes the convolutions of one network, all of one kind.

    Attributes:
        coord: coordinate convolutions instead of plain ones.
        layers: which of them: only the one a network calls its ``first``, ``all``, or names and patterns of layers, a
            comma between, which `place_by_name` converts once the network stands.
        with_r: the radius plane as a third coordinate.
        padding_mode: how ``conv`` pads; transposed convolutions always pad zeros.
    """

    coord: bool = False
    layers: CoordLayers = "all"
    with_r: bool = False
    padding_mode: PaddingMode = "zeros"

    def _knows_position(self, first: bool) -> bool:
        return self.coord and (self.layers == "all" or (first and self.layers == "first"))

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        first: bool = False,
        padding: int | None = None,
    ) -> nn.Conv2d:
        """A convolution that keeps the image size, or divides it by ``stride`` (odd kernel sizes, own padding)."""
        padding = kernel_size // 2 if padding is None else padding
        mode = self.padding_mode if padding else "zeros"
        if self._knows_position(first):
            return CoordConv2d(
                in_channels, out_channels, kernel_size, stride, padding, padding_mode=mode, with_r=self.with_r
            )
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, padding_mode=mode)

    def conv_transpose(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 2, *, first: bool = False
    ) -> nn.ConvTranspose2d:
        """A transposed convolution that multiplies the image size by ``stride`` (odd kernel sizes)."""
        padding, extra = kernel_size // 2, stride - 1
        if self._knows_position(first):
            return CoordConvTranspose2d(
                in_channels, out_channels, kernel_size, stride, padding, extra, with_r=self.with_r
            )
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding, extra)


def channels_last(device: str, bf16: bool) -> bool:
    """Whether convolutions are faster in ``torch.channels_last``: on a CPU (benchmarks/steps.py), and in bf16."""
    return device == "cpu" or bf16


def place_by_name(networks: Mapping[str, nn.Module], convs: Mapping[str, Convolutions]) -> None:
    """Turns the convolutions that ``layers`` names into coordinate ones, where it is neither ``first`` nor ``all``.

    Args:
        networks: of one study by name, not yet seeded. A layer goes by its name in its network, ``blocks.0.conv``, or
            with the network's before it, ``generator.blocks.0.conv``; ``*`` stands for any characters.
        convs: what each network was built with, all with the same ``layers``.

    Raises:
        UserError: a name or pattern fits no convolution of the networks that are to know coordinates (where none is to:
            of any).
    """
    (layers,) = {conv.layers for conv in convs.values()}
    if layers in ("first", "all"):
        return
    # A plain arm converts nothing, and is told of a wrong name all the same.
    knowing = {name: network for name, network in networks.items() if convs[name].coord} or networks
    places = [(network, layer) for network, module in knowing.items() for layer in convolutions(module)]
    chosen: dict[str, list[str]] = {network: [] for network in knowing}
    for pattern in layers.split(","):
        fits = [(network, layer) for network, layer in places
                if fnmatchcase(layer, pattern) or fnmatchcase(f"{network}.{layer}", pattern)]  # fmt: skip
        if not fits:
            names = [layer if len(knowing) == 1 else f"{network}.{layer}" for network, layer in places]
            close = nearest(pattern, ["first", "all", *names])
            raise UserError(f"--coord-layers: no convolution is called {pattern!r}: allowed are first, all, or names "
                            f"of {', '.join(names)}{close}")  # fmt: skip
        for network, layer in fits:
            chosen[network].append(layer)
    for network, names in chosen.items():
        if names and convs[network].coord:
            coordify(knowing[network], names, convs[network].with_r)


# A nearest-upsampled image has each pixel twice: of three taps along an axis, two always meet the same one.
# Rows: taps of the 4-wide transposed kernel; columns: taps of the 3-wide kernel.
_TAPS = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
_FOLD = torch.kron(_TAPS, _TAPS)  # (16, 9): the same for both axes at once
_LOW_PADDING = {"circular": "circular", "replicate": "replicate", "reflect": "replicate"}
_FOLD_FROM = 64  # pixels: on a smaller image, and on a GPU, preparing the weight costs more than it saves


def upsampled_conv(conv: nn.Conv2d, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
    """A 3x3 convolution of the image upsampled by 2 (nearest); on a CPU without upsampling it.

    ``(b, in, h, w) -> (b, out, 2h, 2w)``, equal to ``conv(interpolate(x, scale_factor=2))`` to rounding, for plain and
    coordinate convolutions and every padding mode. On a CPU 16 multiply-adds instead of 36 for each pixel of ``x``: it
    is a transposed convolution of stride 2 whose 4x4 kernel holds sums of the 3x3 kernel's taps. The coordinates are
    those of the upsampled image.

    Raises:
        ValueError: the convolution is not 3x3 with stride 1, padding 1 and one group.
    """
    if (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups) != ((3, 3), (1, 1), (1, 1), (1, 1), 1):
        raise ValueError(f"a 3x3 convolution with stride 1, padding 1 and one group is needed, not {conv}")
    # A layer that is frozen, or to which somebody listens (coordinates beside it, a norm of its weight), runs as it is.
    own = conv._forward_hooks or conv._forward_pre_hooks or getattr(conv, "size", None) is not None
    if own or x.shape[-2] * x.shape[-1] < _FOLD_FROM or is_call_bound(x.device):
        upsampled: Tensor = conv(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return upsampled
    weight, bias = conv.weight, None if isinstance(conv, CoordConv2d) else conv.bias
    with full_precision(x.device):
        kernel = weight.transpose(0, 1).flatten(2) @ _FOLD.to(weight).T  # (in, out, 16)
        kernel = kernel.unflatten(2, (4, 4))
    padding = 1
    if conv.padding_mode != "zeros":
        x, padding = nn.functional.pad(x, (1, 1, 1, 1), mode=_LOW_PADDING[conv.padding_mode]), 3
    out = nn.functional.conv_transpose2d(x, kernel, bias, stride=2, padding=padding)
    return add_map(out, conv.position_map(out)) if isinstance(conv, CoordConv2d) else out


class UpBlock(nn.Module):
    """Nearest upsampling by 2, 3x3 convolution, batch norm, leaky ReLU. ``(b, in, h, w) -> (b, out, 2h, 2w)``."""

    def __init__(self, convs: Convolutions, in_channels: int, out_channels: int, *, first: bool = False) -> None:
        super().__init__()
        self.conv = convs.conv(in_channels, out_channels, 3, first=first)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        """Doubles the image size."""
        return nn.functional.leaky_relu(self.norm(upsampled_conv(self.conv, x)), 0.2, inplace=True)


class DownBlock(nn.Module):
    """Convolution with stride 2, leaky ReLU. ``(b, in, h, w) -> (b, out, h/2, w/2)``."""

    def __init__(
        self, convs: Convolutions, in_channels: int, out_channels: int, kernel_size: int = 3, *, first: bool = False
    ) -> None:
        super().__init__()
        self.conv = convs.conv(in_channels, out_channels, kernel_size, stride=2, first=first)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        """Halves the image size."""
        return nn.functional.leaky_relu(self.conv(x), 0.2, inplace=True)
