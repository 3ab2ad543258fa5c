"""CoordConv: convolutions that know where they are, without the concatenation.

    layer = CoordConv2d(3, 64, 3, padding=1)        # takes what nn.Conv2d takes
    coordify(torchvision.models.resnet18(), where="first")

Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution", NeurIPS 2018
(arXiv 1807.03247), concatenate coordinate planes to the input of a convolution. Convolution is linear, so

    conv(concat(x, planes), concat(W, V)) + b  =  conv(x, W)  +  [conv(planes, V) + b]

and the bracket is one map for the whole batch: it is computed for one image and added in place. W is stored as
``weight``, just as torch's own layer stores it, and V as ``coordinate_weight``. Weights of a concatenating CoordConv
load as they are, and `to_concatenated` gives them back. maps.py holds the arithmetic, benchmarks/coordconv.py measures
it, and docs/layer.md shows how to use it.
"""

import math
from typing import Any, Literal

import torch
import torch.fx
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.nn.convolve import coordinate_convolution, frozen_convolution, own_map
from sandbox.nn.maps import Geometry, geometry_of
from sandbox.nn.planes import Radius, radius_of

# In a graph of torch.fx each is one call: what they ask of sizes and types has no answer there.
torch.fx.wrap("coordinate_convolution")
torch.fx.wrap("frozen_convolution")

CoordinateOrder = Literal["rows_first", "columns_first"]


class CoordConv(nn.modules.conv._ConvNd):
    """What every coordinate layer has in common; use one of the layers below.

    They take the arguments of torch's layer of the same name and two more. With groups, every group sees the
    coordinates. ``weight`` and ``bias`` are those of torch's layer; the planes are no part of the state dict.

    Args:
        with_r: adds the radius, the distance to the image's centre, as a last coordinate.
        radius: ``offset`` measures it from (1/2, 1/2): for weights of ports that follow the authors' first release.

    Attributes:
        coordinate_weight: ``(out, c, *kernel)``, of a transposed layer ``(c, out, *kernel)``; c counts the axes in
            their order (depth, rows, columns), then the radius.

    Raises:
        ValueError, RuntimeError: as torch's layer does for bad arguments or inputs; an unknown radius.

    Source: Liu et al. 2018, section 3.
    """

    coordinate_weight: nn.Parameter
    fixed: Tensor
    size: tuple[int, ...] | None = None  # of the images, once it is frozen

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, *args: Any,
        with_r: bool = False, radius: Radius = "centred", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        self.add_coordinates(with_r, radius)
        self.reset_parameters()

    def add_coordinates(self, with_r: bool, radius: Radius) -> None:
        """Gives a layer of torch that has become one of these its coordinate weights, all zero."""
        radius_of(with_r, radius)
        self.with_r, self.radius = with_r, radius
        shape = self._geometry().coordinate_shape(self.out_channels)
        self.coordinate_weight = nn.Parameter(self.weight.detach().new_zeros(shape))

    @property
    def coordinates(self) -> int:
        """How many there are: one for each axis, and the radius."""
        return self._geometry().coordinates

    def reset_parameters(self) -> None:
        """Uniform within torch's bound for the content alone: the coordinates do not change how the content starts."""
        super().reset_parameters()
        if hasattr(self, "coordinate_weight"):  # not yet when torch's layer is made
            bound = content_bound(self)
            nn.init.uniform_(self.coordinate_weight, -bound, bound)

    def _geometry(self) -> Geometry:
        return geometry_of(self, self.radius if self.with_r else None)

    def position_map(self, x: Float[Tensor, "..."]) -> Float[Tensor, "1 o *size"]:
        """The coordinates' share of the output for images of the size of ``x``, bias included: ``(1, out, *size)``."""
        size = tuple(x.shape[-len(self.kernel_size) :])
        return own_map(size, self.coordinate_weight, self.bias, self._geometry(), not x.is_contiguous())

    @torch.no_grad()
    def freeze_size(self, *size: int) -> "CoordConv":
        """Fixes the size of the images: a constant map takes the place of coordinate weights and bias.

        Args:
            size: of the layer's own input, ``h, w``.

        Returns:
            The layer itself, which learns no more of its coordinates; it is for deployment.

        Raises:
            ValueError: it is frozen already, or its weight is computed by a parametrization.
        """
        if "coordinate_weight" not in self._parameters:
            raise ValueError("a layer that is frozen already, or parametrized, cannot be frozen")
        self.register_buffer("fixed", self.position_map(self.weight.new_empty(0, *size)).clone())
        self.size, self.bias = size, None
        del self.coordinate_weight
        return self

    def convolve(self, x: Tensor, geometry: Geometry) -> Tensor:
        """The output for ``x`` under a geometry of this layer's kind."""
        if self.size is None:
            return coordinate_convolution(x, self.weight, self.coordinate_weight, self.bias, geometry)
        return frozen_convolution(x, self.weight, self.fixed, self.size, geometry)

    def extra_repr(self) -> str:
        """torch's description, ``with_r`` and, if it is another, ``radius``."""
        radius = "" if self.radius == "centred" else f", radius={self.radius!r}"
        frozen = "" if self.size is None else f", size={self.size}"
        return f"{super().extra_repr()}, with_r={self.with_r}{radius}{frozen}"  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Takes the weight of a concatenating CoordConv as well."""
        name, own = f"{prefix}weight", f"{prefix}coordinate_weight"
        weight = state_dict.get(name)
        if own not in state_dict and isinstance(weight, Tensor) and weight.shape == _concatenated_shape(self):
            state_dict[name], state_dict[own] = split_concatenated(self, weight)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Down(CoordConv):
    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Convolves ``(b, in, *size)`` or ``(in, *size)``."""
        return self.convolve(input, self._geometry())


