"""What a probe can look at: levels of networks, weights, folders of images, runs of ours."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image
from probes import CPU, config
from shop import SmokeRun
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from torch import Tensor, nn

from rl.policies import CoordCNN
from rl.spec import RlConfig
from sandbox.base.errors import UserError
from sandbox.data.images import rolled
from sandbox.experiment.config import Config
from sandbox.experiment.spec import study_spec
from sandbox.nn.seeding import seed_parameters
from sandbox.train.encoder import Encoder
from vae.networks import make_networks as vae_networks
from vae.spec import VaeConfig
from vision.coordinates.networks import make_network as coordinate_network
from vision.location.networks import make_network as location_network
from vision.location.spec import LocationConfig
from vision.padding.spec import PaddingConfig
from vision.probe.encoders import fingerprint, make_encoder
from vision.probe.images import natural_images
from vision.probe.levels import Levels, find_levels, make_levels, strip_padding
from vision.probe.probing import Probing
from vision.red_green.spec import RedGreenConfig
from vision.shift.spec import ShiftConfig
from vision.spec import VisionConfig

# ---- levels


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    from torchvision.models import vgg16

    features: nn.Module = vgg16(weights=None).features.eval()
    return features


def test_the_levels_of_vgg16_are_the_paper_s_five(vgg: nn.Module) -> None:
    images = torch.rand(1, 3, 64, 64)
    names = find_levels(vgg, images)
    assert names == ["3", "8", "15", "22", "29"]  # the ReLU after conv1_2, 2_2, 3_3, 4_3, 5_3
    features = Levels(vgg, names).features(images, 28, "bilinear")
    assert features.shape == (1, 64 + 128 + 256 + 512 + 512, 28, 28)
    assert features.min() >= 0


def test_the_rest_of_a_network_is_not_computed() -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("behind the last level")

    network = nn.Sequential(nn.Conv2d(3, 5, 3), Refuses())
    assert [level.shape[1] for level in Levels(network, ["0"])(torch.rand(1, 3, 8, 8))] == [5]


def test_stages_choose_levels_and_say_how_many_there_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU(), nn.Conv2d(5, 7, 3, 2), nn.ReLU())
    made = Encoder(network, 32, lambda images: images)
    assert make_levels(made, config(), CPU).names == ("1", "3")
    assert make_levels(made, config(stages="2"), CPU).names == ("3",)
    with pytest.raises(UserError, match="--stages is 1,3: image has 2 levels, 1, 3"):
        make_levels(made, config(stages="1,3"), CPU)


def test_padding_is_removed_and_what_cannot_do_without_says_so() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2, padding_mode="circular"))
    strip_padding(network)
    assert network(torch.rand(1, 3, 16, 16)).shape[-2:] == (10, 10)
    with pytest.raises(UserError, match="no convolution of the target has any padding"):
        strip_padding(network)
    resnet = config(target="resnet18", weights="random", strip_padding=True, size=64)
    with pytest.raises(UserError, match="resnet18 cannot run on images of 64 pixels without its padding"):
        make_levels(make_encoder(resnet, CPU), resnet, CPU)
    with pytest.raises(UserError, match="without transposed convolutions"):
        strip_padding(nn.ConvTranspose2d(3, 3, 3))


def test_a_dense_layer_behind_the_levels_does_not_mind_the_padding_s_end() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 64, 1))
    made, stripped = Encoder(network, 32, lambda images: images), config(target="vgg16", strip_padding=True)
    assert [level.shape[-1] for level in make_levels(made, stripped, CPU)(made.example())] == [15, 7]
    bare = Encoder(deepcopy(network), 32, lambda images: images, names=("0", "1"))  # by now without padding
    costs = Probing(config(), bare, CPU).costs()
    assert costs["multiply_adds_per_image"]["target"] == 15**2 * 3 * 4 * 9 + 7**2 * 4 * 4 * 9  # not the dense layer


@torch.no_grad()
def test_partial_convolutions_without_padding_are_plain_ones() -> None:
    images, found = torch.rand(1, 3, 96, 96), {}
    for padding in ("partial", "zeros"):
        own = LocationConfig.model_validate({"padding": padding, "width": 2, "coord": False})
        network = location_network(own).eval()
        seed_parameters(network, 0)
        strip_padding(network)
        found[padding] = network.maps(images)
    assert torch.equal(found["partial"], found["zeros"])


# ---- torchvision


def test_weights_come_from_the_hub_s_cache_or_a_file_or_are_random_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(7)  # of the network that counts as trained
    random = make_encoder(config(target="resnet18"), CPU)
    said = "resnet18 has random weights (seed 0): it was never trained."
    assert random.note == f"{said} Torch's hub cache has none: --weights download fetches ImageNet's."
    assert make_encoder(config(target="resnet18", weights="random"), CPU).note == said
    assert fingerprint(random.network) == fingerprint(make_encoder(config(target="resnet18"), CPU).network)
    assert fingerprint(random.network) != fingerprint(make_encoder(config(target="resnet18", seed=1), CPU).network)
    file = tmp_path / "checkpoints" / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    file.parent.mkdir()
    torch.save(resnet18().state_dict(), file)
    for weights in ("auto", "download", str(file)):  # nothing is fetched that is there
        trained = make_encoder(config(target="resnet18", weights=weights), CPU)
        assert trained.note == f"resnet18 has the weights of {file.name}."
        assert fingerprint(trained.network) != fingerprint(random.network)
    assert fingerprint(make_encoder(config(target="resnet18", weights="random"), CPU).network) == fingerprint(
        random.network
    )
    assert make_levels(random, config(target="resnet18"), CPU).names == ("layer1", "layer2", "layer3", "layer4")
    with pytest.raises(UserError, match=r"--weights: .* is not of ResNet: 'layer1.0.conv1.weight' has the shape"):
        make_encoder(config(target="resnet50", weights=str(file)), CPU)


def test_missing_weights_say_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nope.pth is not there: fetch a file \(curl -O https://download.pytorch.org/"):
        make_encoder(config(target="resnet18", weights=str(tmp_path / "nope.pth")), CPU)


def test_weights_are_fetched_where_the_user_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    url = ResNet18_Weights.IMAGENET1K_V1.url
    asked: list[tuple[object, ...]] = []

    def fetch(url: str, path: str, start: str, progress: bool) -> None:
        asked.append((url, start))
        if len(asked) == 1:
            raise OSError("no way there")
        torch.save(resnet18().state_dict(), path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(UserError, match=rf"{url} cannot be fetched \(no way there\): .*put it at {tmp_path}"):
        make_encoder(config(target="resnet18", weights="download"), CPU)
    assert "the weights of" in make_encoder(config(target="resnet18", weights="download"), CPU).note
    assert "the weights of" in make_encoder(config(target="resnet18"), CPU).note
    assert asked == [(url, url.rpartition("-")[2].removesuffix(".pth"))] * 2


def test_weights_for_images_of_another_scale_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import VGG16_Weights

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / VGG16_Weights.IMAGENET1K_FEATURES.url.rsplit("/", 1)[-1]
    file.parent.mkdir()
    file.touch()
    assert "vgg16 has random weights" in make_encoder(config(target="vgg16"), CPU).note


# ---- images


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for k in range(count):
        Image.new("RGB", (40, 30), (k, 0, 0)).save(folder / f"{k:03d}.png")


def test_the_paper_s_data_sets_are_recognised(tmp_path: Path) -> None:
    pictures(tmp_path / "DUTS" / "DUTS-TR" / "DUTS-TR-Image", 20)
    pictures(tmp_path / "DUTS" / "DUTS-TE" / "DUTS-TE-Image", 5)
    pictures(tmp_path / "salObj" / "datasets" / "imgs" / "pascal", 4)
    ours = {"data": "folder", "data_root": str(tmp_path / "DUTS")}
    train, test, _ = natural_images(config(**ours), 16)
    assert (train.shape, test.shape) == ((16, 3, 16, 16), (3, 3, 16, 16))
    _, pascal, _ = natural_images(config(**ours, test_root=str(tmp_path / "salObj"), test_images=4), 16)
    assert sorted(pascal[:, 0, 0, 0].tolist()) == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"--test-images is 9, but .*DUTS-TE-Image has 5"):
        natural_images(config(**ours, test_images=9), 16)
    _, test, _ = natural_images(config(data="folder", data_root=ours["data_root"], test_root=ours["data_root"]), 16)
    assert test[:, 0, 0, 0].tolist() == [0, 1, 2]  # of DUTS-TE


@pytest.mark.parametrize("root", ["", "DUTS-TE"])
def test_masks_beside_the_images_are_no_images(tmp_path: Path, root: str) -> None:
    pictures(tmp_path / "DUTS-TE" / "DUTS-TE-Image", 19)
    pictures(tmp_path / "DUTS-TE" / "DUTS-TE-Mask", 19)
    train, test, _ = natural_images(config(data="folder", data_root=str(tmp_path / root)), 16)
    assert train[:, 0, 0, 0].tolist() == list(range(16))
    assert test[:, 0, 0, 0].tolist() == [16, 17, 18]


def test_the_last_images_of_a_folder_test(tmp_path: Path) -> None:
    pictures(tmp_path / "mine", 19)
    train, test, _ = natural_images(config(data="folder", data_root=str(tmp_path / "mine")), 16)
    assert train[:, 0, 0, 0].tolist() == list(range(16))
    assert test[:, 0, 0, 0].tolist() == [16, 17, 18]


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_missing_images_say_what_to_fetch(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"--data-root: .*{what} .*saliencydetection.net/duts.*any folder of images"):
        natural_images(config(data="folder", data_root=str(tmp_path / what)), 16)


def test_rolling_keeps_every_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    moved = rolled(images, 0)
    assert not np.array_equal(moved, images)
    assert np.array_equal(np.sort(moved, axis=None), np.sort(images, axis=None))


# ---- runs of ours


def test_a_gan_s_two_sides_can_be_probed(smoke_run: SmokeRun) -> None:
    target = str(smoke_run.folder)
    sees = make_encoder(config(target=target, size=0), CPU)
    assert sees.draw is None
    assert sees.prepare(torch.ones(1, 3, 64, 64)).max() == 1
    assert sees.prepare(torch.zeros(1, 3, 64, 64)).max() == -1
    sizes = [level.shape[-1] for level in make_levels(sees, config(target=target), CPU)(sees.example())]
    assert sizes == [32, 16, 8, 4]
    for fields in ({"target_module": "generator"}, {"target_module": "ema"}):
        makes = config(target=target, **fields)
        probing = Probing(makes, make_encoder(makes, CPU), CPU)
        probing.train()
        scores = probing.scores()
        assert math.isnan(scores["score/spc_h_black"])
        assert scores["score/spc"] > 0.3  # a dense stem gives every cell its own features
        assert "random latents stand for natural images" in probing.encoder.note
        assert probing.film(3, 2).shape[:2] == (3, 2)
    with pytest.raises(UserError, match=r"no network 'generater'.*did you mean 'generator'\?"):
        make_encoder(config(target=target, target_module="generater"), CPU)


def encoder_of(study: str, own: Config, networks: dict[str, nn.Module], name: str = "") -> Encoder:
    """What a study of these networks gives a probe, without its data."""
    kind = study_spec(study).load()
    made = kind.__new__(kind)
    made.config, made.modules = own, networks
    return made.encoder(name)


def levels_of(made: Encoder) -> list[tuple[int, ...]]:
    made.network.eval()
    example = made.example()
    return [tuple(level.shape[1:]) for level in Levels(made.network, find_levels(made.network, example))(example)]


def test_both_halves_of_a_vae_can_be_probed() -> None:
    own = VaeConfig.model_validate({"width": 4, "e_width": 2})  # 2 channels would pass for a picture
    networks = dict(zip(("encoder", "decoder"), vae_networks(own), strict=True))
    assert levels_of(encoder_of("vae", own, networks)) == [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]
    makes = encoder_of("vae", own, networks, "decoder")
    assert makes.draw is not None
    assert levels_of(makes) == [(32, 4, 4), (32, 8, 8), (16, 16, 16), (8, 32, 32), (4, 64, 64)]


@pytest.mark.parametrize(
    ("task", "coord", "levels"),
    [
        ("regression", False, 4),  # sees an image of one channel
        ("rendering", False, 6),  # paints: two numbers in
        ("classification", True, 1),  # matrix products: nothing but its output has places
    ],
)
def test_every_coordinate_task_can_be_probed(task: str, coord: bool, levels: int) -> None:
    own = VisionConfig.model_validate({"task": task, "coord": coord, "downsampling": "pool", "pooling": "dense"})
    made = encoder_of("vision", own, {"network": coordinate_network(own)})
    assert (made.draw is None) == (task == "regression")
    assert len(levels_of(made)) == levels


def test_classifiers_see_images_of_their_own_size() -> None:
    for own, size in (
        (PaddingConfig(), 64), (LocationConfig(grid="5"), 160), (RedGreenConfig(), 32), (ShiftConfig(margin="4"), 72),
        (ShiftConfig(data="cifar10"), 48),
    ):  # fmt: skip
        made = encoder_of(f"vision.{own.task}", own, {"network": nn.Identity()})
        assert made.size == size
        assert made.prepare(torch.zeros(1, 3, 4, 4)).max() == -1


def test_a_probe_is_not_probed() -> None:
    with pytest.raises(UserError, match="is itself a probe, of vgg16: probe that"):
        encoder_of("vision.position", config(target="vgg16"), {"probe": nn.Identity()})


def test_an_agent_sees_grey_images_that_stand_still() -> None:
    screen = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    policy = ActorCriticCnnPolicy(
        screen, spaces.Discrete(3), lambda _: 1e-3, net_arch=[],
        features_extractor_class=CoordCNN, features_extractor_kwargs={"coord": True, "width": 4},
    )  # fmt: skip
    made = encoder_of("rl", RlConfig(), {"policy": policy})
    assert made.size == 84
    shown = made.prepare(torch.rand(2, 3, 84, 84))
    assert torch.equal(shown[:, 0], shown[:, 3])
    assert levels_of(made) == [(4, 20, 20), (8, 9, 9), (8, 7, 7)]
