"""GAPNet, PermuteNet and a control: one trunk, three ways from its last maps to a class (arXiv 2108.07884)."""

from torch import nn

from sandbox.nn.blocks import Convolutions
from sandbox.nn.padded import make_convolutions
from vision.classify.networks import PooledConv, PooledLinear, ResNet18, SmallVgg, channels_of, make_classifier
from vision.location.spec import Head, LocationConfig


def make_network(config: LocationConfig) -> SmallVgg | ResNet18:
    """The classifier of a configuration, not yet seeded."""
    convs = make_convolutions(config.coord, config.coord_layers, config.with_r, config.padding)
    head = _head(config.head, convs, channels_of(config.network, config.width), config)
    return make_classifier(config.network, convs, config.padding, config.width, head)


def _head(kind: Head, convs: Convolutions, channels: int, config: LocationConfig) -> nn.Module:
    if kind == "gap":
        return PooledConv(convs, channels, config.classes, config.padding)
    return PooledLinear(channels, config.classes, permuted=kind == "permute")
