"""A convolution with its coordinates' map added: what the layers of coordconv.py run."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sandbox.nn.maps import Geometry, convolved_planes, padded, position_map, table_of
from sandbox.nn.planes import full_precision, is_call_bound, is_traced, kept

_DOWN: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_UP: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_LARGE = 2**15  # elements of an output from which on the sum over the batch is worth a node of its own


def batch_sum(images: Float[Tensor, "b c *size"]) -> Float[Tensor, "1 c *size"]:
    """The sum over the batch, in the memory format of ``images``; for a CPU."""
    # On a CPU a product with ones takes from a half (contiguous) to a thirtieth (channels last) of sum()'s time.
    count, dtype = len(images), images.dtype
    ones = kept.get(("ones", count, dtype), lambda: torch.ones(1, count, dtype=dtype, device="cpu"))
    if images.is_contiguous():
        return torch.mm(ones, images.flatten(1)).view(1, *images.shape[1:])
    dense = images.movedim(1, -1)
    return torch.mm(ones, dense.flatten(1)).view(1, *dense.shape[1:]).movedim(-1, 1)


class _AddMap(torch.autograd.Function):
    """Adds in place; each Python line here is paid for at every layer and step."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, position: Tensor) -> Tensor:
        ctx.mark_dirty(out)
        return out.add_(position)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        with full_precision(grad.device):
            return grad, batch_sum(grad)

    @staticmethod
    def jvp(ctx: Any, out: Tensor, position: Tensor) -> Tensor:
        return out.add_(position)


def add_map(out: Float[Tensor, "..."], position: Float[Tensor, "1 c *size"]) -> Float[Tensor, "..."]:
    """Adds one map to every image of ``out``, in place, in its precision: a CPU rounds the map, a GPU the sum.

    Args:
        out: ``(b, c, *size)`` or ``(c, *size)``, the fresh result of another operation.
        position: ``(1, c, *size)``, from a layer's ``position_map``.
    """
    call_bound, mapped = is_call_bound(out.device), torch._C._are_functorch_transforms_active()
    if position.dtype != out.dtype and (mapped or not call_bound):  # add_ rounds too, in a call less and in more time
        position = position.to(out.dtype)
    if mapped:  # vmap over the map alone: it does not fit into an output that has no such axis
        return out + (position[0] if out.dim() < position.dim() else position)
    if out.dim() < position.dim():
        return out.add_(position[0])
    if call_bound or out.numel() < _LARGE or is_traced(out, position):
        return out.add_(position)
    result: Tensor = _AddMap.apply(out, position)
    return result


def _content(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """torch's own convolution, without its bias; in a graph an operation that every exporter knows."""
    axes, x = len(geometry.kernel_size), padded(x, geometry)
    stride, padding, dilation, _, extra, groups = geometry[:6]
    out: Tensor
    if geometry.transposed:
        out = _UP[axes](x, weight, None, stride, padding, extra, groups, dilation)
    else:
        out = _DOWN[axes](x, weight, None, stride, padding, dilation, groups)
    return out


def own_map(
    size: tuple[int, ...], coordinate: Tensor, bias: Tensor | None, geometry: Geometry, channels_last: bool = False
) -> Float[Tensor, "1 o *size"]:
    """The coordinates' share of a layer's output for images of a size, and the bias if there is one."""
    table = None
    if not is_traced(coordinate):
        table = table_of(geometry, size, coordinate.dtype, coordinate.device)
    with full_precision(coordinate.device):
        if table is None:
            return convolved_planes(geometry, size, coordinate, bias)
        matrix = (coordinate.transpose(0, 1) if geometry.transposed else coordinate).flatten(1)
        return position_map(matrix, bias, table, channels_last)


def coordinate_convolution(
    x: Float[Tensor, "..."], weight: Tensor, coordinate: Tensor, bias: Tensor | None, geometry: Geometry
) -> Float[Tensor, "..."]:
    """A convolution over an image and the coordinates of its pixels.

    Args:
        x: ``(b, in, *size)`` or ``(in, *size)``.
        weight: of the content, as torch's layer of this kind has it.
        coordinate: ``(out, c, *k)``, of a transposed layer ``(c, out, *k)``.
        bias: ``(out,)`` or None.
        geometry: of the layer.

    Raises:
        RuntimeError: ``x`` and ``weight`` differ in type, or their channels do not fit.
    """
    size = tuple(x.shape[-len(geometry.kernel_size) :])
    # The bias belongs to the map: its gradient is a sum over the map's, and no pass over the whole output's.
    out = _content(x, weight, geometry)
    return add_map(out, own_map(size, coordinate, bias, geometry, not out.is_contiguous()))


def frozen_convolution(
    x: Float[Tensor, "..."], weight: Tensor, fixed: Tensor, size: tuple[int, ...], geometry: Geometry
) -> Float[Tensor, "..."]:
    """A convolution and a constant map, for images of one size.

    Raises:
        RuntimeError: the images have another.
    """
    refuse_other_size(x, size)
    return add_map(_content(x, weight, geometry), fixed)


def refuse_other_size(x: Tensor, size: tuple[int, ...], name: str = "this layer") -> None:
    """Raises `RuntimeError` where images are not of the size that a layer is frozen to."""
    found = tuple(x.shape[-len(size) :])
    if found != size:
        raise RuntimeError(f"{name} is frozen to images of {size}, and got some of {found}")
