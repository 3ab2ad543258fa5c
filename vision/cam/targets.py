"""Whose maps are measured: a classifier of the run itself, a torchvision network, or a classifier of another run."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.experiment.run import read_run
from sandbox.experiment.spec import study_spec
from sandbox.nn.blocks import Convolutions
from vision.cam.fields import Receptive, receptive_of
from vision.cam.maps import Classifier
from vision.cam.spec import CamConfig
from vision.classify.config import ClassifierConfig
from vision.classify.networks import PooledLinear, SmallVgg
from vision.probe.config import kind_of, run_of
from vision.probe.encoders import make_encoder
from vision.probe.levels import find_levels, refuse_unrunnable
from vision.probe.targets import named_network

LAST = "stages.3"  # of the small VGG: its last convolutional level, after norm and ReLU


@lru_cache(maxsize=1)
def own_field() -> Receptive:
    """The receptive fields of the small VGG's last level; the same cells are compared under every padding."""
    return receptive_of(SmallVgg(Convolutions(), "zeros", 1, PooledLinear(8, 2)), LAST)


def own_classifier(network: nn.Module) -> Classifier:
    """A small VGG of the run itself, which sees images in [-1, 1]."""
    return Classifier(network, LAST, lambda images: 2 * images - 1, own_field())


def find_target(config: CamConfig, device: torch.device) -> Classifier:
    """The classifier that a configuration names, frozen, on a device.

    Raises:
        UserError: no such run or weights; a run that is no classifier of images of any size; images on which the
            network cannot run; cells without a regular grid.
    """
    example = torch.rand(2, 3, config.size, config.size, generator=torch.Generator().manual_seed(0))
    make = _of_run if kind_of(config.target) == "run" else _of_name
    try:
        return make(config, example.to(device), device)
    except (RuntimeError, ValueError) as error:
        raise refuse_unrunnable(error, config.target, config.size, stripped=False) from None


def _of_name(config: CamConfig, example: Tensor, device: torch.device) -> Classifier:
    named = named_network(config.probed(), whole=True)
    network = named.network.to(device).requires_grad_(False)
    level = f"{named.prefix}{named.levels[-1]}"  # before the pool that dense layers begin with
    return Classifier(network, level, named.prepare, receptive_of(network, level), named.note)


def _of_run(config: CamConfig, example: Tensor, device: torch.device) -> Classifier:
    folder = run_of(config.target, config.seed)
    study = read_run(folder).study
    if not issubclass(study_spec(study).config, ClassifierConfig):
        raise UserError(f"--target {folder} is a run of the study {study}, which has no classes of images: "
                        "allowed are runs of --task padding, location, red_green, shift or cam")  # fmt: skip
    encoder = make_encoder(config.probed(), device)
    network = encoder.network
    if any(isinstance(layer, PooledLinear) and layer.permuted for layer in network.modules()):
        raise UserError(f"--target {folder} permutes its channels anew at every pass: two maps of it differ by "
                        "that alone")  # fmt: skip
    with torch.no_grad():
        logits = network(encoder.prepare(example))
    if logits.dim() != 2 or logits.shape[1] < 2:
        numbers = "x".join(map(str, logits.shape[1:]))
        raise UserError(f"--target {folder} answers with {numbers} numbers an image, not with one a class: a "
                        "class activation map needs two classes or more")  # fmt: skip
    level = find_levels(network, encoder.prepare(example))[-1]
    return Classifier(network, level, encoder.prepare, receptive_of(network, level), encoder.note)
