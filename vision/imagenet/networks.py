"""Classifiers by name, where their training starts, and where they know coordinates.

    network = make_classifier(config, classes=1000)      # (b, 3, h, w) standardised images -> (b, classes)

Arms share every weight that they can: a network is drawn as its library draws it, from the run's seed, before anything
knows coordinates; what is added draws from streams of its own.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sandbox.base.errors import UserError, nearest, one_line
from sandbox.base.reading import Unreadable
from sandbox.base.seeding import keyed_generator
from sandbox.nn.blocks import Convolutions
from sandbox.nn.coordconv import CoordConv2d
from sandbox.nn.coordify import convolutions, coordify
from sandbox.nn.seeding import seed_parameters
from sandbox.nn.weights import read_weights
from vision.classify.named import IMAGENET, statistics_of, timm_network
from vision.imagenet.spec import ImagenetConfig

IMAGENET_CLASSES = 1000


def make_classifier(config: ImagenetConfig, classes: int) -> tuple[nn.Module, Sequence[Sequence[float]]]:
    """The network of a run, and the mean and the deviation of each channel that its images are standardised with.

    With ``front`` a 1x1 convolution comes first, and the network's own first one takes its channels. From trained
    weights both start as what they replace: the front hands the three colours through, its other channels meet zeros.

    Raises:
        UserError: there is no such network, there are no such weights, or it takes no such images.
    """
    network, statistics = _made(config, classes)
    if config.weights != "random":
        _start_from(config, network, classes)
    if config.front:
        network = _with_front(config, network)
    elif config.coord:
        try:
            coordify(network, "first", config.with_r)
        except ValueError as error:
            raise UserError(f"--model {config.model}: {one_line(error, 160)}") from None
    _refuse_unrunnable(config, network)
    return network, statistics


def _made(config: ImagenetConfig, classes: int, trained: bool = False) -> tuple[nn.Module, Sequence[Sequence[float]]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return (_timm if config.model.startswith("timm:") else _torchvision)(config.model, classes, trained)


def _torchvision(model: str, classes: int, trained: bool) -> tuple[nn.Module, Sequence[Sequence[float]]]:
    from torchvision.models import get_model  # a second, that only who asks for it waits for

    weights: Any = "DEFAULT" if trained else None
    try:
        return get_model(model, weights=weights, num_classes=classes), IMAGENET
    except (OSError, RuntimeError) as error:  # no network, a damaged download
        raise UserError(f"--weights download: {model}'s cannot be fetched ({one_line(error, 120)}): fetch a file by "
                        "other means and give its path") from None  # fmt: skip


def _timm(model: str, classes: int, trained: bool) -> tuple[nn.Module, Sequence[Sequence[float]]]:
    network, told = timm_network("--model", model, pretrained=trained, num_classes=classes)
    return network, statistics_of(told)


# ---- trained weights


@torch.no_grad()
def _start_from(config: ImagenetConfig, network: nn.Module, classes: int) -> None:
    """Puts trained weights into a network; its last layer stays as drawn where theirs is of other classes."""
    trained = _fetched(config) if config.weights == "download" else _read(config, classes)
    found, own = trained.state_dict(), network.state_dict()
    own.update({name: value for name, value in found.items() if value.shape == own[name].shape})
    network.load_state_dict(own)


def _fetched(config: ImagenetConfig) -> nn.Module:
    return _made(config, IMAGENET_CLASSES, trained=True)[0]


def _read(config: ImagenetConfig, classes: int) -> nn.Module:
    """A network of the file's weights: of as many classes as wanted, or else of ImageNet's."""
    first: Unreadable | None = None
    for count in dict.fromkeys((classes, IMAGENET_CLASSES)):
        network = _made(config, count)[0]
        try:
            read_weights(Path(config.weights), network)
            return network
        except Unreadable as error:
            first = first or error
    close = nearest(config.weights, ("random", "download"))
    raise UserError(f"--weights: {first}: allowed are random, download, or a file of {config.model}'s weights{close}")


# ---- the convolution before the network


@torch.no_grad()
def _with_front(config: ImagenetConfig, network: nn.Module) -> nn.Module:
    trained, channels = config.weights != "random", config.front
    front = Convolutions(config.coord, "all", config.with_r).conv(3, channels, 1)
    seed_parameters(front, config.seed, "front", gain=1.0)
    name, stem = next(iter(convolutions(network).items()), ("", None))
    if not isinstance(stem, nn.Conv2d) or stem.in_channels != 3 or stem.groups != 1:
        raise UserError(f"--front {channels}: {config.model} does not begin with a convolution of three channels")
    weight = stem.weight
    # As large at its output as before, whatever law its library draws from.
    drawn = torch.randn((len(weight), channels, *weight.shape[2:]),
                        generator=keyed_generator(config.seed, "front", name))  # fmt: skip
    drawn *= weight.std() * (3 / channels) ** 0.5
    if trained:
        drawn.zero_()
        drawn[:, :3] = weight
        front.weight[:3] = 0
        front.weight[:3, :, 0, 0] = torch.eye(3)
        if isinstance(front, CoordConv2d):
            front.coordinate_weight[:3] = 0
    stem.weight, stem.in_channels = nn.Parameter(drawn), channels
    return nn.Sequential(OrderedDict(front=front, network=network))


def _refuse_unrunnable(config: ImagenetConfig, network: nn.Module) -> None:
    images = torch.zeros(2, 3, config.size, config.size)
    was = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(images)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise UserError(f"--model {config.model} cannot run on images of {config.size} pixels "
                        f"({one_line(error, 120)}): give --size another number") from None  # fmt: skip
    finally:
        network.train(was)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise UserError(f"--model {config.model} does not return logits, a row an image")
