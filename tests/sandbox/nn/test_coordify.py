"""Networks converted to coordinate layers compute what they did before."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from sandbox.nn.coordconv import CoordConv, CoordConv2d, coordify


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def generator() -> nn.Sequential:
    up = [nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*up, nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1, bias=False), nn.Tanh())


@pytest.mark.parametrize("where", ["first", "all"])
@pytest.mark.parametrize("with_r", [False, True])
def test_coordify_keeps_what_a_network_computes(where: Any, with_r: bool) -> None:
    resnet = torchvision.models.resnet18(num_classes=10)
    for network, x in ((resnet, torch.randn(2, 3, 40, 56)), (generator(), torch.randn(2, 8, 4, 5))):
        network.eval()
        before, random_state = network(x), torch.get_rng_state()
        assert coordify(network, where=where, with_r=with_r) is network
        assert torch.equal(torch.get_rng_state(), random_state)
        torch.testing.assert_close(network(x), before, rtol=0, atol=1e-6)
        converted = [module for module in network.modules() if isinstance(module, CoordConv)]
        plain = [module for module in network.modules() if type(module) in (nn.Conv2d, nn.ConvTranspose2d)]
        assert len(converted) == (1 if where == "first" else len(converted))
        assert (not plain) == (where == "all")
        assert all(layer.with_r == with_r and not layer.training for layer in converted)
        network(x).square().sum().backward()
        assert all(layer.split_weight()[1].shape[1 - layer.transposed] == 2 + with_r for layer in converted)
        assert any(layer.weight.grad[:, -1].any() for layer in converted)
    assert isinstance(resnet.conv1, CoordConv2d)
    assert resnet.conv1.kernel_size == (7, 7)


def test_coordify_keeps_shared_layers_shared() -> None:
    network = nn.Module()
    network.a = network.b = nn.Conv2d(3, 3, 3)
    network.c = nn.Sequential(network.a, nn.Conv2d(3, 3, 3))
    network.d = nn.Conv2d(3, 3, 3)
    network.d.weight = network.c[1].weight
    coordify(network, where="all")
    assert isinstance(network.a, CoordConv2d)
    assert network.a is network.b is network.c[0]
    assert network.d is not network.c[1]
    assert network.d.weight is network.c[1].weight


def test_coordify_returns_a_bare_convolution_converted() -> None:
    plain = nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, dilation=2, groups=2, padding_mode="circular", bias=False)
    plain.weight.requires_grad_(False)
    plain.to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 12, 11)
    layer = coordify(plain)
    assert isinstance(layer, CoordConv2d)
    torch.testing.assert_close(layer(x), plain(x))
    assert not layer.weight.requires_grad
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert type(plain) is nn.Conv2d
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2)
    torch.testing.assert_close(coordify(up)(x), up(x))


@pytest.mark.usefixtures("unchecked")
def test_coordify_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"where='last'.*'first' or 'all'"):
        coordify(nn.Conv2d(1, 1, 1), where="last")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Linear holds no"):
        coordify(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="norm"):
        coordify(nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 3))))
