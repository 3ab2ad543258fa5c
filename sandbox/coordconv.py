"""CoordConv: convolutions that know where they are, without the concatenation.

    layer = CoordConv2d(3, 64, 3, padding=1)        # takes what nn.Conv2d takes
    coordify(torchvision.models.resnet18(), where="first")

Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution", NeurIPS 2018
(arXiv 1807.03247), concatenate coordinate planes to the input of a convolution. Convolution is linear, so

    conv(concat(x, planes), W) + b  =  conv(x, W_content)  +  [conv(planes, W_coordinate) + b]

and the bracket is one map for the whole batch: it is computed for one image and added in place. The stored weight keeps
the concatenated shape, content channels first, so that weights exchange with every other CoordConv.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

CoordinateOrder = Literal["rows_first", "columns_first"]

_planes_cache: dict[tuple[int, int, bool, torch.dtype, torch.device], Tensor] = {}
_PLANES_CACHE_SIZE = 256


def _ramp(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Not linspace: one pixel must give 0, and a traced length may be symbolic.
    steps = torch.arange(length, dtype=dtype, device=device)
    return (2 * steps - (length - 1)) / max(length - 1, 1)


def _make_planes(height: int, width: int, with_r: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
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
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return _make_planes(height, width, with_r, dtype, device)
    key = (height, width, with_r, dtype, device)
    planes = _planes_cache.get(key)
    if planes is None:
        # A tensor born in inference mode could never take part in training again.
        with torch.inference_mode(False), torch.no_grad():
            planes = _make_planes(height, width, with_r, dtype, device)
        if len(_planes_cache) >= _PLANES_CACHE_SIZE:
            _planes_cache.clear()
        _planes_cache[key] = planes
    return planes


def _map_in_full_precision(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _add_map(out: Tensor, position: Tensor) -> Tensor:
    """Adds the coordinates' share, ``(1, c, h, w)``, to every image of ``out``, ``(b, c, h, w)`` or ``(c, h, w)``."""
    position = position.to(out.dtype)
    if out.dim() == 3:
        return out.add_(position[0])
    if not torch.compiler.is_compiling() and not out.is_contiguous():
        position = position.contiguous(memory_format=torch.channels_last)
    return out.add_(position)


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
        content, coordinate = self.weight.split([self.in_channels // self.groups, self.coordinates], dim=1)
        return content, coordinate

    def reset_parameters(self) -> None:
        """Uniform within ``1 / sqrt(content fan-in)``: the coordinates do not change how the content starts."""
        if self.weight.shape[1] == self.in_channels // self.groups:
            return  # nn.Conv2d's own call, before the weight has its final shape
        _uniform_by_content(self)

    def forward(self, x: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch o h2 w2"]:
        """Convolves ``(b, in, h, w)`` or ``(in, h, w)``."""
        content, _ = self.split_weight()
        return _add_map(self._conv_forward(x, content, None), self.position_map(x))

    def position_map(self, x: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "1 o h2 w2"]:
        """The coordinates' share of the output for images of the size of ``x``, bias included: ``(1, out, h', w')``."""
        planes = coordinate_planes(
            x.shape[-2], x.shape[-1], with_r=self.with_r, dtype=self.weight.dtype, device=x.device
        )[None]
        if self.padding_mode != "zeros":
            planes = F.pad(planes, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        padding = self.padding if self.padding_mode == "zeros" else 0
        _, coordinate = self.split_weight()
        with _map_in_full_precision(x):
            return F.conv2d(planes, coordinate, self.bias, self.stride, padding, self.dilation)

    def extra_repr(self) -> str:
        """nn.Conv2d's description and ``with_r``."""
        return f"{super().extra_repr()}, with_r={self.with_r}"


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
        """The content weight ``(in, out / groups, k, k)`` and the coordinate weight ``(c, out, k, k)``."""
        grouped = self.weight.unflatten(0, (self.groups, -1))  # (g, in/g + c, out/g, k, k)
        content, coordinate = grouped.split([self.in_channels // self.groups, self.coordinates], dim=1)
        if self.groups == 1:
            return content[0], coordinate[0]
        return content.flatten(0, 1), coordinate.transpose(0, 1).flatten(1, 2)

    def reset_parameters(self) -> None:
        """Uniform within nn.ConvTranspose2d's bound for the content alone."""
        if self.weight.shape[0] == self.in_channels:
            return  # nn.ConvTranspose2d's own call, before the weight has its final shape
        _uniform_by_content(self)

    def forward(
        self, x: Float[Tensor, "*batch c h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "*batch o h2 w2"]:
        """Transposed convolution of ``(b, in, h, w)`` or ``(in, h, w)``; ``output_size`` as in nn.ConvTranspose2d."""
        extra = self._output_padding(
            x, output_size, list(self.stride), list(self.padding), list(self.kernel_size), 2, list(self.dilation)
        )
        content, _ = self.split_weight()
        out = F.conv_transpose2d(x, content, None, self.stride, self.padding, extra, self.groups, self.dilation)
        return _add_map(out, self.position_map(x, extra))

    def position_map(
        self, x: Float[Tensor, "*batch c h w"], output_padding: list[int] | None = None
    ) -> Float[Tensor, "1 o h2 w2"]:
        """The coordinates' share of the output for images of the size of ``x``, bias included: ``(1, out, h', w')``."""
        planes = coordinate_planes(
            x.shape[-2], x.shape[-1], with_r=self.with_r, dtype=self.weight.dtype, device=x.device
        )[None]
        extra = self.output_padding if output_padding is None else output_padding
        _, coordinate = self.split_weight()
        with _map_in_full_precision(x):
            return F.conv_transpose2d(planes, coordinate, self.bias, self.stride, self.padding, extra, 1, self.dilation)

    def extra_repr(self) -> str:
        """nn.ConvTranspose2d's description and ``with_r``."""
        return f"{super().extra_repr()}, with_r={self.with_r}"


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


def _converted(old: nn.Conv2d | nn.ConvTranspose2d, with_r: bool) -> CoordConv:
    arguments: dict[str, Any] = {
        "stride": old.stride, "padding": old.padding, "dilation": old.dilation, "groups": old.groups,
        "bias": old.bias is not None, "padding_mode": old.padding_mode, "with_r": with_r,
        "device": old.weight.device, "dtype": old.weight.dtype,
    }  # fmt: skip
    new: CoordConv
    if isinstance(old, nn.ConvTranspose2d):
        arguments["output_padding"] = old.output_padding
        new = CoordConvTranspose2d(old.in_channels, old.out_channels, old.kernel_size, **arguments)
        new_weight, old_weight = (layer.weight.unflatten(0, (old.groups, -1)) for layer in (new, old))
    else:
        new = CoordConv2d(old.in_channels, old.out_channels, old.kernel_size, **arguments)
        new_weight, old_weight = new.weight, old.weight
    with torch.no_grad():
        new_weight.zero_()
        new_weight.narrow(1, 0, old_weight.shape[1]).copy_(old_weight)
    if old.bias is not None:
        new.bias = old.bias
    new.weight.requires_grad_(old.weight.requires_grad)
    return new.train(old.training)


def coordify(module: nn.Module, where: Literal["first", "all"] = "first", with_r: bool = False) -> nn.Module:
    """Turns the convolutions of any torch model into coordinate ones, in place; the function is unchanged at first.

    Args:
        module: any module; its ``nn.Conv2d`` and ``nn.ConvTranspose2d`` are replaced, their weights kept and the new
            coordinate weights zero, so that the outputs stay what they were until training moves them.
        where: ``first`` converts the first convolution in registration order, ``all`` every one.
        with_r: adds the radius plane.

    Returns:
        ``module`` itself, or the new layer where ``module`` is a convolution. Make optimisers after the conversion.

    Raises:
        ValueError: ``where`` is unknown, or nothing in the module can be converted.
    """
    if where not in ("first", "all"):
        raise ValueError(f"where={where!r} is unknown: it is 'first' or 'all'")
    plain = (nn.Conv2d, nn.ConvTranspose2d)
    if type(module) in plain:
        return _converted(module, with_r)  # type: ignore[arg-type]
    # A layer shared between two places must stay shared.
    sites = [(parent, name, child) for parent in module.modules() for name, child in parent.named_children()
             if type(child) in plain]  # fmt: skip
    if not sites:
        raise ValueError(f"{type(module).__name__} holds no Conv2d or ConvTranspose2d to convert")
    order = {id(layer): place for place, layer in enumerate(module.modules())}
    sites.sort(key=lambda site: order[id(site[2])])
    first = sites[0][2]
    converted: dict[int, CoordConv] = {}
    for parent, name, child in sites if where == "all" else [site for site in sites if site[2] is first]:
        if id(child) not in converted:
            converted[id(child)] = _converted(child, with_r)  # type: ignore[arg-type]
        parent._modules[name] = converted[id(child)]  # setattr would refuse the names of a Sequential's children
    return module
