"""Where parameters start: by name, and as a layer wishes."""

import pytest
import torch
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.coordconv import CoordConv2d
from sandbox.nn.seeding import seed_parameters, with_start


def network(convs: Convolutions) -> nn.Sequential:
    head = with_start(
        convs.conv(4, 1, 3), weight=lambda weight, stream: weight.normal_(0, 0.01, generator=stream), bias=-4.6
    )
    norm = with_start(nn.BatchNorm2d(4), weight=0)
    return nn.Sequential(convs.conv(3, 4, 3, first=True), norm, nn.ReLU(), head)


def drawn(coord: bool, seed: int = 0) -> nn.Sequential:
    made = network(Convolutions(coord))
    seed_parameters(made, seed, "network")
    return made


def content(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return layer.weight


def test_a_layer_keeps_its_own_start_and_the_arms_share_it() -> None:
    plain, coord = drawn(False), drawn(True)
    for made in (plain, coord):
        assert made[3].bias.tolist() == pytest.approx([-4.6])
        assert made[1].weight.tolist() == [0] * 4
        assert made[0].bias.tolist() == [0] * 4
        assert float(made[3].weight.detach().std()) == pytest.approx(0.01, rel=0.5)
    assert torch.equal(content(plain[3]), content(coord[3]))
    assert torch.equal(content(plain[0]), content(coord[0]))
    assert float(coord[3].coordinate_weight.detach().abs().max()) > 0
    assert not torch.equal(content(drawn(False, 1)[3]), content(plain[3]))
    assert torch.equal(content(drawn(False)[3]), content(plain[3]))


def test_a_start_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="Conv2d has no parameter 'bais': it has weight, bias"):
        with_start(nn.Conv2d(1, 1, 1), bais=0)
    with pytest.raises(ValueError, match="has no parameter 'bias'"):
        with_start(nn.Conv2d(1, 1, 1, bias=False), bias=0)


def kinds(made: nn.Module) -> list[bool]:
    return [isinstance(layer, CoordConv2d) for layer in made.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize(
    ("layers", "knowing"),
    [
        ("first", [True, False]), ("all", [True, True]), ("3", [False, True]), ("0,3", [True, True]),
        ("*", [True, True]), ("network.0", [True, False]), ("[1-9]", [False, True]),
    ],
)  # fmt: skip
def test_coordinates_go_to_the_layers_that_are_named(layers: str, knowing: list[bool]) -> None:
    convs = Convolutions(True, layers, with_r=True)
    made = network(convs)
    place_by_name({"network": made}, {"network": convs})
    assert kinds(made) == knowing
    seed_parameters(made, 0, "network")
    assert made[3].bias.tolist() == pytest.approx([-4.6])  # a start travels with the conversion
    assert torch.equal(content(made[0]), content(drawn(False)[0]))
    plain = Convolutions(False, layers)
    other = network(plain)
    place_by_name({"network": other}, {"network": plain})
    assert kinds(other) == [False, False]


def test_by_name_is_built_as_by_kind() -> None:
    convs = Convolutions(True, "0,3")
    named = network(convs)
    place_by_name({"network": named}, {"network": convs})
    seed_parameters(named, 0, "network")
    built = drawn(True)
    images = torch.rand(2, 3, 6, 5)
    assert named.state_dict().keys() == built.state_dict().keys()
    assert torch.equal(named(images), built(images))


def test_a_name_that_fits_nothing_is_one_line_with_the_nearest() -> None:
    convs = Convolutions(True, "stem")
    with pytest.raises(UserError, match="no convolution is called 'stem': allowed are first, all, or names of 0, 3"):
        place_by_name({"network": network(convs)}, {"network": convs})
    typo = Convolutions(True, "frist")
    with pytest.raises(UserError, match=r"'frist'.*did you mean 'first'"):
        place_by_name({"network": network(typo)}, {"network": typo})
    plain = Convolutions(False, "stem")
    with pytest.raises(UserError, match="no convolution is called 'stem'"):  # the other arm is told, too
        place_by_name({"network": network(plain)}, {"network": plain})
    # The name must fit where coordinates are to go: else the arm would be the plain one without a word.
    two = {"g": network(Convolutions(True, "d.0")), "d": network(Convolutions(False, "d.0"))}
    with pytest.raises(UserError, match=r"'d\.0'"):
        place_by_name(two, {"g": Convolutions(True, "d.0"), "d": Convolutions(False, "d.0")})
