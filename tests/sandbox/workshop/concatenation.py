"""The coordinate layers as the paper writes them: planes concatenated, then torch's own convolution."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sandbox.nn.coordconv import CoordConv, CoordConvTranspose2d


def concatenate(x: Tensor, groups: int = 1, with_r: bool = False, order: str = "rows_first") -> Tensor:
    """The planes behind the content of each group, computed without any code of ours."""
    *_, height, width = x.shape
    ramps = [np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in (height, width)]
    grid = list(np.meshgrid(*ramps, indexing="ij"))
    grid = grid[::-1] if order == "columns_first" else grid
    grid += [np.hypot(*grid)] if with_r else []
    extra = torch.tensor(np.stack(grid), dtype=x.dtype).expand(len(x), -1, -1, -1)
    return torch.cat([part for content in x.chunk(groups, dim=1) for part in (content, extra)], dim=1)


def concatenating(layer: CoordConv, x: Tensor) -> Tensor:
    """What the layer must compute, as the paper writes it."""
    full = concatenate(x, layer.groups, layer.with_r)
    kind = (layer.stride, layer.padding)
    if isinstance(layer, CoordConvTranspose2d):
        extra = (layer.output_padding, layer.groups, layer.dilation)
        return F.conv_transpose2d(full, layer.weight, layer.bias, *kind, *extra)
    if layer.padding_mode != "zeros":
        full = F.pad(full, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        kind = (layer.stride, 0)
    weight = layer.weight
    if layer.groups > 1:  # the stored weight is one group's; the groups of `full` match it
        assert weight.shape[1] == full.shape[1] // layer.groups
    return F.conv2d(full, weight, layer.bias, *kind, layer.dilation, layer.groups)


def gradients(out: Tensor, *inputs: Tensor | None) -> list[Tensor]:
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return list(torch.autograd.grad(out, [each for each in inputs if each is not None], cotangent))