class _Up(CoordConv):
    def forward(self, input: Float[Tensor, "..."], output_size: list[int] | None = None) -> Float[Tensor, "..."]:
        """Transposed convolution of ``(b, in, *size)`` or ``(in, *size)``; ``output_size`` as in torch's layer."""
        geometry = self._geometry()
        if output_size is not None:
            sizes = list(self.stride), list(self.padding), list(self.kernel_size)
            extra = self._output_padding(  # type: ignore[operator]
                input, output_size, *sizes, len(self.kernel_size), list(self.dilation))  # fmt: skip
            geometry = geometry._replace(output_padding=tuple(extra))
        return self.convolve(input, geometry)


class CoordConv1d(_Down, nn.Conv1d):
    """A 1-D convolution over its input and the position: ``(b, in, l) -> (b, out, l')``. See `CoordConv`."""


class CoordConv2d(_Down, nn.Conv2d):
    """A 2-D convolution over its input and the pixels' coordinates: ``(b, in, h, w) -> (b, out, h', w')``.

    See `CoordConv`.
    """


class CoordConv3d(_Down, nn.Conv3d):
    """A 3-D convolution over its input and the voxels' coordinates: ``(b, in, d, h, w) -> (b, out, d', h', w')``.

    See `CoordConv`.
    """


class CoordConvTranspose1d(_Up, nn.ConvTranspose1d):
    """A 1-D transposed convolution over its input and the position: ``(b, in, l) -> (b, out, l')``.

    See `CoordConv`.
    """


class CoordConvTranspose2d(_Up, nn.ConvTranspose2d):
    """A 2-D transposed convolution over its input and the coordinates of the input's pixels.

    ``(b, in, h, w) -> (b, out, h', w')``. See `CoordConv`.
    """


class CoordConvTranspose3d(_Up, nn.ConvTranspose3d):
    """A 3-D transposed convolution over its input and the coordinates of the input's voxels.

    ``(b, in, d, h, w) -> (b, out, d', h', w')``. See `CoordConv`.
    """


KINDS: dict[type[nn.Module], type[CoordConv]] = {
    nn.Conv1d: CoordConv1d, nn.Conv2d: CoordConv2d, nn.Conv3d: CoordConv3d,
    nn.ConvTranspose1d: CoordConvTranspose1d, nn.ConvTranspose2d: CoordConvTranspose2d,
    nn.ConvTranspose3d: CoordConvTranspose3d,
}  # fmt: skip


