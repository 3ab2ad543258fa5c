"""Coordinates for the convolutions of any torch model, and the way back.

    coordify(torchvision.models.resnet18(), where="first")     # changed in place: computes what it did, until trained
    decoordify(model)                                          # plain again, where the coordinate weights are zero
    freeze_size(model, 224, 224)                               # for deployment: constant maps

A plain layer of torch becomes the coordinate layer of its kind: the same object, with one parameter more. A layer that
computes in a way of its own (a subclass, a normed or pruned weight) keeps it; beside it runs a plain convolution
of the coordinates, whose output is added. Both keep the names and the values of what they had.
"""

import re
import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from sandbox.nn.beside import Beside, add_coordinates, beside_of, image_of
from sandbox.nn.coordconv import KINDS, CoordConv
from sandbox.nn.planes import Radius, radius_of

__all__ = ["convolutions", "coordify", "decoordify", "freeze_size", "left_plain"]

_ATTRIBUTES = ("in_channels", "out_channels", "kernel_size", "stride", "padding")


def _is_convolution(layer: nn.Module) -> bool:
    """A layer of torch's or one that looks like it: timm, torchvision and detectron2 have some of their own."""
    return isinstance(layer, nn.modules.conv._ConvNd) or all(hasattr(layer, name) for name in _ATTRIBUTES)


def _knows(layer: nn.Module) -> bool:
    return isinstance(layer, CoordConv) or isinstance(getattr(layer, "coordinate", None), Beside)


def _why_not(layer: nn.Module) -> str | None:
    """Why a convolution cannot be converted; None if it can."""
    if isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params():
        return "it is lazy and has no weights yet: run a batch through the model first"
    if isinstance(layer, torch.jit.ScriptModule):
        return "it is a script: convert the model, then trace or export it"
    if re.match(r"torch(\.ao\b|ao\b)", type(layer).__module__) or not list(layer.parameters()):
        return "it is quantised or has no weights: convert the model, then quantise the rest of it"
    weight = next(layer.parameters()).detach()  # not .weight: a spectral norm would take a step
    if not weight.is_floating_point() or type(weight) is not Tensor:
        return f"its weights are of {weight.dtype} in a {type(weight).__name__}: floating-point tensors are taken"
    if hasattr(layer, "coordinate") or hasattr(layer, "coordinate_weight"):
        return "it has a part of its own called coordinate"
    return None


def convolutions(module: nn.Module) -> dict[str, nn.Module]:
    """Every convolution below a module by its name, in registration order; the module itself has none.

    Of whatever class: torch's own layers, their subclasses, and what has their attributes and no convolutions inside.
    """
    found = {name: layer for name, layer in module.named_modules() if name and _is_convolution(layer)}
    # What consists of convolutions is none itself, whatever attributes it has.
    return {name: layer for name, layer in found.items() if not any(each.startswith(f"{name}.") for each in found)}


def left_plain(module: nn.Module) -> dict[str, str]:
    """The convolutions that do not know coordinates: name -> why they cannot, or that they were not asked to."""
    return {name: f"{type(layer).__name__}: {_why_not(layer) or 'can be converted'}"
            for name, layer in convolutions(module).items() if not _knows(layer)}  # fmt: skip


def _chosen(module: nn.Module, where: str | Sequence[str], named: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """What `where` asks for, all of which is there."""
    kind = type(module).__name__
    if not named:
        raise ValueError(f"{kind} holds no convolution to convert")
    if where == "all":
        return named
    if where == "first":
        return dict(list(named.items())[:1])
    wanted = [where] if isinstance(where, str) else where
    known = {id(layer): name for name, layer in named.items()}  # a layer that is shared has other names as well
    places = [(name, known[id(layer)]) for name, layer in module.named_modules(remove_duplicate=False)
              if id(layer) in known]  # fmt: skip
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name, _ in places):
            raise ValueError(
                f"where={pattern!r} fits no convolution of {kind}: it is 'first', 'all', or names of {', '.join(named)}"
            )
    return {own: named[own] for name, own in places if any(fnmatchcase(name, pattern) for pattern in wanted)}


def coordify(
    module: nn.Module, where: str | Sequence[str] = "first", with_r: bool = False, radius: Radius = "centred"
) -> nn.Module:
    """Gives the convolutions of any torch model the coordinates, in place; the function is unchanged at first.

    The new coordinate weights are zero and trainable, also beside frozen ones: make optimisers after the conversion.
    Hooks, attributes, tied weights, shared layers and the names in the state dict stay.

    Args:
        module: any module.
        where: ``first`` converts the first convolution in registration order, of whatever class, ``all`` every one that
            can be; else the name of one, such as ``layer1.0.conv1``, a pattern, ``layer1.*``, or several of them.
        with_r: adds the radius plane.
        radius: see `sandbox.nn.coordconv.CoordConv`.

    Returns:
        ``module`` itself.

    Raises:
        ValueError: there is no convolution, a name or pattern fits none, one that was asked for cannot be converted, or
            there is no such radius; nothing is changed then. With ``all``, those that cannot be converted are left
            plain with a warning that names them; see `left_plain`.
    """
    radius_of(with_r, radius)
    named = convolutions(module)
    alone = _is_convolution(module) and not named
    if alone and where not in ("first", "all"):
        raise ValueError(f"where={where!r}, but {type(module).__name__} is one layer: it is 'first' or 'all'")
    chosen = {"": module} if alone else _chosen(module, where, named)
    chosen = {name: layer for name, layer in chosen.items() if not _knows(layer)}
    refused = {name: why for name, layer in chosen.items() if (why := _why_not(layer))}
    words = "; ".join(f"{name or 'the layer'} ({type(chosen[name]).__name__}): {why}" for name, why in refused.items())
    if refused and (alone or where != "all"):
        raise ValueError(f"cannot be given coordinates: {words}")
    if refused and len(refused) == len(chosen):
        raise ValueError(f"nothing in {type(module).__name__} can be given coordinates: {words}")
    for name, layer in chosen.items():
        if name not in refused:
            _convert(layer, name, with_r, radius)
    if refused:
        warnings.warn(f"left plain: {words}", stacklevel=2)
    return module


