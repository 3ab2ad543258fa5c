"""Layers that compute in a way of their own, and networks with coordinates by concatenation."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from concatenation import CONV, TRANSPOSED, concatenate, concatenating
from torch import Tensor, nn

from sandbox.nn.beside import Beside
from sandbox.nn.coordconv import CoordConv


class Standardised(nn.Conv2d):
    """A layer with a forward of its own, as many libraries have."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / (1e-6 + self.weight.std((1, 2, 3), keepdim=True))
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Padding(nn.Conv2d):
    """A layer that pads as TensorFlow's ``same`` does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(padded_as_same(x, self))


def padded_as_same(x: Tensor, layer: nn.Conv2d) -> Tensor:
    ends: list[int] = []
    for length, kernel, stride in zip(x.shape[:1:-1], layer.kernel_size[::-1], layer.stride[::-1], strict=True):
        whole = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        ends += [whole // 2, whole - whole // 2]
    return F.pad(x, ends)


class Own(nn.Module):
    """A convolution of no class of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding = 3, 4, 3, 1, 1
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.sin(), padding=1)


def given_weights(network: nn.Module) -> list[nn.Parameter]:
    """Gives every coordinate weight numbers; of a size that leaves deep networks finite."""
    found = [each for name, each in network.named_parameters() if "coordinate" in name]
    for weight in found:
        nn.init.normal_(weight, std=0.05)
    return found


def by_concatenation(network: nn.Module) -> nn.Module:
    """A copy whose coordinate layers concatenate the planes, as the paper writes it."""
    network = copy.deepcopy(network)
    for layer in list(network.modules()):
        if isinstance(layer, CoordConv):
            layer.forward = lambda x, layer=layer: concatenating(layer, x)
        elif isinstance(beside := getattr(layer, "coordinate", None), Beside):
            layer._forward_hooks.clear()
            layer.register_forward_hook(lambda layer, inputs, out, beside=beside: out + beside_by_hand(
                layer, inputs[0], out, beside))  # fmt: skip
    return network


def beside_by_hand(layer: Any, x: Tensor, out: Tensor, beside: Beside) -> Tensor:
    """Convolution is linear: of planes that are concatenated to the content, this is the share of the output."""
    planes = concatenate(x)[:1, x.shape[1] :]
    kind = (layer.stride, layer.padding)
    if getattr(layer, "transposed", False):
        return TRANSPOSED[x.dim() - 2](planes, beside.weight, None, *kind, layer.output_padding, 1, layer.dilation)
    if type(layer).__name__ in ("Conv2dSame", "Padding") or getattr(layer, "dynamic_padding", False):
        return F.conv2d(padded_as_same(planes, layer), beside.weight, None, layer.stride)
    return CONV[x.dim() - 2](planes, beside.weight, None, *kind, getattr(layer, "dilation", 1))
