"""Coordinate planes, and the arithmetic by which a convolution takes them in without a concatenation.

The coordinates' share of a convolution's output, one map for the whole batch, is linear in the coordinate weights:
it is their matrix times a *basis*, which depends on sizes and geometry alone and is therefore computed once. The eager
layers of sandbox/coordconv.py run `convolve` below; compiled and exported ones consist of plain operations instead.
"""

import math
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_CACHE_ENTRIES = 256
_BASIS_ELEMENTS = 2**21  # 8 MiB in float32; beyond, a convolution of the planes costs less than the basis' memory
_cache: dict[Hashable, Any] = {}
_convolution_backward = torch.ops.aten.convolution_backward.default
_T = TypeVar("_T", Tensor, "Basis")


def is_traced(*tensors: Tensor) -> bool:
    """Whether a graph is made (compile, export, trace, torch.func), or a tensor is of a special kind, fake or meta."""
    # Graphs get plain operations: a compiler fuses them, an exporter knows them; and nothing of theirs may be cached.
    # torch.func has no public question for this one; torch.autograd.Function.apply itself asks it.
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or any(type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta for tensor in tensors)
    )


def _autocasts(kind: str) -> bool:
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switches autocast off, if it is on."""
    return torch.autocast(device.type, enabled=False) if _autocasts(device.type) else nullcontext()


def _cached(key: Hashable, make: Callable[[], _T]) -> _T:
    found: _T | None = _cache.get(key)
    if found is not None:
        return found
    # A tensor born in inference mode could never take part in training again.
    with torch.inference_mode(False), torch.no_grad():
        made = make()
    if type(made[-1]) is Tensor:  # not a fake one
        if len(_cache) >= _CACHE_ENTRIES:
            _cache.clear()
        _cache[key] = made
    return made


def _ramp(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Not linspace: one pixel must give 0, and a traced length may be symbolic.
    steps = torch.arange(length, dtype=dtype, device=device)
    return (2 * steps - (length - 1)) / max(length - 1, 1)


def make_planes(height: int, width: int, with_r: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``coordinate_planes`` without the cache."""
    # Built in float32 at least: bfloat16 cannot count the pixels of a row beyond 256.
    wide = dtype if dtype == torch.float64 else torch.float32
    rows = _ramp(height, wide, device)[:, None].expand(height, width)
    columns = _ramp(width, wide, device)[None, :].expand(height, width)
    planes = [rows, columns, torch.sqrt(rows**2 + columns**2)] if with_r else [rows, columns]
    return torch.stack(planes).to(dtype)


def coordinate_planes(
    height: int,
    width: int,
    *,
    with_r: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "planes height width"]:
    """The coordinate planes of an image: rows i, columns j and, on request, the radius r.

    Args:
        height: pixels along the first axis, at least 1.
        width: pixels along the second axis, at least 1.
        with_r: adds the distance to the image centre, ``sqrt(i^2 + j^2)``, from 0 to sqrt(2).
        dtype: a floating-point type.
        device: where the planes lie.

    Returns:
        ``(2 or 3, height, width)``; i and j run from -1 (first pixel) to +1 (last pixel), 0 on an axis of one pixel.
        In eager mode the tensor is shared between calls: do not write into it.

    Source: Liu et al. 2018, section 3.
    """
    device = torch.device(device)
    if is_traced():
        return make_planes(height, width, with_r, dtype, device)
    key = (height, width, with_r, dtype, device)
    return _cached(key, lambda: make_planes(height, width, with_r, dtype, device))


