"""FID and KID against their definitions, with weights that a test makes: real ones are nowhere downloaded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

import gan.data
import gan.fid
from gan.features import kernel_distance
from gan.fid import fid_and_kid, inception
from gan.spec import GanConfig, scores
from gan.study import GanStudy
from sandbox.base.errors import UserError
from sandbox.train.device import make_fabric


class Colours(nn.Module):
    """Features that can be counted by hand: the mean of each channel, scaled to 0..1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3)) / 255


def flat(colours: np.ndarray) -> np.ndarray:
    """Images of one colour each, (n, 3, 4, 4)."""
    return np.broadcast_to(colours.astype(np.uint8)[:, :, None, None], (len(colours), 3, 4, 4)).copy()


def chunks(images: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda chunk: images[chunk * gan.fid.CHUNK : (chunk + 1) * gan.fid.CHUNK]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in torch-fidelity's format, its numbers drawn."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(NoTrainInceptionV3, "load_state_dict", lambda *_: None)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))
    torch.save(network.state_dict(), path)
    return path


def test_both_distances_by_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan.fid, "CHUNK", 70)  # three chunks, the last not whole
    rng = np.random.default_rng(0)
    real = flat(rng.integers(0, 200, (160, 3)))
    fake = flat(rng.integers(30, 256, (200, 3)) // [1, 2, 1])
    told = fid_and_kid(Colours(), chunks(real), chunks(fake), 160)

    a, b = (Colours()(torch.from_numpy(images[:160])).double().numpy() for images in (real, fake))
    within = np.cov(a.T) + np.cov(b.T) - 2 * sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    assert told["fid"] == pytest.approx(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(within), rel=1e-4)
    # All images are one subset here, so its mean is the estimate itself.
    assert told["kid"] == pytest.approx(kernel_distance(torch.from_numpy(a), torch.from_numpy(b)), rel=1e-3)


def test_the_same_images_are_no_distance_apart_and_no_random_stream_moves() -> None:
    images = flat(np.random.default_rng(1).integers(0, 256, (50, 3)))
    before = torch.get_rng_state()
    told = fid_and_kid(Colours(), chunks(images), chunks(images), 50)
    assert told["fid"] == pytest.approx(0, abs=1e-5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_network_is_read_from_a_file(weights: Path) -> None:
    network = inception(str(weights))
    features = network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert features.shape == (2, 2048)
    assert not network.training


def test_what_is_wrong_with_the_weights_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"nowhere.pth is not there: .* are wanted: curl .*6726825d.pth"):
        inception("nowhere.pth")
    for name, content, line in (("text.pth", b"no weights", "neither torch's"), ("empty.pth", b"", "is empty")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"--fid-weights: .*{name} .*{line}.* are wanted: curl") as caught:
            inception(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth is not of Inception: it has no 'Conv2d_1a_3x3.conv.weight'"):
        inception(str(tmp_path / "other.pth"))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match=r"FID needs .*coordconv-sandbox\[fid\]"):
        inception("nowhere.pth")


def test_the_scores_are_declared_only_with_weights() -> None:
    rooms = GanConfig(data="rooms", fid_weights="there.pth")
    assert [score.tag for score in scores(rooms)][-2:] == ["score/fid", "score/kid"]
    assert "score/fid" not in [score.tag for score in scores(GanConfig(data="rooms"))]
    with pytest.raises(ValueError, match="fid_weights is for data rooms and lsun"):
        GanConfig(fid_weights="there.pth")


@pytest.mark.slow
def test_a_run_is_scored_with_weights_that_are_given_later(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan.data, "HELD_OUT", 64)
    fields = {"data": "rooms", "size": 16, "width": 2, "d_width": 2, "latent": 8, "batch": 4, "images": 32}
    plain, scored = (
        GanStudy(GanConfig.model_validate({**fields, "fid_weights": path}), make_fabric("cpu", "32")).evaluate()
        for path in ("", str(weights))
    )
    assert scored.keys() - plain.keys() == {"score/fid", "score/kid"}
    assert scored["score/fid"] > 0
    assert {tag: scored[tag] for tag in plain} == plain


def test_wrong_weights_are_said_before_training(workshop: Any, tmp_path: Path) -> None:
    command = workshop.module("sandbox.gan", "--config", "gan/rooms", "--coord", "--smoke", "--device", "cpu", "--root",
                              tmp_path, "--fid-weights", tmp_path / "none.pth")  # fmt: skip
    assert command.wait() == 2
    assert command.stderr.count("\n") == 1
    assert "none.pth" in command.stderr
    assert not list(tmp_path.rglob("config.yaml"))
