"""Networks by name: of torchvision, of timm, or what a function of the user's returns; and their weights.

Weights are read from the user's disk, else they are random; they are downloaded only where the user says
``--weights download``. A file need not hold more than what is looked at: the convolutions alone will do for a probe.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sandbox.base.errors import UserError, nearest, one_line
from sandbox.base.reading import Unreadable, required, size_of
from sandbox.nn.weights import read_weights
from sandbox.train.encoder import as_they_are
from vision.classify.named import IMAGENET, statistics_of, timm_network
from vision.probe.config import PositionConfig, kind_of
from vision.probe.levels import Levels, find_levels, refuse_unrunnable

PLAIN_SIZE = 112  # pixels, where nobody says anything


@dataclass(frozen=True)
class Named:
    """A network that goes by a name.

    Attributes:
        network: all of it, in evaluation mode.
        body: where its levels are: VGG's dense layers, for one, see no place.
        prefix: of the body's modules in the network, ``features.`` or nothing.
        levels: names of modules of the body.
        prepare: images in [0, 1] to inputs.
        size: pixels along an edge of its images.
        note: a line on its weights.
    """

    network: nn.Module
    body: nn.Module
    prefix: str
    levels: tuple[str, ...]
    prepare: Callable[[Tensor], Tensor]
    size: int
    note: str


@dataclass
class _Made:
    """A network as it is made, its weights still to come."""

    network: nn.Module
    statistics: tuple[Sequence[float], Sequence[float]] | None  # mean and deviation of each channel of its images
    stages: tuple[str, ...] = ()  # its levels, where it says so itself
    size: int = PLAIN_SIZE
    note: str = ""


def named_network(config: PositionConfig, *, whole: bool) -> Named:
    """The network that a configuration names.

    Args:
        config: its target, weights and seed.
        whole: the file of its weights must hold all of them, not only those of what runs up to the last level.

    Raises:
        UserError: there is no such network, there are no such weights, or it cannot run on these images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        made = _MAKERS[kind_of(config.target)](config)
    network, size = made.network.eval(), config.size or made.size
    features = getattr(network, "features", None)
    inside = isinstance(features, nn.Module) and not made.stages
    body, prefix = (features, "features.") if inside and isinstance(features, nn.Module) else (network, "")
    prepare = as_they_are if made.statistics is None else standardising(*made.statistics)
    example = prepare(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)))
    try:
        path = _weights(config)
        levels = made.stages if _have_places(body, made.stages, example) else tuple(find_levels(body, example))
        partly = path is not None and not whole
        needed = {f"{prefix}{name}" for name in _run_for(body, levels, example)} if partly else None
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise refuse_unrunnable(error, config.target, size, stripped=False) from None
    if path is not None:
        with required(flag="--weights"):
            read_weights(path, network, needed)
        made.note = f"{config.target} has the weights of {path.name}."
    return Named(network, body, prefix, levels, prepare, size, made.note)


