"""Networks with coordinates in some or all of their convolutions: of torch, of torchvision and timm, of odd kinds."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from odd import Own, Padding, Standardised, by_concatenation, given_weights
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision.models.feature_extraction import create_feature_extractor

from sandbox.nn.beside import Beside
from sandbox.nn.coordconv import CoordConv, CoordConv1d, CoordConv2d, CoordConv3d, CoordConvTranspose2d
from sandbox.nn.coordify import convolutions, coordify, decoordify, left_plain


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def generator() -> nn.Sequential:
    up = [nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*up, nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1, bias=False), nn.Tanh())


# ---- what comes out: nothing new at first, then explicit concatenation


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
        assert all(layer.coordinate_weight.shape[1 - layer.transposed] == 2 + with_r for layer in converted)
        assert any(layer.coordinate_weight.grad.any() for layer in converted)
    assert isinstance(resnet.conv1, CoordConv2d)
    assert resnet.conv1.kernel_size == (7, 7)


# ---- layers that are no plain ones


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return norm(nn.Conv2d(3, 4, 3, padding=1))


def pruned(layer: nn.Conv2d) -> nn.Conv2d:
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return layer


def frozen(layer: nn.Conv2d) -> nn.Conv2d:
    return layer.requires_grad_(False)


ODD: dict[str, Callable[[], nn.Module]] = {
    "subclass": lambda: Standardised(3, 4, 3, padding=1),
    "subclass that pads": lambda: Padding(3, 4, 3, stride=2),
    "no class of torch's": Own,
    "spectral norm": lambda: normed(parametrizations.spectral_norm),
    "weight norm": lambda: normed(parametrizations.weight_norm),
    "spectral norm of old": lambda: normed(torch.nn.utils.spectral_norm),
    "pruned": lambda: pruned(nn.Conv2d(3, 4, 3, padding=1)),
    "frozen": lambda: frozen(nn.Conv2d(3, 4, 3, padding=1)),
    "transposed subclass": lambda: type("Up", (nn.ConvTranspose2d,), {})(3, 4, 4, stride=2, padding=1),
    "grouped subclass": lambda: type("Groups", (nn.Conv2d,), {})(3, 6, 3, groups=3, padding="same", dilation=2),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_layer_keeps_its_own_way_and_gets_the_coordinates_beside_it(kind: str) -> None:
    network = nn.Sequential(ODD[kind](), nn.Conv2d(6 if "group" in kind else 4, 2, 1)).eval()
    x, keys = torch.randn(2, 3, 9, 12), list(network.state_dict())
    values = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():  # of some, a copy can be made only so
        before = network(x)
    coordify(network)
    assert type(network[1]) is nn.Conv2d
    with torch.no_grad():
        torch.testing.assert_close(network(x), before)
    assert [key for key in network.state_dict() if "coordinate" not in key] == keys
    assert all(torch.equal(network.state_dict()[key], values[key]) for key in keys)
    (weight,) = given_weights(network)
    assert weight.requires_grad
    twins = [by_concatenation(network), copy.deepcopy(network)]
    if kind in ("no class of torch's", "spectral norm of old", "pruned", "frozen"):
        twins.append(pickle.loads(pickle.dumps(network)))
    out = network(x)
    assert (out - before).abs().max() > 1e-3
    for twin in twins:
        torch.testing.assert_close(twin(x), out)
    out.sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0
    with torch.no_grad():
        weight.zero_()
    decoordify(network)
    torch.testing.assert_close(network(x), before)
    assert list(network.state_dict()) == keys


def test_frozen_content_stays_frozen_and_the_coordinates_learn() -> None:
    layer = coordify(frozen(nn.Conv2d(3, 4, 3)))
    assert [name for name, each in layer.named_parameters() if each.requires_grad] == ["coordinate_weight"]


def test_a_norm_may_be_taken_away_afterwards() -> None:
    layer = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)).eval()
    x, before = torch.randn(2, 3, 5, 5), layer(torch.zeros(1, 3, 5, 5))
    coordify(layer)
    given_weights(layer)
    expected = layer(x)
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    torch.testing.assert_close(layer(x), expected)
    assert (layer(torch.zeros(1, 3, 5, 5)) - before).abs().max() > 1e-3


def test_a_layer_whose_output_is_no_convolution_s_is_refused_by_name() -> None:
    class Cropping(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[..., :-2]

    network = nn.Sequential(nn.Identity(), Cropping(3, 4, 3))
    coordify(network)
    with pytest.raises(RuntimeError, match=r"1 \(Cropping\) gives .*cannot be given coordinates"):
        network(torch.randn(2, 3, 8, 8))


def test_the_first_is_the_first_of_whatever_class() -> None:
    network = nn.Sequential(Standardised(3, 4, 3), nn.Conv2d(4, 4, 1))
    coordify(network, "first")
    assert isinstance(network[0].coordinate, Beside)
    assert left_plain(network) == {"1": "Conv2d: can be converted"}


def test_what_consists_of_convolutions_is_none_itself() -> None:
    class Block(nn.Sequential):
        in_channels, out_channels, kernel_size, stride, padding = 3, 4, 3, 1, 0

    block = Block(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert list(convolutions(nn.Sequential(block))) == ["0.0"]
    assert isinstance(coordify(block)[0], CoordConv2d)  # type: ignore[index]


def test_signals_and_volumes() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 5), nn.Conv1d(3, 3, 1))
    assert isinstance(coordify(network)[0], CoordConv1d)  # type: ignore[index]
    volume = coordify(nn.Conv3d(2, 3, 3))
    assert isinstance(volume, CoordConv3d)
    assert volume.coordinate_weight.shape == (3, 3, 3, 3, 3)


# ---- what stays


def test_shared_and_tied_layers_stay_so() -> None:
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
    assert network.d.coordinate_weight is not network.c[1].coordinate_weight


def test_a_bare_convolution_is_converted_in_place() -> None:
    plain = nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, dilation=2, groups=2, padding_mode="circular", bias=False)
    plain.to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 12, 11)
    before = plain(x)
    layer = coordify(plain)
    assert layer is plain
    assert isinstance(layer, CoordConv2d)
    torch.testing.assert_close(layer(x), before)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2)
    before = up(x)
    torch.testing.assert_close(coordify(up)(x), before)
    assert isinstance(up, CoordConvTranspose2d)


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 4, 3, padding=1), ODD["subclass"]])
def test_hooks_and_attributes_survive_and_hear_of_the_whole_output(make: Callable[[], nn.Module]) -> None:
    network, heard = nn.Sequential(make()), []
    network[0].note = "mine"
    network[0].register_forward_hook(lambda layer, inputs, out: heard.append(out))
    coordify(network)
    given_weights(network)
    out = network(torch.randn(1, 3, 6, 6))
    assert network[0].note == "mine"
    assert len(heard) == 1
    assert torch.equal(heard[0], out)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("where", ["first", "all"])
def test_features_are_extracted_by_torch_fx(where: str) -> None:
    network = coordify(torchvision.models.resnet18(num_classes=5), where).eval()
    given_weights(network)
    x = torch.randn(2, 3, 64, 48)
    layers = create_feature_extractor(network, ["layer2", "fc"])(x)
    torch.testing.assert_close(layers["fc"], network(x))
    odd = coordify(nn.Sequential(ODD["subclass"](), nn.ReLU())).eval()
    given_weights(odd)
    with torch.no_grad():
        graph = torch.fx.symbolic_trace(coordify(nn.Sequential(nn.Conv2d(3, 4, 3))))
    assert graph(x).shape == (2, 4, 62, 46)


def test_names_and_patterns() -> None:
    network = torchvision.models.resnet18()
    coordify(network, ["layer1.*", "conv1"])
    converted = [name for name, layer in network.named_modules() if isinstance(layer, CoordConv)]
    assert converted == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2"]
    coordify(network, "conv1")  # again: nothing happens
    assert len([layer for layer in network.modules() if isinstance(layer, CoordConv)]) == 5


# ---- what is refused


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_what_cannot_be_converted_is_refused_by_name_and_nothing_is_changed() -> None:
    with pytest.raises(ValueError, match=r"where='last'.*'first' or 'all'"):
        coordify(nn.Conv2d(1, 1, 1), where="last")
    with pytest.raises(ValueError, match="Linear holds no convolution"):
        coordify(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"'stem' fits no convolution of Sequential: .* names of 0"):
        coordify(nn.Sequential(nn.Conv2d(1, 1, 1)), "stem")
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match=r"0 \(LazyConv2d\): it is lazy"):
        coordify(lazy)
    with pytest.warns(UserWarning, match=r"left plain: 0 \(LazyConv2d\)"):
        coordify(lazy, "all")
    assert left_plain(lazy).keys() == {"0"}
    lazy(torch.randn(1, 3, 8, 8))
    assert isinstance(coordify(lazy)[0], CoordConv2d)  # type: ignore[index]
    scripted = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)))  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="script"):
        coordify(scripted)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 4, 3), lambda: Standardised(3, 4, 3)])
def test_a_radius_that_is_none_is_refused_before_anything_is_changed(make: Callable[[], nn.Module]) -> None:
    for with_r, radius, said in ((True, "middle", "is unknown"), (False, "offset", "needs with_r=True")):
        layer = make()
        kind, keys = type(layer), list(layer.state_dict())
        with pytest.raises(ValueError, match=said):
            coordify(nn.Sequential(layer), "all", with_r, radius)  # type: ignore[arg-type]
        assert type(layer) is kind
        assert list(layer.state_dict()) == keys


def test_the_offset_radius_beside_a_layer_is_another_map() -> None:
    found = []
    for radius in ("centred", "offset"):
        torch.manual_seed(0)
        layer = coordify(Standardised(3, 4, 3, padding=1), "first", True, radius)  # type: ignore[arg-type]
        given_weights(layer)
        found.append(layer(torch.randn(1, 3, 8, 8)))
    assert (found[0] - found[1]).abs().max() > 0.01


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_layers_are_refused_by_name() -> None:
    from torch.ao.nn.qat import Conv2d as Rehearsing
    from torch.ao.nn.quantized import Conv2d as Quantised
    from torch.ao.quantization import get_default_qat_qconfig

    qconfig = get_default_qat_qconfig("x86")
    for layer in (Quantised(3, 4, 3), Rehearsing(3, 4, 3, qconfig=qconfig)):
        network = nn.Sequential(layer, nn.Conv2d(4, 4, 3))
        with pytest.raises(ValueError, match=r"0 \(Conv2d\): it is quantised"):
            coordify(network)
        assert not any(isinstance(each, CoordConv) for each in network.modules())