class Geometry(NamedTuple):
    """How a layer moves over an image. The first six are ``torch.convolution``'s, in its order.

    Attributes:
        channels: content channels of one group.
        around: padding put on before the convolution, as ``F.pad`` takes it; empty for none.
        mode: how that padding is filled, ``F.pad``'s name for it.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    channels: int
    kernel_size: tuple[int, ...]
    around: tuple[int, ...] = ()
    mode: str = "constant"

    def parts(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """``weight_parts`` of a layer of this geometry."""
        return weight_parts(weight, self.channels, self.groups, self.transposed)


def padded(x: Tensor, geometry: Geometry) -> Tensor:
    """The image with the padding that ``torch.convolution`` cannot put around it."""
    return F.pad(x, geometry.around, geometry.mode) if geometry.around else x


class Basis(NamedTuple):
    """The maps of single coordinate weights; a layer's map is ``(its weights as a matrix) @ (left @) right``.

    Attributes:
        size: of the output image.
        left: ``(c k k, rank)``, or None: few of the maps are independent, three of them without padding.
        right: ``(c k k or rank, h' w')``.
        extended: ``right`` and under it a row of ones, the bias' map; ``right`` is a view of it.
    """

    size: tuple[int, int]
    left: Tensor | None
    right: Tensor
    extended: Tensor


def _make_basis(
    geometry: Geometry, height: int, width: int, with_r: bool, dtype: torch.dtype, device: torch.device
) -> Basis:
    # In float64, and so outside autocast, reduced precision of matrix products and fast convolution algorithms.
    planes = make_planes(height, width, with_r, torch.float64, torch.device("cpu"))[None]
    count = planes.shape[1] * math.prod(geometry.kernel_size)
    single = torch.eye(count, dtype=torch.float64, device="cpu").view(count, -1, *geometry.kernel_size)
    kernels = single.transpose(0, 1) if geometry.transposed else single
    maps = torch.convolution(padded(planes, geometry), kernels, None, *geometry[:5], 1)[0]
    size, left, right = (maps.shape[1], maps.shape[2]), None, maps.flatten(1)
    if count >= 32:
        u, s, v = torch.linalg.svd(right, full_matrices=False)
        rank = max(int((s > 1e-12 * s[0]).sum()), 1)
        if 3 * rank <= count:
            scale = s[:rank].sqrt()
            left, right = (u[:, :rank] * scale).to(device, dtype), scale[:, None] * v[:rank]
    extended = torch.cat([right, right.new_ones(1, right.shape[1])]).to(device, dtype)
    return Basis(size, left, extended[:-1], extended)


def position_basis(geometry: Geometry, x: Tensor, with_r: bool, dtype: torch.dtype) -> Basis | None:
    """The basis for images of the size of ``x``, cached; None where it would be too large to keep."""
    height, width = x.shape[-2:]
    growth = math.prod(geometry.stride) ** (1 if geometry.transposed else -1)
    if (3 if with_r else 2) * math.prod(geometry.kernel_size) * height * width * growth > _BASIS_ELEMENTS:
        return None
    device = x.device
    key = (geometry[:5], geometry[7:], height, width, with_r, dtype, device)  # whatever the channels
    return _cached(key, lambda: _make_basis(geometry, height, width, with_r, dtype, device))


def map_from_basis(
    coordinate: Float[Tensor, "o ckk"], bias: Float[Tensor, " o"] | None, basis: Basis, channels_last: bool
) -> Float[Tensor, "o h w"]:
    """The coordinates' share of the output, bias included, in the memory format asked for."""
    if basis.left is not None:
        coordinate = torch.mm(coordinate, basis.left)
    if channels_last:
        transposed = basis.right.t(), coordinate.t()
        flat = torch.mm(*transposed) if bias is None else torch.addmm(bias, *transposed)
        return flat.view(*basis.size, -1).permute(2, 0, 1)
    flat = torch.mm(coordinate, basis.right) if bias is None else torch.addmm(bias[:, None], coordinate, basis.right)
    return flat.view(-1, *basis.size)


def batch_sum(images: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "c h w"]:
    """The sum over the batch, if there is one, in the memory format of ``images``."""
    if images.dim() == 3:
        return images
    if images.device.type != "cpu":
        return images.sum(0)
    # On a CPU a product with ones takes from a half (contiguous) to a thirtieth (channels last) of sum()'s time.
    channels_last = not images.is_contiguous()
    dense = images.permute(0, 2, 3, 1) if channels_last else images
    with full_precision(images.device):
        total = torch.mm(images.new_ones(1, len(images)), dense.flatten(1)).view(dense.shape[1:])
    return total.permute(2, 0, 1) if channels_last else total


