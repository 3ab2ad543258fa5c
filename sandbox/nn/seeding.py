"""How networks start: every parameter from a stream keyed by its name, so that arms share what they can share."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from sandbox.base.seeding import keyed_generator
from sandbox.nn.coordconv import CoordConv, content_bound

M = TypeVar("M", bound=nn.Module)
Start = float | int | Callable[[Tensor, torch.Generator], object]  # a number, or what fills a tensor from a stream


def with_start(layer: M, **starts: Start) -> M:
    """A layer with a start of its own, which `seed_parameters` keeps: a focal loss' prior, a head that begins at zero.

        with_start(nn.Conv2d(64, 1, 3), bias=-4.6)
        with_start(nn.Linear(64, 2), weight=lambda weight, stream: weight.normal_(0, 0.01, generator=stream))

    Args:
        layer: of any kind.
        starts: parameter's name -> a number, or a function of (tensor, random stream) that fills the tensor in place.
            Content and coordinate weights of a coordinate layer are filled one after the other, each from a stream of
            its own, so that arms still share the content.

    Raises:
        ValueError: the layer has no such parameter.
    """
    for name in starts:
        if not isinstance(getattr(layer, name, None), nn.Parameter):
            there = ", ".join(name for name, _ in layer.named_parameters(recurse=False))
            raise ValueError(f"{type(layer).__name__} has no parameter {name!r}: it has {there}")
    layer.starts = starts  # type: ignore[assignment]
    return layer


def _uniform(shape: torch.Size, bound: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * bound


@torch.no_grad()
def seed_parameters(module: nn.Module, seed: int, *key: str, gain: float = math.sqrt(2.0)) -> None:
    """Draws every parameter anew from a stream keyed by (seed, its qualified name): seeding alone does not pair arms.

    Convolution and linear weights are uniform with standard deviation ``gain / sqrt(fan-in)`` (He et al. 2015, arXiv
    1502.01852, for the default gain), the fan-in counted without the coordinates; coordinate weights come from a second
    stream with the same bound, so that a plain and a coordinate layer of one name share their content weights. Biases
    start at zero; norm layers keep their ones and zeros; what `with_start` has given a layer is kept.

    Args:
        module: the whole network, named alike in both arms.
        seed: the run's seed.
        key: what tells this network from others of the run.
        gain: relative to a standard deviation of ``1 / sqrt(fan-in)``.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
            # torch's bound is 1 / sqrt(fan-in); a uniform law of that standard deviation reaches sqrt(3) further.
            bound = gain * math.sqrt(3.0) * (1 / math.sqrt(layer.in_features) if isinstance(layer, nn.Linear)
                                             else content_bound(layer))  # fmt: skip
            for part, stream in _parts(layer, "weight"):
                part.copy_(_uniform(part.shape, bound, keyed_generator(seed, *key, f"{name}.weight", stream)))
            if layer.bias is not None:
                layer.bias.zero_()
        starts: dict[str, Start] = getattr(layer, "starts", {})
        for parameter, start in starts.items():
            for part, stream in _parts(layer, parameter):
                if callable(start):
                    start(part, keyed_generator(seed, *key, f"{name}.{parameter}", stream))
                else:
                    part.fill_(start)


def _parts(layer: nn.Module, parameter: str) -> list[tuple[Tensor, str]]:
    """A parameter, or its content and its coordinate part, and the name of the random stream of each."""
    parts = [(getattr(layer, parameter), "content")]
    if parameter == "weight" and isinstance(layer, CoordConv):
        parts.append((layer.coordinate_weight, "coordinates"))
    return parts
