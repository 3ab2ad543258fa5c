"""Coordinates for a convolution that computes in a way of its own: a plain convolution of them beside it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.nn.convolve import own_map, refuse_other_size
from sandbox.nn.maps import Geometry, geometry_of, output_size
from sandbox.nn.planes import Radius, radius_of


class Beside(nn.Module):
    """The coordinates' share of a layer's output, which a hook of the layer adds: its child ``coordinate``.

    Args:
        layer: a convolution of any class, with the attributes of torch's.
        name: of the layer in its model, for messages.
        with_r: adds the radius.
        radius: see `sandbox.nn.coordconv.CoordConv`.

    Attributes:
        weight: ``(out, c, *kernel)``, of a transposed layer ``(c, out, *kernel)``; None once it is frozen.

    Raises:
        ValueError: see `sandbox.nn.planes.radius_of`.
    """

    fixed: Tensor

    def __init__(self, layer: Any, name: str, with_r: bool, radius: Radius) -> None:
        super().__init__()
        self.name, self.kind = name or "the layer", type(layer).__name__
        self.radius = radius_of(with_r, radius)
        shape = geometry_of(layer, self.radius).coordinate_shape(int(layer.out_channels))
        self.weight: nn.Parameter | None = nn.Parameter(next(layer.parameters()).detach().new_zeros(shape))
        self.size: tuple[int, ...] | None = None  # of the images, once frozen
        self.train(layer.training)

    def forward(self, layer: Any, x: Float[Tensor, "..."], out: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The output of a layer for ``x`` with the coordinates' share.

        Raises:
            RuntimeError: the output is no convolution's of that kernel, stride and padding.
        """
        if self.size is not None:
            refuse_other_size(x, self.size, self.name)
            return out + self.fixed.to(out.dtype)
        axes = self.weight.dim() - 2  # type: ignore[union-attr]
        share = self.share(layer, tuple(x.shape[-axes:]), tuple(out.shape[-axes - 1 :]))
        return out + (share if out.dim() == axes + 2 else share[0]).to(out.dtype)

    def share(self, layer: Any, size: tuple[int, ...], wanted: tuple[int, ...]) -> Float[Tensor, "1 o *size"]:
        """What is added for images of a size to an output of the shape ``wanted``, without a batch.

        Raises:
            RuntimeError: see `forward`.
        """
        assert self.weight is not None
        geometry = geometry_of(layer, self.radius)
        if output_size(geometry, size) != wanted[1:] and not geometry.transposed:
            # TensorFlow's padding "same", which such layers put on before they convolve.
            geometry = _same(geometry, size)
        if (expected := (self.weight.shape[geometry.transposed], *output_size(geometry, size))) != wanted:
            raise RuntimeError(
                f"{self.name} ({self.kind}) gives {wanted}, and a convolution of its kernel, stride and padding "
                f"{expected}: it cannot be given coordinates"
            )
        return own_map(size, self.weight, None, geometry)

    def take_away(self, layer: nn.Module) -> None:
        """Leaves the layer as it was."""
        for key in [key for key, hook in layer._forward_hooks.items() if hook is _hook]:
            del layer._forward_hooks[key], layer._forward_hooks_with_kwargs[key]
        del layer._modules["coordinate"]

    @torch.no_grad()
    def freeze(self, layer: Any, size: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        """Keeps the share for images of one size alone; see `share`."""
        self.register_buffer("fixed", self.share(layer, size, wanted).clone())
        self.size, self.weight = size, None

    def extra_repr(self) -> str:
        """How many coordinates there are."""
        return f"radius={self.radius!r}" if self.size is None else f"size={self.size}"


def _same(geometry: Geometry, size: tuple[int, ...]) -> Geometry:
    """With the padding that makes the output as large as the image over the stride; an odd one has more at the end."""
    around: list[int] = []
    for length, kernel, stride, dilation in zip(
        size, geometry.kernel_size, geometry.stride, geometry.dilation, strict=True
    ):
        whole = max((-(-length // stride) - 1) * stride + dilation * (kernel - 1) + 1 - length, 0)
        around = [whole // 2, whole - whole // 2, *around]  # F.pad begins with the last axis
    return geometry._replace(padding=(0,) * len(size), around=tuple(around), mode="constant")


def beside_of(layer: nn.Module) -> Beside:
    """What stands beside a layer."""
    beside = layer.coordinate
    assert isinstance(beside, Beside)
    return beside


def image_of(inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """What a convolution was called with, also by its name, ``input``; of another name it is the first."""
    image = inputs[0] if inputs else named.get("input", next(iter(named.values())))
    assert isinstance(image, Tensor)
    return image


def _hook(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
    return beside_of(layer)(layer, image_of(inputs, named), out)


def add_coordinates(layer: nn.Module, name: str, with_r: bool, radius: Radius) -> None:
    """Puts coordinates beside a layer, with weights of zero."""
    layer.coordinate = Beside(layer, name, with_r, radius)
    # First: what else listens to the layer hears of its whole output.
    layer.register_forward_hook(_hook, prepend=True, with_kwargs=True)
