"""Coordinate layers made plain again, and frozen to one size of images."""

import copy

import pytest
import torch
import torchvision
from odd import Standardised, given_weights
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sandbox.nn.coordconv import CoordConv2d
from sandbox.nn.coordify import coordify, decoordify, freeze_size


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_way_back_is_refused_where_coordinates_are_used() -> None:
    network = coordify(torchvision.models.resnet18(), ["conv1", "layer1.0.conv1"])
    keys = list(torchvision.models.resnet18().state_dict())
    nn.init.ones_(network.conv1.coordinate_weight)  # type: ignore[arg-type, union-attr]
    with pytest.raises(ValueError, match=r"use their coordinates.*: conv1$"):
        decoordify(network)
    assert isinstance(network.get_submodule("layer1.0.conv1"), CoordConv2d)
    nn.init.zeros_(network.conv1.coordinate_weight)  # type: ignore[arg-type, union-attr]
    assert list(decoordify(network).state_dict()) == keys
    assert type(network.conv1) is nn.Conv2d
    with pytest.raises(ValueError, match="no coordinate layer"):
        decoordify(network)


def test_a_frozen_size_is_a_constant_map() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Identity())
    network[2] = Standardised(4, 4, 3, padding=1)
    network.append(nn.ConvTranspose2d(4, 2, 3, stride=2))
    coordify(network, "all")
    given_weights(network)
    x = torch.randn(2, 3, 11, 14)
    before = network(x)
    assert freeze_size(network, 11, 14) is network
    torch.testing.assert_close(network(x), before)
    assert not any("coordinate_weight" in key or key.endswith("coordinate.weight") for key in network.state_dict())
    assert network.training
    assert torch.equal(copy.deepcopy(network)(x), network(x))
    for size in ((12, 14), (11, 15)):
        with pytest.raises(RuntimeError, match="frozen to images of"):
            network(torch.randn(1, 3, *size))
    with pytest.raises(ValueError, match="frozen to one size"):
        decoordify(network)
    layer = CoordConv2d(3, 4, 3, padding=1)
    before = layer(x)
    torch.testing.assert_close(freeze_size(layer, 11, 14)(x), before)


def test_a_layer_that_sees_two_sizes_is_not_frozen() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    network = coordify(Twice())
    with pytest.raises(ValueError, match=r"conv gets images of \(6, 6\) and \(8, 8\)"):
        freeze_size(network, 8, 8)
    assert network(torch.randn(1, 3, 9, 9)).shape == (1, 3, 5, 5)


def test_what_is_frozen_or_parametrized_is_neither_frozen_nor_made_plain() -> None:
    frozen_once = freeze_size(coordify(nn.Sequential(nn.Conv2d(3, 4, 3))), 8, 8)
    normed_after = coordify(nn.Sequential(nn.Conv2d(3, 4, 3)))
    parametrizations.weight_norm(normed_after[0])  # type: ignore[index]
    for network, said in ((frozen_once, "0 is frozen to one size"), (normed_after, "0 is a ParametrizedCoordConv2d")):
        keys = list(network.state_dict())
        for change in (decoordify, lambda network: freeze_size(network, 8, 8)):
            with pytest.raises(ValueError, match=said):
                change(network)
        assert list(network.state_dict()) == keys
    with pytest.raises(ValueError, match="frozen already"):
        frozen_once[0].freeze_size(8, 8)  # type: ignore[index, operator, union-attr]
