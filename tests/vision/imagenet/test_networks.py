"""Where classifiers start: what arms share, and that trained weights compute what they did."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sandbox.base.errors import UserError
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.nn.coordconv import CoordConv2d
from vision.imagenet.networks import make_classifier
from vision.imagenet.spec import ImagenetConfig

ARMS: dict[str, dict[str, Any]] = {
    "conv": {"coord": False},
    "coord": {"coord": True, "front": 8},
    "plain8": {"coord": False, "front": 8},
    "first": {"coord": True},
}


def config(**fields: Any) -> ImagenetConfig:
    made = validated(ImagenetConfig, {"model": "resnet18", "size": 32, **fields}, COMMAND_LINE)
    assert isinstance(made, ImagenetConfig)
    return made


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name.removeprefix("network."): value for name, value in network.state_dict().items()}


def test_the_paper_s_front_has_56_parameters_and_the_stem_grows_by_15_680() -> None:
    sizes = {arm: sum(p.numel() for p in make_classifier(config(**fields), 10)[0].parameters())
             for arm, fields in ARMS.items()}  # fmt: skip
    assert sizes["coord"] - sizes["conv"] == 56 + 15_680  # 8 x (3 + 3 + 1), and 64 x 5 x 7 x 7
    assert sizes["plain8"] - sizes["conv"] == 32 + 15_680
    assert sizes["first"] - sizes["conv"] == 64 * 3 * 49


def test_arms_share_what_they_can() -> None:
    found = {arm: weights(make_classifier(config(**fields), 10)[0]) for arm, fields in ARMS.items()}
    for name, value in found["conv"].items():
        if name != "conv1.weight":
            assert all(torch.equal(value, other[name]) for other in found.values()), name
    assert torch.equal(found["first"]["conv1.weight"], found["conv"]["conv1.weight"])
    assert not found["first"]["conv1.coordinate_weight"].any()
    assert torch.equal(found["coord"]["conv1.weight"], found["plain8"]["conv1.weight"])
    assert torch.equal(found["coord"]["front.weight"], found["plain8"]["front.weight"])
    assert found["coord"]["front.coordinate_weight"].all()
    ratio = found["plain8"]["conv1.weight"].std() / found["conv"]["conv1.weight"].std()
    assert float(ratio) == pytest.approx((3 / 8) ** 0.5, rel=0.02)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("classes", [10, 7])
def test_from_trained_weights_every_arm_starts_from_the_same_function(tmp_path: Path, arm: str, classes: int) -> None:
    plain = make_classifier(config(coord=False, seed=5), 10)[0]
    save_file(plain.state_dict(), tmp_path / "trained.safetensors")
    fields = {**ARMS[arm], "weights": str(tmp_path / "trained.safetensors")}
    if classes != 10:  # neither the run's number of classes nor ImageNet's
        with pytest.raises(UserError, match=r"--weights: .*'fc.weight' has the shape \(10, 512\)"):
            make_classifier(config(**fields), classes)
        return
    network = make_classifier(config(**fields), classes)[0].eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), plain.eval()(images), rtol=1e-4, atol=1e-5)
        front = getattr(network, "front", None)
        if front is not None:  # what is new must be able to learn: no channel of it is dead on both sides
            assert front.weight[3:].any()


def test_imagenet_s_weights_keep_all_but_the_last_layer(tmp_path: Path) -> None:
    trained = make_classifier(config(coord=False, seed=5), 1000)[0]
    torch.save(trained.state_dict(), tmp_path / "resnet18.pth")
    network = weights(make_classifier(config(coord=False, weights=str(tmp_path / "resnet18.pth")), 10)[0])
    drawn = weights(make_classifier(config(coord=False), 10)[0])
    for name, value in trained.state_dict().items():
        assert torch.equal(network[name], drawn[name] if name.startswith("fc.") else value), name


@pytest.mark.parametrize("model", ["mobilenet_v3_small", "timm:tf_efficientnet_lite0"])
def test_coordinates_come_first_in_any_classifier(model: str) -> None:
    network = make_classifier(config(model=model, coord=True), 3)[0].eval()
    assert any(isinstance(layer, CoordConv2d) or hasattr(layer, "coordinate") for layer in network.modules())
    fronted = make_classifier(config(model=model, coord=True, front=8), 3)[0].eval()
    assert isinstance(fronted.front, CoordConv2d)
    assert fronted(torch.randn(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "resnet81"}, "did you mean 'resnet18'"),
        ({"model": "timm:resnet51q_"}, "timm has no such network"),
        ({"model": "alexnet"}, "cannot run on images of 32 pixels"),
        ({"weights": "nowhere.pth"}, "nowhere.pth is not there: allowed are random, download, or a file"),
        ({"front": 2}, "front is 2: allowed are 0, or 3 and more"),
    ],
)
def test_what_cannot_be_is_one_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as told:
        make_classifier(config(**fields), 3)
    assert "\n" not in str(told.value)