def _convert(layer: nn.Module, name: str, with_r: bool, radius: Radius) -> None:
    kind = KINDS.get(type(layer))
    wrapped = "forward" in vars(layer)  # by somebody's own function, which would go on being called
    if kind is None or wrapped or is_parametrized(layer) or "weight" not in layer._parameters:
        add_coordinates(layer, name, with_r, radius)
        return
    layer.__class__ = kind
    assert isinstance(layer, CoordConv)
    layer.add_coordinates(with_r, radius)


def _coordinate_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Every coordinate layer by its name, all of which still are what `coordify` makes."""
    layers = {name: layer for name, layer in module.named_modules() if _knows(layer)}
    if not layers:
        raise ValueError(f"{type(module).__name__} holds no coordinate layer")
    for name, layer in layers.items():
        if isinstance(layer, CoordConv) and type(layer) not in KINDS.values():
            raise ValueError(f"{name or 'the layer'} is a {type(layer).__name__}: take its parametrizations away first")
        if _size_of(layer) is not None:
            raise ValueError(f"{name or 'the layer'} is frozen to one size of images, {_size_of(layer)}")
    return layers


def _size_of(layer: nn.Module) -> tuple[int, ...] | None:
    """Of the images that a frozen layer takes; None of any other."""
    return layer.size if isinstance(layer, CoordConv) else beside_of(layer).size


def _weight_of(layer: nn.Module) -> Tensor:
    """The coordinate weights of a layer that is not frozen."""
    weight = layer.coordinate_weight if isinstance(layer, CoordConv) else beside_of(layer).weight
    assert weight is not None
    return weight


def decoordify(module: nn.Module) -> nn.Module:
    """Makes coordinate layers plain again, in place, where that changes nothing: their coordinate weights are zero.

    Returns:
        ``module`` itself.

    Raises:
        ValueError: some coordinate weights are not zero, there is no coordinate layer, or one is frozen to a size or
            parametrized; nothing is changed then.
    """
    layers = _coordinate_layers(module)
    if used := [name or "the layer" for name, layer in layers.items() if bool(_weight_of(layer).detach().any())]:
        raise ValueError(f"these layers use their coordinates, and would compute something else: {', '.join(used)}")
    plain = {kind: of for of, kind in KINDS.items()}
    for layer in layers.values():
        if isinstance(layer, CoordConv):
            del layer._parameters["coordinate_weight"], layer.with_r, layer.radius
            layer.__class__ = plain[type(layer)]  # type: ignore[assignment]
        else:
            beside_of(layer).take_away(layer)
    return module


def freeze_size(module: nn.Module, *size: int) -> nn.Module:
    """Fixes the size of the images: every coordinate layer becomes a convolution and a constant map, in place.

    Do this last, for deployment: such a model is for one size, and its coordinates learn no more.

    Args:
        module: a model, run once to see what each layer gets, or a coordinate layer.
        size: of its images, ``height, width``; their channels are those that its first convolution takes.

    Returns:
        ``module`` itself.

    Raises:
        ValueError: there is no coordinate layer, one gets images of two sizes or none, or is frozen or parametrized;
            nothing is changed then.
    """
    layers = _coordinate_layers(module)
    seen = _shapes(module, layers, size)
    for name, shapes in seen.items():
        if len(shapes) != 1:
            found = " and ".join(str(taken) for taken, _ in sorted(shapes)) or "no size"
            raise ValueError(f"{name or 'the layer'} gets images of {found}, not of one size")
    for name, layer in layers.items():
        ((taken, given),) = seen[name]
        if isinstance(layer, CoordConv):
            layer.freeze_size(*taken)
        else:
            beside_of(layer).freeze(layer, taken, given)
    return module


def _shapes(module: nn.Module, layers: dict[str, nn.Module], size: tuple[int, ...]) -> dict[str, set[Any]]:
    """Of each layer, the sizes that it takes and the shapes that it gives, ``(out, *size)``, for images of a size."""
    seen: dict[str, set[Any]] = {name: set() for name in layers}
    first: Any = next(iter(convolutions(module).values()), module)
    axes = {name: len(layer.kernel_size) for name, layer in layers.items()}  # type: ignore[arg-type]

    def watch(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], out: Tensor) -> None:
            taken = image_of(inputs, named)
            seen[name].add((tuple(taken.shape[-axes[name] :]), tuple(out.shape[-axes[name] - 1 :])))

        return hook

    handles = [layer.register_forward_hook(watch(name), with_kwargs=True) for name, layer in layers.items()]
    modes = {each: each.training for each in module.modules()}
    try:
        with torch.no_grad():
            module.eval()(next(module.parameters()).new_zeros((1, int(first.in_channels), *size)))
    finally:
        for handle in handles:
            handle.remove()
        for each, training in modes.items():
            each.training = training
    return seen