def standardising(mean: Sequence[float], deviation: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """What takes images in [0, 1] to what a network was trained on: each channel less its mean, over its deviation."""
    constants = [torch.tensor(values)[:, None, None] for values in (mean, deviation)]
    return lambda images: (images - constants[0].to(images)) / constants[1].to(images)


def _have_places(network: nn.Module, names: Sequence[str], example: Tensor) -> bool:
    """Whether a network has modules of these names, whose outputs are maps: those of a vision transformer are not."""
    if not names or not set(names) <= {name for name, _ in network.named_modules()}:
        return False
    with suppress(AttributeError, LookupError):
        return all(level.dim() == 4 for level in Levels(network, names)(example))
    return False


def _run_for(network: nn.Module, levels: Sequence[str], example: Tensor) -> set[str]:
    """Names of the weights of all modules that run up to the last level."""
    names: set[str] = set()

    def note(module: nn.Module, inputs: Any, *, name: str) -> None:
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        names.update(f"{name}.{key}".lstrip(".") for key, _ in own)

    handles = [module.register_forward_pre_hook(lambda module, inputs, name=name: note(module, inputs, name=name))
               for name, module in network.named_modules()]  # fmt: skip
    try:
        Levels(network, levels)(example)
    finally:
        for handle in handles:
            handle.remove()
    return names


# ---- where networks come from


def _torchvision(config: PositionConfig) -> _Made:
    from torchvision.models import get_model  # a second, that only who asks for it waits for

    network: nn.Module = get_model(config.target, weights=None)
    stages = tuple(f"layer{k}" for k in (1, 2, 3, 4)) if hasattr(network, "layer4") else ()
    note = f"{config.target} has random weights (seed {config.seed}): it was never trained."
    if config.weights == "auto":
        note += " Torch's hub cache has none: --weights download fetches ImageNet's."
    return _Made(network, IMAGENET, stages, note=note)


def _timm(config: PositionConfig) -> _Made:
    trained = config.weights == "download"
    network, told = timm_network("--target", config.target, pretrained=trained)
    stages = tuple(str(each["module"]) for each in getattr(network, "feature_info", ()) if "module" in each)
    size = int(told["input_size"][-1]) if told.get("fixed_input_size") else PLAIN_SIZE
    note = f"{config.target} has timm's trained weights." if trained else (
        f"{config.target} has random weights (seed {config.seed}): it was never trained.")  # fmt: skip
    return _Made(network, statistics_of(told), stages, size, note)


def _function(config: PositionConfig) -> _Made:
    place, _, name = config.target.partition(":")
    said = f"--target {config.target}"
    try:
        function = getattr(import_module(place), name, None)
    except ModuleNotFoundError as error:
        raise UserError(f"{said}: there is no module {error.name}; it is looked for here and where Python's packages "
                        "are") from None  # fmt: skip
    except Exception as error:
        raise UserError(
            f"{said}: {place} cannot be imported ({type(error).__name__}: {one_line(error, 120)})"
        ) from None
    if not callable(function):
        names = [
            key for key, value in vars(import_module(place)).items() if callable(value) and not key.startswith("_")
        ]
        raise UserError(f"{said}: {place} has no function {name}{nearest(name, names)}")
    try:
        network = function()
    except Exception as error:
        raise UserError(f"{said}: {name}() raised {type(error).__name__}: {one_line(error, 120)}") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"{said}: {name}() returns {type(network).__name__}, and a torch.nn.Module is wanted")
    return _Made(network, None, note=f"{config.target} as {name}() made it; it sees images in [0, 1].")


_MAKERS: dict[str, Callable[[PositionConfig], _Made]] = {
    "torchvision": _torchvision, "timm": _timm, "function": _function,
}  # fmt: skip


# ---- weights


def _weights(config: PositionConfig) -> Path | None:
    """The file of a network's weights; None: those that it was made with."""
    kind = kind_of(config.target)
    if config.weights in ("random", "download") and kind == "function":
        raise UserError(
            f"--weights {config.weights}: those of {config.target} are its own; allowed are auto and a file"
        )
    if config.weights == "random":
        return None
    if kind == "torchvision":
        return _torchvision_weights(config)
    if config.weights in ("auto", "download"):
        return None
    return _file(config.weights, "say --weights auto")


def _file(weights: str, otherwise: str) -> Path:
    try:
        size_of(Path(weights))
    except Unreadable as error:
        close = nearest(weights, ("auto", "random", "download"))
        raise UserError(f"--weights: {error}: {otherwise}{close}") from None
    return Path(weights)


def _torchvision_weights(config: PositionConfig) -> Path | None:
    from torchvision.models import get_model_weights

    # Not VGG16's IMAGENET1K_FEATURES, which want images in another standardisation. The first are those of the paper.
    urls = [entry.url for entry in get_model_weights(config.target) if entry.name.startswith("IMAGENET1K_V")]
    cached = [Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1] for url in urls]
    there = next((path for path in cached if path.is_file()), None)
    if config.weights == "download" and there is None:
        there = _fetched(urls[0], cached[0])
    if config.weights in ("auto", "download"):
        return there
    return _file(config.weights, f"fetch a file (curl -O {urls[0]}), or say --weights download or random")


def _fetched(url: str, path: Path) -> Path:
    """Downloads a file of weights; the hash that its name holds is checked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # no network, no such page; a file whose hash is another
        raise UserError(f"--weights download: {url} cannot be fetched ({one_line(error, 80)}): fetch it by other means "
                        f"and put it at {path}, or say --weights random") from None  # fmt: skip
    return path
