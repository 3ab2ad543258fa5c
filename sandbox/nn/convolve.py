"""A convolution and its coordinates' map as one node of autograd, and the parts that stand alone.

The eager layers of coordconv.py run `convolve`; compiled and exported ones consist of plain operations.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sandbox.nn.maps import Geometry, Table, convolved_planes, map_gradients, padded, position_map, table_of
from sandbox.nn.planes import autocasts, full_precision, is_traced

_convolution_backward = torch.ops.aten.convolution_backward.default


def as_matrix(coordinate: Tensor, transposed: bool) -> Float[Tensor, "o weights"]:
    """A coordinate weight ``(o, c, *k)``, of a transposed layer ``(c, o, *k)``, as `position_map` takes it."""
    return (coordinate.transpose(0, 1) if transposed else coordinate).flatten(1)


def batch_sum(images: Float[Tensor, "b c *size"]) -> Float[Tensor, "c *size"]:
    """The sum over the batch, in the memory format of ``images``."""
    if images.device.type != "cpu":
        return images.sum(0)
    # On a CPU a product with ones takes from a half (contiguous) to a thirtieth (channels last) of sum()'s time.
    channels_last = not images.is_contiguous()
    dense = images.movedim(1, -1) if channels_last else images
    with full_precision(images.device):
        total = torch.mm(images.new_ones(1, len(images)), dense.flatten(1)).view(dense.shape[1:])
    return total.movedim(-1, 0) if channels_last else total


class _AddMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, position: Tensor) -> Tensor:
        ctx.mark_dirty(out)
        ctx.dtype = position.dtype
        return out.add_(position.to(out.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, batch_sum(grad)[None].to(ctx.dtype)


def add_map(out: Float[Tensor, "..."], position: Float[Tensor, "1 c *size"]) -> Float[Tensor, "..."]:
    """Adds one map to every image of ``out``, in place, rounding it once to the precision of ``out``.

    Args:
        out: ``(b, c, *size)`` or ``(c, *size)``, the fresh result of another operation.
        position: ``(1, c, *size)``, from a layer's ``position_map``.
    """
    if out.dim() < position.dim():
        return out.add_(position[0].to(out.dtype))
    if is_traced(out, position):
        return out.add_(position.to(out.dtype))
    result: Tensor = _AddMap.apply(out, position)
    return result


class _Convolve(torch.autograd.Function):
    """One node for content, coordinates and bias: the sum over the batch is shared, the map is added in place."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, coordinate: Tensor, bias: Tensor | None, table: Table, geometry: Geometry
    ) -> Tensor:
        content = weight.to(x.dtype)
        out = torch.convolution(x, content, None, *geometry[:6])
        with full_precision(x.device):
            position = position_map(as_matrix(coordinate, geometry.transposed), bias, table, not out.is_contiguous())
        ctx.table, ctx.geometry = table, geometry
        ctx.save_for_backward(x, weight, coordinate, content)
        return out.add_(position.to(out.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, coordinate, content = ctx.saved_tensors
        wants_x, wants_weight, *wants_map = ctx.needs_input_grad[:4]
        # First, while the gradient is still in the processor's caches.
        position = batch_sum(grad).to(coordinate.dtype) if any(wants_map) else None
        grad_x = grad_weight = grad_coordinate = grad_bias = None
        if wants_x or wants_weight:
            if torch.is_grad_enabled():  # a second derivative must find its way to the weight
                content = weight.to(x.dtype)
            wants = (wants_x, wants_weight, False)
            grad_x, grad_weight, _ = _convolution_backward(grad, x, content, None, *ctx.geometry[:6], wants)
            grad_weight = grad_weight.to(weight.dtype) if wants_weight else None
        if position is not None:
            grad_coordinate, grad_bias = map_gradients(position, ctx.table)
            if ctx.geometry.transposed:
                planes, outputs, *kernel = coordinate.shape
                grad_coordinate = grad_coordinate.reshape(outputs, planes, *kernel).transpose(0, 1)
            grad_coordinate = grad_coordinate.reshape(coordinate.shape)
        return grad_x, grad_weight, grad_coordinate, grad_bias if wants_map[1] else None, None, None


def _content(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """torch's own convolution, without its bias; in a graph an operation that every exporter knows."""
    axes, x = len(geometry.kernel_size), padded(x, geometry)
    stride, padding, dilation, _, extra, groups = geometry[:6]
    if geometry.transposed:
        up = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[axes]
        return up(x, weight, None, stride, padding, extra, groups, dilation)
    down = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
    return down(x, weight, None, stride, padding, dilation, groups)


def own_map(
    size: tuple[int, ...], coordinate: Tensor, bias: Tensor | None, geometry: Geometry, channels_last: bool = False
) -> Float[Tensor, "1 o *size"]:
    """The coordinates' share of a layer's output for images of a size, bias included."""
    table = None
    if not is_traced(coordinate):
        table = table_of(geometry, size, coordinate.dtype, coordinate.device)
    if table is None:
        return convolved_planes(geometry, size, coordinate, bias)
    with full_precision(coordinate.device):
        return position_map(as_matrix(coordinate, geometry.transposed), bias, table, channels_last)[None]


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
    axes = len(geometry.kernel_size)
    size = tuple(x.shape[-axes:])
    if is_traced(x, weight, coordinate) or x.dim() not in (axes + 1, axes + 2):
        return add_map(_content(x, weight, geometry), own_map(size, coordinate, bias, geometry))
    table = table_of(geometry, size, coordinate.dtype, x.device)
    if table is None:
        return add_map(_content(x, weight, geometry), convolved_planes(geometry, size, coordinate, bias))
    batched, dtype = x if x.dim() == axes + 2 else x[None], weight.dtype
    if autocasts(x.device.type) and torch.float64 not in (dtype, x.dtype):
        dtype = torch.get_autocast_dtype(x.device.type)
        batched = batched.to(dtype)
    if batched.dtype != dtype:
        raise RuntimeError(f"input type ({x.dtype}) and weight type ({weight.dtype}) should be the same")
    out: Tensor = _Convolve.apply(padded(batched, geometry), weight, coordinate, bias, table, geometry)
    return out if x.dim() == axes + 2 else out[0]


def frozen_convolution(
    x: Float[Tensor, "..."], weight: Tensor, fixed: Tensor, size: tuple[int, ...], geometry: Geometry
) -> Float[Tensor, "..."]:
    """A convolution and a constant map, for images of one size.

    Raises:
        RuntimeError: the images have another.
    """
    found = tuple(x.shape[-len(size) :])
    if found != size:
        raise RuntimeError(f"this layer is frozen to images of {size}, and got some of {found}")
    return add_map(_content(x, weight, geometry), fixed)