class _AddMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, position: Tensor) -> Tensor:
        ctx.mark_dirty(out)
        ctx.dtype = position.dtype
        return out.add_(position.to(out.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, batch_sum(grad).to(ctx.dtype)


def add_map(out: Float[Tensor, "*batch c h w"], position: Float[Tensor, "*one c h w"]) -> Float[Tensor, "*batch c h w"]:
    """Adds one map to every image of ``out``, in place, rounding it once to the precision of ``out``.

    Args:
        out: ``(b, c, h, w)`` or ``(c, h, w)``, the fresh result of another operation.
        position: ``(1, c, h, w)`` or ``(c, h, w)``, from a layer's ``position_map``.
    """
    position = position[0] if position.dim() == 4 else position
    if is_traced(out, position):
        return out.add_(position.to(out.dtype))
    result: Tensor = _AddMap.apply(out, position)
    return result


def weight_parts(weight: Tensor, channels: int, groups: int, transposed: bool) -> tuple[Tensor, Tensor]:
    """Views of the content and the coordinate weights; in a transposed layer with the groups as a first dimension."""
    if transposed:
        weight = weight.unflatten(0, (groups, -1))  # (g, in / g + c, out / g, k, k)
    content, coordinate = weight.split((channels, weight.shape[1] - channels), dim=1)
    return content, coordinate


class _Convolve(torch.autograd.Function):
    """One node for content, coordinates and bias: the stored weight's gradient is written once, in its layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, basis: Basis, geometry: Geometry) -> Tensor:
        content, coordinate = geometry.parts(weight)
        if geometry.transposed:
            content, coordinate = content.to(x.dtype).flatten(0, 1), coordinate.transpose(1, 2).flatten(0, 1)
        else:
            content = content.to(x.dtype, copy=True)  # dense: the convolution would copy it in both directions
        out = torch.convolution(x, content, None, *geometry[:6])
        with full_precision(x.device):
            position = map_from_basis(coordinate.flatten(1), bias, basis, not out.is_contiguous())
        ctx.basis, ctx.geometry = basis, geometry
        ctx.save_for_backward(x, weight, content)
        return out.add_(position.to(out.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, content = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # a second derivative must find its way to the weight
            content = ctx.geometry.parts(weight)[0].to(x.dtype).reshape(content.shape)
        # First, while the gradient is still in the processor's caches.
        position = batch_sum(grad).to(weight.dtype) if wants_weight or wants_bias else None
        wants = (wants_x, wants_weight, False)
        geometry = ctx.geometry[:6]
        grad_x, grad_content, _ = _convolution_backward(grad, x, content, None, *geometry, wants)
        if position is None:
            return grad_x, None, None, None, None
        grad_coordinate, grad_bias = _map_gradients(position, ctx.basis)
        grad_weight = _joined(grad_content, grad_coordinate, weight, ctx.geometry) if wants_weight else None
        return grad_x, grad_weight, grad_bias if wants_bias else None, None, None


def _map_gradients(position: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
    """Of a map's gradient ``(o, h', w')``: those of the coordinate weights ``(o, c k k)`` and of the bias ``(o,)``."""
    with full_precision(position.device):
        # Transposed: on a CPU up to ten times as fast for few rows and a map in channels-last order.
        both = torch.mm(basis.extended, position.flatten(1).t())
        coordinate = both[:-1] if basis.left is None else torch.mm(basis.left, both[:-1])
    return coordinate.t(), both[-1]


def _joined(content: Tensor, coordinate: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    # Into the weight's own layout and precision, or accumulating it would copy it again.
    grad = torch.empty_like(weight)
    parts = geometry.parts(grad)
    if geometry.transposed:
        groups, count, outputs, *kernel = parts[1].shape
        coordinate = coordinate.view(groups, outputs, count, *kernel).transpose(1, 2)
    else:
        coordinate = coordinate.view(parts[1].shape)
    pieces = content.view(parts[0].shape), coordinate
    if torch.is_grad_enabled():
        return torch.cat(pieces, dim=1).view(weight.shape).to(weight.dtype)
    for part, piece in zip(parts, pieces, strict=True):
        part.copy_(piece)
    return grad


def convolve(
    x: Float[Tensor, "*batch c h w"], weight: Tensor, bias: Tensor | None, basis: Basis, geometry: Geometry
) -> Float[Tensor, "*batch o h2 w2"]:  # fmt: skip
    """The eager forward pass of a coordinate layer.

    Args:
        x: ``(b, in, h, w)`` or ``(in, h, w)``.
        weight: in the concatenated shape, see ``CoordConv2d`` and ``CoordConvTranspose2d``.
        bias: ``(out,)`` or None.
        basis: of this geometry and the size of ``x``.
        geometry: of the layer.

    Raises:
        RuntimeError: ``x`` and ``weight`` differ in type, or their channels do not fit.
    """
    batched, dtype = x if x.dim() == 4 else x[None], weight.dtype
    if _autocasts(x.device.type) and torch.float64 not in (dtype, x.dtype):
        dtype = torch.get_autocast_dtype(x.device.type)
        batched = batched.to(dtype)
    if batched.dtype != dtype:
        raise RuntimeError(f"input type ({x.dtype}) and weight type ({weight.dtype}) should be the same")
    out: Tensor = _Convolve.apply(padded(batched, geometry), weight, bias, basis, geometry)
    return out if x.dim() == 4 else out[0]
