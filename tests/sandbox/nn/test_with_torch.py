"""What else torch does with a convolution: default devices, vmap, forward-mode derivatives, calls by name, hooks."""

from collections.abc import Iterator

import pytest
import torch
from odd import given_weights
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, vmap
from torch.nn.utils import parametrizations

from sandbox.nn.blocks import Convolutions, UpBlock, upsampled_conv
from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d
from sandbox.nn.coordify import coordify, decoordify, freeze_size
from sandbox.nn.planes import kept

SMALL, LARGE = (2, 3, 12, 12), (4, 3, 128, 128)  # a large output's sum over the batch is a node of its own
KINDS = [CoordConv2d, CoordConvTranspose2d]


class Subclass(nn.Conv2d):
    """Somebody's own."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    """What was computed once is computed again."""
    held, size = dict(kept._found), kept.size
    kept._found.clear()
    kept.size = 0
    yield
    kept._found.clear()
    kept._found.update(held)
    kept.size = size


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("kind", KINDS)
def test_torch_s_default_device_may_be_another(kind: type[CoordConv2d], shape: tuple[int, ...]) -> None:
    layer, x = kind(3, 4, 3, stride=2, padding=1), torch.randn(shape)
    with torch.device("meta"):
        out = layer(x)
        out.sum().backward()
    assert out.device.type == "cpu"
    assert layer.coordinate_weight.grad is not None
    assert torch.equal(out, layer(x))


@pytest.mark.parametrize("name", ["weight", "coordinate_weight", "bias"])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_many_values_of_one_parameter_at_a_time(kind: type[CoordConv2d], batched: bool, name: str) -> None:
    layer, x = kind(3, 4, 3), torch.randn(SMALL if batched else SMALL[1:])
    values = torch.randn(5, *getattr(layer, name).shape)

    def run(value: Tensor) -> Tensor:
        found: Tensor = functional_call(layer, {name: value}, (x,))
        return found

    torch.testing.assert_close(vmap(run)(values), torch.stack([run(value) for value in values]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("name", ["weight", "coordinate_weight", "bias"])
def test_forward_mode_derivatives(name: str, shape: tuple[int, ...]) -> None:
    layer, x = CoordConv2d(3, 4, 3).double(), torch.randn(shape, dtype=torch.float64)
    parameters = {key: value.detach() for key, value in layer.named_parameters()}
    step = torch.randn_like(parameters[name])

    def run(value: Tensor) -> Tensor:
        found: Tensor = functional_call(layer, {**parameters, name: value}, (x,))
        return found

    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(run(forward_ad.make_dual(parameters[name], step))).tangent
    # It is linear in each of its parameters.
    torch.testing.assert_close(tangent, run(parameters[name] + step) - run(parameters[name]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("plain", [nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 3), Subclass(3, 4, 3)])
def test_an_image_may_be_given_by_its_name(plain: nn.Module) -> None:
    network, x = coordify(nn.Sequential(plain)), torch.randn(SMALL)
    given_weights(network)
    out = network[0](x)  # type: ignore[operator, index]
    assert torch.equal(network[0](input=x), out)  # type: ignore[operator, index]

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = network[0]  # type: ignore[index]

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(input=x)  # type: ignore[operator]
            return found

    torch.testing.assert_close(freeze_size(Caller(), *SMALL[2:])(x), out)


def test_the_way_back_leaves_no_hook_behind() -> None:
    layer = coordify(Subclass(3, 4, 3))
    decoordify(layer)
    assert not layer._forward_hooks
    assert not layer._forward_hooks_with_kwargs
    assert layer(torch.randn(SMALL)).shape == (2, 4, 10, 10)


def test_a_layer_whose_forward_is_somebody_s_own_gets_coordinates_all_the_same() -> None:
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(SMALL)
    own = layer.forward
    layer.forward = lambda x: 2 * own(x)  # type: ignore[method-assign, assignment]
    before = layer(x)
    coordify(layer)
    assert torch.equal(layer(x), before)
    given_weights(layer)
    assert not torch.allclose(layer(x), 2 * own(x), atol=0.01)


def test_a_shared_layer_answers_to_each_of_its_names() -> None:
    shared = nn.Conv2d(3, 3, 3)
    network = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    coordify(network, "b.0")
    assert isinstance(network["a"], CoordConv2d)


def test_what_listens_to_a_folded_convolution_is_heard() -> None:
    """Coordinates beside a normed weight, and a plain hook."""
    layer, x = parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(SMALL)
    coordify(layer)
    given_weights(layer)
    expected = layer(nn.functional.interpolate(x, scale_factor=2.0))
    torch.testing.assert_close(upsampled_conv(layer, x), expected)  # type: ignore[arg-type]


def test_blocks_that_upsample_are_frozen_as_they_compute() -> None:
    network = nn.Sequential(UpBlock(Convolutions(True), 3, 4), UpBlock(Convolutions(True), 4, 5)).eval()
    x = torch.randn(2, 3, 16, 16)
    before = network(x)
    torch.testing.assert_close(freeze_size(network, 16, 16)(x), before)
