"""CoordConv: convolutions that know where they are, without the concatenation.

    layer = CoordConv2d(3, 64, 3, padding=1)        # takes what nn.Conv2d takes
    coordify(torchvision.models.resnet18(), where="first")

Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution", NeurIPS 2018
(arXiv 1807.03247), concatenate coordinate planes to the input of a convolution. Convolution is linear, so

    conv(concat(x, planes), W) + b  =  conv(x, W_content)  +  [conv(planes, W_coordinate) + b]

and the bracket is one map for the whole batch: it is computed for one image and added in place. The stored weight keeps
the concatenated shape, content channels first, so that weights exchange with every other CoordConv. planes.py holds the
arithmetic, benchmarks/coordconv.py measures it.
"""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sandbox.nn.planes import (
    Geometry,
    add_map,
    convolve,
    coordinate_planes,
    full_precision,
    is_traced,
    make_planes,
    map_from_basis,
    padded,
    position_basis,
    weight_parts,
)

__all__ = [
    "CoordConv",
    "CoordConv2d",
    "CoordConvTranspose2d",
    "add_map",
    "content_bound",
    "convolution_names",
    "coordify",
    "coordinate_planes",
    "from_concatenated",
]

CoordinateOrder = Literal["rows_first", "columns_first"]


def _position_map(layer: "CoordConv", geometry: Geometry, x: Tensor) -> Tensor:
    dtype, coordinate = layer.weight.dtype, layer.split_weight()[1]
    traced = is_traced(x, layer.weight)
    basis = None if traced else position_basis(geometry, x, layer.with_r, dtype)
    with full_precision(x.device):
        if basis is not None:
            matrix = (coordinate.transpose(0, 1) if geometry.transposed else coordinate).flatten(1)
            return map_from_basis(matrix, layer.bias, basis, not x.is_contiguous())[None]
        make = make_planes if traced else coordinate_planes
        planes = make(x.shape[-2], x.shape[-1], with_r=layer.with_r, dtype=dtype, device=x.device)
        planes = padded(planes[None], geometry)
        if geometry.transposed:
            _, padding, dilation, _, extra = geometry[:5]
            return F.conv_transpose2d(planes, coordinate, layer.bias, geometry.stride, padding, extra, 1, dilation)
        return F.conv2d(planes, coordinate, layer.bias, geometry.stride, geometry.padding, geometry.dilation)


class CoordConv2d(nn.Conv2d):
    """A 2-D convolution over its input and the pixel coordinates. ``(b, in, h, w) -> (b, out, h', w')``.

    Takes the arguments of :class:`torch.nn.Conv2d`, every ``padding_mode`` included, and ``with_r``. With groups, every
    group sees the coordinates. ``weight`` has the concatenated shape ``(out, in / groups + c, k, k)``, c = 2 (rows,
    columns) or 3 (and radius); the planes are no part of the state dict.

    Raises:
        ValueError, RuntimeError: as ``nn.Conv2d`` does for bad arguments or inputs.

    Source: Liu et al. 2018, section 3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, *args: Any, with_r: bool = False, **kwargs: Any
    ) -> None:
        self.with_r = with_r
        self.coordinates = 3 if with_r else 2
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        shape = (out_channels, in_channels // self.groups + self.coordinates, *self.kernel_size)
        self.weight = nn.Parameter(self.weight.new_empty(shape))
        self.reset_parameters()

    def split_weight(self) -> tuple[Tensor, Tensor]:
        """Views of the content weight ``(out, in / groups, k, k)`` and the coordinate weight ``(out, c, k, k)``."""
        return weight_parts(self.weight, self.in_channels // self.groups, self.groups, False)

    def reset_parameters(self) -> None:
        """Uniform within ``1 / sqrt(content fan-in)``: the coordinates do not change how the content starts."""
        if self.weight.shape[1] == self.in_channels // self.groups:
            return  # nn.Conv2d's own call, before the weight has its final shape
        _uniform_by_content(self)

    def _geometry(self) -> Geometry:
        channels = self.in_channels // self.groups
        kind = (self.dilation, False, (0, 0), self.groups, channels, self.kernel_size)
        if self.padding_mode == "zeros" and not isinstance(self.padding, str):
            return Geometry(self.stride, self.padding, *kind)
        around = tuple(self._reversed_padding_repeated_twice)  # (left, right, top, bottom)
        if self.padding_mode == "zeros" and around[::2] == around[1::2]:
            return Geometry(self.stride, (around[2], around[0]), *kind)
        # Also padding="same" with an even kernel: a row and a column more at the end.
        return Geometry(self.stride, (0, 0), *kind, around, self.padding_mode.replace("zeros", "constant"))

    def forward(self, x: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch o h2 w2"]:
        """Convolves ``(b, in, h, w)`` or ``(in, h, w)``."""
        if not is_traced(x, self.weight) and x.dim() in (3, 4):
            geometry = self._geometry()
            basis = position_basis(geometry, x, self.with_r, self.weight.dtype)
            if basis is not None:
                return convolve(x, self.weight, self.bias, basis, geometry)
        return add_map(self._conv_forward(x, self.split_weight()[0], None), self.position_map(x))

    def position_map(self, x: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "1 o h2 w2"]:
        """The coordinates' share of the output for images of the size of ``x``, bias included: ``(1, out, h', w')``."""
        return _position_map(self, self._geometry(), x)

    def extra_repr(self) -> str:
        """nn.Conv2d's description and ``with_r``."""
        return f"{super().extra_repr()}, with_r={self.with_r}"  # type: ignore[no-untyped-call]


