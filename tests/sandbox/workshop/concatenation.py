"""The coordinate layers as the paper writes them: planes concatenated, then torch's own convolution."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sandbox.nn.coordconv import CoordConv

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def concatenate(
    x: Tensor, groups: int = 1, with_r: bool = False, order: str = "rows_first", radius: str = "centred"
) -> Tensor:
    """The planes behind the content of each group, computed without any code of ours."""
    sizes = x.shape[2:]
    ramps = [np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in sizes]
    grid = list(np.meshgrid(*ramps, indexing="ij"))
    grid = grid[::-1] if order == "columns_first" else grid
    centre = 0.5 if radius == "offset" else 0
    grid += [np.sqrt(sum((plane - centre) ** 2 for plane in grid))] if with_r else []
    extra = torch.tensor(np.stack(grid), dtype=x.dtype).expand(len(x), -1, *sizes)
    return torch.cat([part for content in x.chunk(groups, dim=1) for part in (content, extra)], dim=1)


def joined(layer: CoordConv) -> Tensor:
    """The concatenated weight; gradients reach both parts."""
    if not layer.transposed:
        return torch.cat([layer.weight, layer.coordinate_weight], 1)
    contents, coordinates = layer.weight.chunk(layer.groups, 0), layer.coordinate_weight.chunk(layer.groups, 1)
    return torch.cat([part for pair in zip(contents, coordinates, strict=True) for part in pair], 0)


def concatenating(layer: CoordConv, x: Tensor) -> Tensor:
    """What the layer must compute, as the paper writes it."""
    axes = x.dim() - 2
    full = concatenate(x, layer.groups, layer.with_r, radius=layer.radius)
    if layer.transposed:
        extra = (layer.output_padding, layer.groups, layer.dilation)
        return TRANSPOSED[axes](full, joined(layer), layer.bias, layer.stride, layer.padding, *extra)
    padding = layer.padding
    if layer.padding_mode != "zeros":
        full, padding = F.pad(full, layer._reversed_padding_repeated_twice, mode=layer.padding_mode), 0
    return CONV[axes](full, joined(layer), layer.bias, layer.stride, padding, layer.dilation, layer.groups)


def gradients(out: Tensor, *inputs: Tensor | None) -> list[Tensor]:
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return list(torch.autograd.grad(out, [each for each in inputs if each is not None], cotangent))


def assert_equal_to_concatenation(layer: CoordConv, x: Tensor, tolerance: float = 1e-10) -> None:
    """Output and gradients agree with those of the concatenating layer."""
    x = x.requires_grad_()
    out, reference = layer(x), concatenating(layer, x)
    assert out.shape == reference.shape
    torch.testing.assert_close(out, reference, rtol=0, atol=tolerance)
    inputs = (x, layer.weight, layer.coordinate_weight, layer.bias)
    for ours, theirs in zip(gradients(out, *inputs), gradients(reference, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
