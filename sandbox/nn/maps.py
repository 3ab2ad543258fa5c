"""The coordinates' share of a convolution's output, computed at a few pixels and interpolated between them.

Along one axis a window that lies inside the image sees coordinates that grow by one step from window to window, so the
share of rows and columns is affine inside the image; it differs where a window meets the border. It is therefore
computed at *knots* alone, the border's windows and the first and the last one inside, for each axis; every other pixel
lies on a line between two of them. A transposed convolution of stride s has s such lines, one for each phase.

`Table` holds what depends on sizes alone. For a map of few pixels, of which a GPU allows more, and for the radius,
every pixel is a knot.
"""

import math
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sandbox.nn.planes import Radius, distance, is_call_bound, kept, make_planes, ramp

# Elements of a table that is multiplied at once: one product costs less than the interpolation. On a GPU up to more of
# them; a table of every pixel takes its time on the CPU whenever there is a new size.
_FEW, _FEW_ON_GPU = 2**15, 2**18
_MOST = 2**22  # elements of a table; beyond, a convolution of the planes costs less than the memory


class Geometry(NamedTuple):
    """How a layer moves over an image. The first five are ``torch.convolution``'s, in its order.

    Attributes:
        groups: of the content; the coordinates are seen by each.
        kernel_size: pixels along each axis.
        around: padding put on before the convolution, as ``F.pad`` takes it; empty for none.
        mode: how that padding is filled, ``F.pad``'s name for it.
        radius: of the radius plane; None for none.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    kernel_size: tuple[int, ...]
    around: tuple[int, ...] = ()
    mode: str = "constant"
    radius: Radius | None = None

    @property
    def coordinates(self) -> int:
        """How many there are: one for each axis, and the radius."""
        return len(self.kernel_size) + (self.radius is not None)

    def coordinate_shape(self, outputs: int) -> tuple[int, ...]:
        """Of a layer's coordinate weight: ``(out, c, *kernel)``, of a transposed layer ``(c, out, *kernel)``."""
        first = (self.coordinates, outputs) if self.transposed else (outputs, self.coordinates)
        return (*first, *self.kernel_size)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def geometry_of(layer: Any, radius: Radius | None) -> Geometry:
    """How a convolution moves over an image, by the attributes that torch's layers have; ``radius`` None: no plane."""
    kernel = _each(layer.kernel_size, 2)
    axes, transposed = len(kernel), bool(getattr(layer, "transposed", False))
    stride, dilation = _each(layer.stride, axes), _each(getattr(layer, "dilation", 1), axes)
    extra = _each(getattr(layer, "output_padding", 0), axes)
    mode, padding = getattr(layer, "padding_mode", "zeros"), layer.padding
    if padding == "valid":
        padding = 0
    groups = getattr(layer, "groups", 1)
    if mode == "zeros" and padding != "same":
        return Geometry(stride, _each(padding, axes), dilation, transposed, extra, groups, kernel, radius=radius)
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        ends = [(each // 2, each - each // 2) for each in reach]
    else:
        ends = [(each, each) for each in _each(padding, axes)]
    if mode == "zeros" and all(before == after for before, after in ends):
        padding = tuple(before for before, _ in ends)
        return Geometry(stride, padding, dilation, transposed, extra, groups, kernel, radius=radius)
    # Also padding="same" with an even kernel: one more at the end.
    around = tuple(end for pair in reversed(ends) for end in pair)
    fill = "constant" if mode == "zeros" else mode
    return Geometry(stride, (0,) * axes, dilation, transposed, extra, groups, kernel, around, fill, radius)


def padded(x: Tensor, geometry: Geometry) -> Tensor:
    """The image with the padding that ``torch.convolution`` cannot put around it."""
    return F.pad(x, geometry.around, geometry.mode) if geometry.around else x


class Axis(NamedTuple):
    """What a kernel meets along one axis of an image; see `Geometry`."""

    length: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int
    transposed: bool
    extra: int
    mode: str

    @property
    def windows(self) -> int:
        """How many there are."""
        reach, padding = self.dilation * (self.kernel - 1), self.before + self.after
        if self.transposed:
            return (self.length - 1) * self.stride - padding + reach + self.extra + 1
        return (self.length + padding - reach - 1) // self.stride + 1


class Windows(NamedTuple):
    """The windows of an axis.

    Attributes:
        pixel: ``(windows, kernel)``, which pixel each tap meets.
        one: ``(windows, kernel)``, 1 where there is one, 0 in zero padding.
        inside: ``(windows,)``, whether the window lies on the image.
    """

    pixel: Tensor
    one: Tensor
    inside: Tensor


def windows(axis: Axis) -> Windows:
    """Which pixels each window of an axis meets; on the CPU, whatever torch's default device is."""
    taps = torch.arange(axis.kernel, device="cpu") * axis.dilation
    steps = torch.arange(axis.windows, device="cpu")[:, None]
    if axis.transposed:
        steps = steps + axis.before - taps
        place, met = steps.div(axis.stride, rounding_mode="floor"), steps % axis.stride == 0
    else:
        place = steps * axis.stride - axis.before + taps
        met = torch.ones_like(place, dtype=torch.bool)
    on = (place >= 0) & (place < axis.length)
    inside = (on | ~met).all(1)
    last = axis.length - 1
    if axis.mode == "circular":
        place = place % axis.length
    elif axis.mode == "reflect":
        place = last - (last - place.abs()).abs()
    one = met & on if axis.mode == "constant" else met
    return Windows(place.clamp(0, last), one.double(), inside)


def _knots(axis: Axis, found: Windows) -> tuple[Tensor, Tensor]:
    """The windows to compute ``(knots,)``, and how every one comes from them: ``(windows, knots)``, rows sum to 1."""
    count, phases = len(found.inside), axis.stride if axis.transposed else 1
    chosen = ~found.inside
    lines = []
    for phase in range(min(phases, count)):
        among = torch.arange(phase, count, phases, device="cpu")
        among = among[found.inside[among]]
        if len(among) > 0:
            lines.append(among)
            chosen[among[[0, -1]]] = True
    knots = chosen.nonzero()[:, 0]
    spread = torch.zeros(count, len(knots), dtype=torch.float64, device="cpu")
    spread[knots, torch.arange(len(knots), device="cpu")] = 1.0
    for among in lines:
        first, last = (int(torch.searchsorted(knots, end)) for end in (among[0], among[-1]))
        share = torch.linspace(0, 1, len(among), dtype=torch.float64, device="cpu")
        spread[among] = 0.0
        spread[among, last] = share
        spread[among, first] += 1 - share
    return knots, spread


class Table(NamedTuple):
    """What the map of a geometry and a size is made of, whatever the weights.

    Attributes:
        size: of the output image.
        values: ``(c * taps, knots)``, the map of each single coordinate weight at the knots of all axes.
        spreads: for each axis ``(windows, knots)``, the way from the knots to the windows; None where all are knots.
        knots: how many each axis has.
    """

    size: tuple[int, ...]
    values: Tensor
    spreads: tuple[Tensor | None, ...]
    knots: tuple[int, ...]


def output_size(geometry: Geometry, size: tuple[int, ...]) -> tuple[int, ...]:
    """The size of the output for images of a size; less than 1 where a kernel does not fit."""
    return tuple(axis.windows for axis in axes_of(geometry, size))


def axes_of(geometry: Geometry, size: tuple[int, ...]) -> list[Axis]:
    """A layer's axes over an image of a size."""
    count = len(size)
    around = geometry.around[::-1] or (0,) * 2 * count  # F.pad begins with the last axis
    return [Axis(length, geometry.kernel_size[k], geometry.stride[k], geometry.padding[k] + around[2 * k + 1],
                 geometry.padding[k] + around[2 * k], geometry.dilation[k], geometry.transposed,
                 geometry.output_padding[k], geometry.mode)
            for k, length in enumerate(size)]  # fmt: skip


def _make_table(geometry: Geometry, size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Table | None:
    axes, shape = axes_of(geometry, size), output_size(geometry, size)
    if min(shape) < 1:
        return None  # torch says what is wrong
    found = [windows(axis) for axis in axes]
    weights = geometry.coordinates * math.prod(geometry.kernel_size)
    few = _FEW_ON_GPU if is_call_bound(device) else _FEW
    whole = weights * math.prod(shape) <= few or geometry.radius is not None
    spreads: list[Tensor | None] = [None] * len(size)
    if not whole:
        for k, (axis, each) in enumerate(zip(axes, found, strict=True)):
            knots, spread = _knots(axis, each)
            if len(knots) < shape[k]:
                found[k] = Windows(each.pixel[knots], each.one[knots], each.inside[knots])
                spreads[k] = spread.to(device, dtype)
    counts = tuple(len(each.inside) for each in found)
    if weights * math.prod(counts) > _MOST:
        return None
    values = _values(found, size, geometry.radius)
    return Table(shape, values.to(device, dtype), tuple(spreads), counts)


def _values(found: list[Windows], size: tuple[int, ...], radius: Radius | None) -> Tensor:
    """The map of each single coordinate weight at chosen windows, in float64: ``(c * taps, windows of all axes)``."""
    count, double, cpu = len(found), torch.float64, torch.device("cpu")
    seen = [ramp(length, double, cpu)[each.pixel] * each.one for length, each in zip(size, found, strict=True)]
    # Each is (windows, taps); of their outer product the taps of all axes come first.
    order = [*range(1, 2 * count, 2), *range(0, 2 * count, 2)]
    taps, places = math.prod(each.one.shape[1] for each in found), math.prod(len(each.one) for each in found)

    def outer(factors: list[Tensor]) -> Tensor:
        return reduce(lambda a, b: torch.tensordot(a, b, dims=0), factors).permute(order).reshape(taps, places)

    maps = [outer([seen[k] if k == axis else each.one for k, each in enumerate(found)]) for axis in range(count)]
    if radius is not None:
        coordinates = [ramp(length, double, cpu)[each.pixel] for length, each in zip(size, found, strict=True)]
        ones = [torch.ones_like(each.one) for each in found]
        spread = [outer([coordinates[k] if k == axis else ones[k] for k in range(count)]) for axis in range(count)]
        maps.append(distance(spread, radius) * outer([each.one for each in found]))
    return torch.cat(maps)


def table_of(geometry: Geometry, size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Table | None:
    """The table of a geometry over images of a size, cached; None where it would be too large."""
    key = ("table", geometry._replace(groups=1), size, dtype, device)
    found = kept.get(key, lambda: (_make_table(geometry, size, dtype, device),))
    return found[0]


def position_map(
    coordinate: Float[Tensor, "o weights"], bias: Float[Tensor, " o"] | None, table: Table, channels_last: bool
) -> Float[Tensor, "1 o *size"]:
    """The coordinates' share of the output, bias included, in the memory format asked for."""
    # A constant at the knots is that constant between them, so the bias is added there.
    if channels_last:
        factors = table.values.t(), coordinate.t()
        found = torch.mm(*factors) if bias is None else torch.addmm(bias, *factors)
        found = found.view(1, *table.knots, len(coordinate))
    else:
        factors = coordinate, table.values
        found = torch.mm(*factors) if bias is None else torch.addmm(bias.unsqueeze(1), *factors)
        found = found.view(1, len(coordinate), *table.knots)
    axes = list(enumerate(table.spreads, start=1 if channels_last else 2))
    # The axis that lies outermost in memory first, or innermost: then one step is one large product.
    for axis, spread in axes if channels_last else axes[::-1]:
        if spread is not None:
            before, after = math.prod(found.shape[:axis]), math.prod(found.shape[axis + 1 :])
            shape = (*found.shape[:axis], len(spread), *found.shape[axis + 1 :])
            found = _along(spread, found.view(before, spread.shape[1], after)).view(shape)
    return found.movedim(-1, 1) if channels_last else found


def _along(matrix: Tensor, x: Tensor) -> Tensor:
    """``(m, k)`` times the middle axis of ``(before, k, after)``: ``(before, m, after)``."""
    if len(x) == 1:
        return torch.mm(matrix, x[0])[None]
    if x.shape[2] == 1:
        return torch.mm(x[:, :, 0], matrix.t())[:, :, None]
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


def convolved_planes(
    geometry: Geometry, size: tuple[int, ...], coordinate: Tensor, bias: Tensor | None
) -> Float[Tensor, "1 o *size"]:
    """The same map by a convolution of the planes: for graphs, and where a table would be too large."""
    planes = padded(make_planes(size, geometry.radius, coordinate.dtype, coordinate.device)[None], geometry)
    return torch.convolution(planes, coordinate, bias, *geometry[:5], 1)
