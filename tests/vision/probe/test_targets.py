"""Networks by name: whose they are, which levels they have, what of their weights must be there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probes import CPU, config
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model

from sandbox.base.errors import UserError
from sandbox.data.photographs import PARTS, photographs
from sandbox.train.encoder import Encoder
from vision.probe.encoders import fingerprint, make_encoder
from vision.probe.images import natural_images
from vision.probe.levels import find_levels, make_levels


def levels_of(target: str, **fields: Any) -> tuple[str, ...]:
    made = config(target=target, size=0, weights="auto" if ":" in target else "random", **fields)
    return make_levels(make_encoder(made, CPU), made, CPU).names


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("mobilenet_v2", ("1", "3", "6", "13", "18")),
        ("squeezenet1_1", ("1", "4", "7", "12")),
        ("densenet121", ("relu0", "denseblock1", "denseblock2", "denseblock3", "norm5")),
        ("swin_t", ("1", "3", "5", "7")),
        ("timm:efficientnet_lite0", ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")),
        ("timm:convnext_atto", ("stages.0", "stages.1", "stages.2", "stages.3")),
        ("timm:vit_tiny_patch16_224", ("patch_embed.proj",)),  # of a transformer nothing else has places
    ],
)
def test_the_levels_of_networks_made_of_stages_are_their_stages(target: str, names: tuple[str, ...]) -> None:
    assert levels_of(target) == names


def test_channels_may_be_last_and_places_are_found_all_the_same() -> None:
    class Last(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(images, 4).tile(1, 5, 1, 1).movedim(1, -1)

    network = nn.Sequential(Last())
    made = Encoder(network, 32, lambda images: images)
    (level,) = make_levels(made, config(), CPU)(torch.arange(32.0).expand(1, 3, 32, 32))
    assert level.shape == (1, 15, 8, 8)
    assert level[0, 0, 0].tolist() == pytest.approx([1.5 + 4 * k for k in range(8)])


def test_what_is_no_map_of_the_images_is_no_level() -> None:
    class Windows(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.unflatten(-1, (4, -1)).movedim(-2, 0).flatten(0, 1)  # four times as many

    network = nn.Sequential(nn.Conv2d(3, 5, 3, 2), Windows())
    assert find_levels(network, torch.rand(2, 3, 65, 65)) == ["0"]


# ---- weights


def body_alone(target: str, prefix: str = "") -> dict[str, Tensor]:
    torch.manual_seed(7)
    network = get_model(target, weights=None)
    return {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
            if name.startswith(prefix) and not name.startswith(("fc.", "classifier."))}  # fmt: skip


@pytest.mark.parametrize("target", ["vgg11", "resnet18", "mobilenet_v2"])
def test_the_convolutions_alone_will_do_in_half_precision(target: str, tmp_path: Path) -> None:
    state = body_alone(target)
    save_file(state, tmp_path / "body.safetensors")
    made = make_encoder(config(target=target, weights=str(tmp_path / "body.safetensors")), CPU)
    assert made.note == f"{target} has the weights of body.safetensors."
    inside = {name.removeprefix("features."): value for name, value in state.items()}
    for name, value in made.network.state_dict().items():
        if name in inside:
            assert torch.equal(value, inside[name].to(value.dtype)), name


def test_a_convolution_must_not_be_missing(tmp_path: Path) -> None:
    state = body_alone("vgg11")
    del state["features.3.weight"]
    save_file(state, tmp_path / "body.safetensors")
    with pytest.raises(UserError, match=r"--weights: .* is not of VGG: it has no 'features\.3\.weight'"):
        make_encoder(config(target="vgg11", weights=str(tmp_path / "body.safetensors")), CPU)


# ---- timm and functions


def test_a_function_s_network_is_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_here.py").write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU())\n"
        "def fails(): raise KeyError('no such thing')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = make_encoder(config(target="mine_here:small"), CPU)
    assert made.note == "mine_here:small as small() made it; it sees images in [0, 1]."
    assert made.prepare(torch.ones(1, 3, 8, 8)).mean() == 1
    assert levels_of("mine_here:small") == ("1", "3")
    assert fingerprint(made.network) == fingerprint(make_encoder(config(target="mine_here:small"), CPU).network)
    for target, said in {
        "mine_here:smal": "has no function smal; did you mean 'small'",
        "mine_here:fails": "fails.. raised KeyError: 'no such thing'",
        "mine_here:number": "has no function number",
        "not_here:small": "there is no module not_here",
        "os:getcwd": "returns str, and a torch.nn.Module is wanted",
    }.items():
        with pytest.raises(UserError, match=said):
            make_encoder(config(target=target), CPU)
    with pytest.raises(UserError, match=r"--weights random: .* allowed are auto and a file"):
        make_encoder(config(target="mine_here:small", weights="random"), CPU)


def test_timm_says_what_it_does_not_have() -> None:
    with pytest.raises(UserError, match="timm has no such network; did you mean 'resnet18'"):
        make_encoder(config(target="timm:resnet81"), CPU)
    with pytest.raises(UserError, match="cannot run on images of 32 pixels"):
        make_encoder(config(target="timm:swin_tiny_patch4_window7_224", size=32), CPU)


# ---- photographs


def test_photographs_are_a_function_of_their_numbers_and_parts_share_none() -> None:
    squares = photographs(PARTS["test"], 5, 24, 0)
    assert squares.shape == (5, 3, 24, 24)
    assert np.array_equal(squares[:3], photographs(PARTS["test"], 3, 24, 0))
    assert not np.array_equal(squares, photographs(PARTS["test"], 5, 24, 1))
    assert squares.std() > 20
    names = [name for part in PARTS.values() for name in part]
    assert len(set(names)) == len(names) == 15


def test_the_images_that_choose_a_scale_are_of_other_photographs() -> None:
    train, test, content = natural_images(config(data="photographs", images=16, test_images=3, roll=False), 24)
    assert (len(train), len(test), content) == (16, 3, None)
    assert np.array_equal(train[:14], photographs(PARTS["train"], 14, 24, 0))
    assert np.array_equal(train[14:], photographs(PARTS["held_out"], 2, 24, 1))


def test_without_scikit_image_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.data.photographs.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'coordconv-sandbox\[photographs\]'"):
        photographs(PARTS["test"], 1, 8, 0)