class CoordConvTranspose2d(nn.ConvTranspose2d):
    """A 2-D transposed convolution over its input and the pixel coordinates. ``(b, in, h, w) -> (b, out, h', w')``.

    Takes the arguments of :class:`torch.nn.ConvTranspose2d` (which pads zeros only) and ``with_r``. ``weight`` has the
    concatenated shape ``(in + groups * c, out / groups, k, k)``: each group's content channels, then its coordinates.

    Raises:
        ValueError, RuntimeError: as ``nn.ConvTranspose2d`` does for bad arguments or inputs.

    Source: Liu et al. 2018, section 3; the coordinates are those of the input's pixels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, *args: Any, with_r: bool = False, **kwargs: Any
    ) -> None:
        self.with_r = with_r
        self.coordinates = 3 if with_r else 2
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        shape = (in_channels + self.groups * self.coordinates, out_channels // self.groups, *self.kernel_size)
        self.weight = nn.Parameter(self.weight.new_empty(shape))
        self.reset_parameters()

    def split_weight(self) -> tuple[Tensor, Tensor]:
        """The content weight ``(in, out / groups, k, k)`` and the coordinate weight ``(c, out, k, k)``.

        Views where there is one group, copies otherwise.
        """
        content, coordinate = weight_parts(self.weight, self.in_channels // self.groups, self.groups, True)
        return content.flatten(0, 1), coordinate.transpose(0, 1).flatten(1, 2)

    def reset_parameters(self) -> None:
        """Uniform within nn.ConvTranspose2d's bound for the content alone."""
        if self.weight.shape[0] == self.in_channels:
            return  # nn.ConvTranspose2d's own call, before the weight has its final shape
        _uniform_by_content(self)

    def _extra(self, x: Tensor, output_size: list[int]) -> tuple[int, ...]:
        stride, padding, kernel, dilation = list(self.stride), list(self.padding), list(self.kernel_size), self.dilation
        extra = self._output_padding(x, output_size, stride, padding, kernel, 2, list(dilation))  # type: ignore[arg-type]
        return tuple(extra)

    def _geometry(self, extra: tuple[int, ...]) -> Geometry:
        assert not isinstance(self.padding, str)  # nn.ConvTranspose2d takes numbers only
        sizes = (self.groups, self.in_channels // self.groups, self.kernel_size)
        return Geometry(self.stride, self.padding, self.dilation, True, extra, *sizes)

    def forward(
        self, x: Float[Tensor, "*batch c h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "*batch o h2 w2"]:
        """Transposed convolution of ``(b, in, h, w)`` or ``(in, h, w)``; ``output_size`` as in nn.ConvTranspose2d."""
        geometry = self._geometry(self.output_padding if output_size is None else self._extra(x, output_size))
        if not is_traced(x, self.weight) and x.dim() in (3, 4):
            basis = position_basis(geometry, x, self.with_r, self.weight.dtype)
            if basis is not None:
                return convolve(x, self.weight, self.bias, basis, geometry)
        _, padding, dilation, _, extra = geometry[:5]
        content = self.split_weight()[0]
        out = F.conv_transpose2d(x, content, None, self.stride, padding, extra, self.groups, dilation)
        return add_map(out, _position_map(self, geometry, x))

    def position_map(
        self, x: Float[Tensor, "*batch c h w"], output_padding: list[int] | None = None
    ) -> Float[Tensor, "1 o h2 w2"]:
        """The coordinates' share of the output for images of the size of ``x``, bias included: ``(1, out, h', w')``."""
        return _position_map(
            self, self._geometry(tuple(self.output_padding if output_padding is None else output_padding)), x
        )

    def extra_repr(self) -> str:
        """nn.ConvTranspose2d's description and ``with_r``."""
        return f"{super().extra_repr()}, with_r={self.with_r}"  # type: ignore[no-untyped-call]


CoordConv = CoordConv2d | CoordConvTranspose2d


def content_bound(layer: nn.Conv2d | nn.ConvTranspose2d) -> float:
    """Half-width of torch's default uniform initialisation, ``1 / sqrt(fan-in)``, counted without the coordinates."""
    # torch takes dimension 1 of the weight as the fan-in, for transposed convolutions (out / groups) as well.
    channels = layer.out_channels if isinstance(layer, nn.ConvTranspose2d) else layer.in_channels
    return 1 / math.sqrt(channels // layer.groups * math.prod(layer.kernel_size))


@torch.no_grad()
def _uniform_by_content(layer: CoordConv) -> None:
    bound = content_bound(layer)
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound)


@torch.no_grad()
def from_concatenated(
    layer: CoordConv, weight: Float[Tensor, "a b k1 k2"], order: CoordinateOrder = "rows_first"
) -> Float[Tensor, "a b k1 k2"]:
    """A weight saved from a concatenating CoordConv, in the order in which this layer stores it.

    Args:
        layer: the layer that will take the weight (``layer.weight.copy_(...)`` or through its state dict).
        weight: content channels first, then the coordinates (of each group): the shape of ``layer.weight``.
        order: which coordinate the other implementation concatenated first; ours is ``rows_first``. The radius is last.

    Raises:
        ValueError: the shape is not the layer's, or the order is unknown.
    """
    if weight.shape != layer.weight.shape:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, the layer needs {tuple(layer.weight.shape)}")
    if order not in ("rows_first", "columns_first"):
        raise ValueError(f"order {order!r} is unknown: it is 'rows_first' or 'columns_first'")
    result = weight.clone()
    if order == "columns_first":
        dim = 0 if isinstance(layer, CoordConvTranspose2d) else 1
        parts = layer.groups if dim == 0 else 1
        grouped = result.unflatten(dim, (parts, -1))
        first = layer.in_channels // layer.groups
        swapped = grouped.index_select(dim + 1, torch.tensor([first + 1, first], device=weight.device))
        grouped.narrow(dim + 1, first, 2).copy_(swapped)
    return result


@torch.no_grad()
def _converted(old: nn.Conv2d | nn.ConvTranspose2d, with_r: bool) -> CoordConv:
    if "weight" not in old._parameters:
        raise ValueError(f"{old} has a computed weight (spectral or weight norm): convert it first, then norm it")
    arguments: dict[str, Any] = {
        "stride": old.stride, "padding": old.padding, "dilation": old.dilation, "groups": old.groups,
        "bias": old.bias is not None, "padding_mode": old.padding_mode, "with_r": with_r, "dtype": old.weight.dtype,
        "device": "meta",  # neither memory nor random numbers for weights that are not kept
    }  # fmt: skip
    new: CoordConv
    if isinstance(old, nn.ConvTranspose2d):
        arguments["output_padding"] = old.output_padding
        new = CoordConvTranspose2d(old.in_channels, old.out_channels, old.kernel_size, **arguments)
    else:
        new = CoordConv2d(old.in_channels, old.out_channels, old.kernel_size, **arguments)
    weight = old.weight.new_zeros(new.weight.shape)
    if not old.weight.is_contiguous():
        weight = weight.contiguous(memory_format=torch.channels_last)
    content, _ = weight_parts(weight, old.in_channels // old.groups, old.groups, old.transposed)
    content.copy_(old.weight.view(content.shape))
    new.weight, new.bias = nn.Parameter(weight, requires_grad=old.weight.requires_grad), old.bias
    if hasattr(old, "starts"):
        new.starts = old.starts  # of sandbox.nn.seeding.with_start
    return new.train(old.training)


def _is_convertible(layer: nn.Module | None) -> TypeGuard[nn.Conv2d | nn.ConvTranspose2d]:
    plain = (nn.Conv2d, nn.ConvTranspose2d)
    if isinstance(layer, nn.Module) and is_parametrized(layer):  # has a class of its own, derived from the layer's
        return isinstance(layer, plain) and not isinstance(layer, CoordConv)
    return type(layer) in plain


def _chosen(
    module: nn.Module, where: str | Sequence[str], layers: Sequence[nn.Conv2d | nn.ConvTranspose2d]
) -> Sequence[nn.Conv2d | nn.ConvTranspose2d]:
    if where in ("first", "all"):
        return layers if where == "all" else layers[:1]
    names, wanted = convolution_names(module), [where] if isinstance(where, str) else where
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            kind, there = type(module).__name__, ", ".join(names)
            raise ValueError(
                f"where={pattern!r} fits no convolution of {kind}: it is 'first', 'all', or names of {there}"
            )
    found = [module.get_submodule(name) for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]
    return [layer for layer in found if _is_convertible(layer)]


def convolution_names(module: nn.Module) -> list[str]:
    """The names of the convolutions that `coordify` can convert, in registration order; the module itself has none."""
    return [name for name, layer in module.named_modules() if name and _is_convertible(layer)]


def coordify(module: nn.Module, where: str | Sequence[str] = "first", with_r: bool = False) -> nn.Module:
    """Turns the convolutions of any torch model into coordinate ones, in place; the function is unchanged at first.

    Args:
        module: any module; its ``nn.Conv2d`` and ``nn.ConvTranspose2d`` are replaced, their weights kept and the new
            coordinate weights zero, so that the outputs stay what they were until training moves them.
        where: ``first`` converts the first convolution in registration order, ``all`` every one; else the name of one,
            such as ``layer1.0.conv1``, a pattern, ``layer1.*``, or several of them.
        with_r: adds the radius plane.

    Returns:
        ``module`` itself, or the new layer where ``module`` is a convolution. Make optimisers after the conversion.

    Raises:
        ValueError: nothing in the module can be converted, or a name or pattern fits none of it.
    """
    if _is_convertible(module):
        if where not in ("first", "all"):
            raise ValueError(f"where={where!r}, but {type(module).__name__} is one layer: it is 'first' or 'all'")
        return _converted(module, with_r)
    layers = [layer for layer in module.modules() if _is_convertible(layer)]
    if not layers:
        raise ValueError(f"{type(module).__name__} holds no Conv2d or ConvTranspose2d to convert")
    converted: dict[int, CoordConv] = {}
    weights: dict[int, Tensor] = {}
    for layer in _chosen(module, where, layers):
        new = converted[id(layer)] = _converted(layer, with_r)
        new.weight = weights.setdefault(id(layer.weight), new.weight)  # tied weights stay tied
    for parent in list(module.modules()):
        # Not named_children(): a layer that a module holds under two names must stay one layer.
        for name, child in parent._modules.items():
            parent._modules[name] = converted.get(id(child), child)
    return module