def content_bound(layer: nn.modules.conv._ConvNd) -> float:
    """Half-width of torch's default uniform initialisation, ``1 / sqrt(fan-in)``, counted without the coordinates."""
    # torch takes dimension 1 of the weight as the fan-in, for transposed convolutions (out / groups) as well.
    channels = layer.out_channels if layer.transposed else layer.in_channels
    return 1 / math.sqrt(channels // layer.groups * math.prod(layer.kernel_size))


# ---- weights of other implementations


def _concatenated_shape(layer: CoordConv) -> tuple[int, ...]:
    first, second, *kernel = layer.weight.shape
    if layer.transposed:
        return (first + layer.groups * layer.coordinates, second, *kernel)
    return (first, second + layer.coordinates, *kernel)


def split_concatenated(layer: CoordConv, weight: Float[Tensor, "..."]) -> tuple[Tensor, Tensor]:
    """The content and the coordinate weight, as a layer stores them, of one in the concatenated shape; copies."""
    channels = layer.in_channels // layer.groups
    if not layer.transposed:
        return weight[:, :channels].clone(), weight[:, channels:].clone()
    grouped = weight.unflatten(0, (layer.groups, -1))  # (groups, in / groups + c, out / groups, *k)
    return grouped[:, :channels].flatten(0, 1), grouped[:, channels:].transpose(0, 1).flatten(1, 2)


@torch.no_grad()
def to_concatenated(layer: CoordConv, order: CoordinateOrder = "rows_first") -> Float[Tensor, "..."]:
    """The weight of a layer as a concatenating CoordConv stores it: content channels first, then the coordinates.

    ``(out, in / groups + c, *k)``, of a transposed layer ``(in + groups * c, out / groups, *k)``: each group's content,
    then its coordinates.

    Args:
        layer: any coordinate layer.
        order: which coordinate the other implementation concatenates first, see `from_concatenated`.

    Raises:
        ValueError: the order is unknown.
    """
    content, coordinate = layer.weight, layer.coordinate_weight
    if not layer.transposed:
        joined = torch.cat([content, coordinate], dim=1)
    else:
        grouped = content.unflatten(0, (layer.groups, -1))
        of_groups = coordinate.unflatten(1, (layer.groups, -1)).transpose(0, 1)
        joined = torch.cat([grouped, of_groups], dim=1).flatten(0, 1)
    return from_concatenated(layer, joined, order)


@torch.no_grad()
def from_concatenated(
    layer: CoordConv, weight: Float[Tensor, "..."], order: CoordinateOrder = "rows_first"
) -> Float[Tensor, "..."]:
    """A weight saved from a concatenating CoordConv, with the coordinates in this layer's order.

    It takes its place in a state dict that the layer loads: ``layer.load_state_dict({"weight": ..., "bias": ...})``.

    Args:
        layer: the layer that will take the weight.
        weight: content channels first, then the coordinates (of each group).
        order: which coordinate the other implementation concatenated first; ours is ``rows_first``, as in the paper's
            text, and ``columns_first`` is the reverse (columns, rows; columns, rows, depth). The radius is last.

    Raises:
        ValueError: the shape is not that of the layer's concatenated weight, or the order is unknown.
    """
    if weight.shape != _concatenated_shape(layer):
        raise ValueError(f"weight has shape {tuple(weight.shape)}, the layer needs {_concatenated_shape(layer)}")
    if order not in ("rows_first", "columns_first"):
        raise ValueError(f"order {order!r} is unknown: it is 'rows_first' or 'columns_first'")
    result = weight.clone()
    if order == "columns_first":
        dim, parts = (0, layer.groups) if layer.transposed else (1, 1)
        grouped, first, axes = result.unflatten(dim, (parts, -1)), layer.in_channels // layer.groups, layer.kernel_size
        swapped = grouped.narrow(dim + 1, first, len(axes)).flip(dim + 1)
        grouped.narrow(dim + 1, first, len(axes)).copy_(swapped)
    return result
