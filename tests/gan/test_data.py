"""Scenes: rooms and LSUN as training data, their scores, and commands as a user runs them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gan.data
from gan.data import Scenes, distances, make_data, statistics
from gan.features import RoomFeatures, _network, kernel_distance, room_features, room_kid, train
from gan.spec import GanConfig, scores
from gan.study import GanStudy, make_networks
from sandbox.base.errors import UserError
from sandbox.data.rooms.rooms import Rooms
from sandbox.experiment.file import load_experiment
from sandbox.experiment.names import find_config
from sandbox.experiment.spec import study_spec
from sandbox.train.device import make_fabric


def config(**fields: Any) -> GanConfig:
    small = {"data": "rooms", "width": 2, "d_width": 2, "latent": 8, "batch": 4, "images": 64, "steps": 10}
    return GanConfig(**{**small, **fields})


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 50 JPEGs; eight of them are held out."""
    monkeypatch.setattr(gan.data, "HELD_OUT", 8)
    for k, image in enumerate(Rooms(7, 40).render(np.arange(50)).images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{k:03d}.jpg", quality=95)
    return tmp_path


# ---- data


def test_rooms_are_drawn_once_and_held_out_ones_are_others() -> None:
    data = make_data(config(size=16))
    assert isinstance(data, Scenes)
    rows = np.array([5, 63, 5, 0])
    np.testing.assert_array_equal(data.images(rows), Rooms(0, 16).render(rows).images)
    data._bank[5] = 1  # from now on it is read
    assert (data.images(rows)[0] == 1).all()
    assert data._drawn.sum() == 3
    np.testing.assert_array_equal(data.held_out()[:4], Rooms(0, 16).render(np.arange(64, 68)).images)


def test_photographs_from_a_folder(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.mktemp("cache")
    settings = {"data": "lsun", "data_root": str(photographs), "data_cache": str(cache), "size": 32}
    data = make_data(config(images=42, **settings))
    assert isinstance(data, Scenes)
    every = np.concatenate([data.images(np.arange(42)), data.held_out()])
    assert every.shape == (50, 3, 32, 32)
    rendered = Rooms(7, 32).render(np.arange(50)).images
    assert np.abs(every.astype(int) - rendered).mean() < 8
    with pytest.raises(UserError, match=r"holds 50 images, but 43 to train on and 8 .* give --images 42 or fewer"):
        make_data(config(images=43, **settings))


@pytest.mark.parametrize("size", [16, 32, 128])
@pytest.mark.parametrize("coord", [False, True])
def test_the_networks_follow_the_size(size: int, coord: bool) -> None:
    generator, discriminator = make_networks(config(size=size, coord=coord))
    images = generator(torch.zeros(2, 8))
    assert images.shape == (2, 3, size, size)
    assert discriminator(images).shape == (2,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 48}, "size is 48: allowed are 16, 32, 64"),
        ({"size": 128, "data": "shapes"}, "data shapes and architecture paper know 64 alone"),
        ({"size": 32, "architecture": "paper"}, "know 64 alone"),
        ({"data": "lsum"}, "'rooms' or 'lsun'"),
        ({"copies": "excluded", "data": "shapes", "size": 64, "images": 5001}, "at most 5000 images"),
        ({"copies": "excluded", "images": 64}, "for data shapes and at most 5000 images"),
    ],
)
def test_what_a_configuration_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_runs_made_before_there_were_scenes_keep_their_identity() -> None:
    new = {"data", "size", "data_root", "data_cache", "category"}
    old = GanConfig().model_dump(mode="json", exclude=new)
    assert GanConfig.model_validate(old) == GanConfig()
    assert (GanConfig().data, GanConfig().size) == ("shapes", 64)
    assert [score.tag for score in scores(GanConfig()) if score.primary] == ["score/valid"]
    assert [score.tag for score in scores(config()) if score.primary] == ["score/room_kid"]


@pytest.mark.parametrize("name", ["rooms", "lsun_bedroom", "lsun_bedroom_128"])
def test_the_recipes_differ_by_coordinates_alone(name: str) -> None:
    experiment = load_experiment(str(find_config(f"gan/{name}")))
    conv, coord = (experiment.resolve(arm) for arm in ("conv", "coord"))
    assert conv.sees_the_same(coord)
    assert conv.differs_by_coordinates_alone(coord)


# ---- scores


def test_the_kernel_distance_by_its_definition() -> None:
    a, b = torch.randn(5, 3), torch.randn(4, 3) + 1

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x @ y / 3 + 1) ** 3)

    own_a = np.mean([k(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    own_b = np.mean([k(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    across = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(own_a + own_b - 2 * across, rel=1e-4)
    with pytest.raises(ValueError, match="1 and 4 samples"):
        kernel_distance(a[:1], b)


def test_the_own_distance_grows_with_the_damage() -> None:
    rooms = Rooms(0).render(np.arange(600)).images
    real, others = rooms[:300], rooms[300:]
    floor = room_kid(real, others)
    noisy = np.clip(others + np.random.default_rng(0).normal(0, 25, others.shape), 0, 255).astype(np.uint8)
    upside_down = np.ascontiguousarray(others[:, :, ::-1])
    scrambled = np.roll(others, 32, axis=3)  # every pixel there, in the wrong place
    grey = np.full_like(others, 128)
    for damaged in (noisy, upside_down, scrambled, grey):
        assert room_kid(damaged, real) > 5 * abs(floor)
    assert room_kid(grey, real) > room_kid(scrambled, real)


def test_features_do_not_depend_on_the_batch_and_little_on_the_size() -> None:
    small, large = (Rooms(0, size).render(np.arange(6)).images for size in (64, 128))
    torch.testing.assert_close(room_features(small)[2:3], room_features(small[2:3]))
    away = (room_features(large) - room_features(small)).norm() / room_features(small).norm()
    assert away < 0.1


def test_the_shipped_network_is_the_one_that_training_makes() -> None:
    assert sum(p.numel() for p in _network().parameters()) == sum(p.numel() for p in RoomFeatures().parameters())
    (once, loss), (again, same) = train(rooms=40, steps=3), train(rooms=40, steps=3)
    assert loss == same
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters(), strict=True))
    _, later = train(rooms=40, steps=30)
    assert later < 0.9 * loss


def test_statistics_of_a_chequer_and_of_nothing() -> None:
    images = np.zeros((2, 3, 8, 8), np.uint8)
    images[0, :, ::2, ::2] = images[0, :, 1::2, 1::2] = 200
    found = statistics(images)
    np.testing.assert_allclose(found["brightness"], [100, 0])
    np.testing.assert_allclose(found["contrast"], [100, 0])
    np.testing.assert_allclose(found["edges"], [200, 0])
    shifted = images + np.uint8(10)
    told = distances(images, shifted)
    assert told["brightness_distance"] == pytest.approx(10)
    assert told["contrast_distance"] == pytest.approx(0)


def test_a_study_of_rooms_scores_itself_and_real_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan.data, "HELD_OUT", 400)
    study = GanStudy(config(size=32), make_fabric("cpu", "32"))
    study.step(1)
    told = study.evaluate()
    assert {score.tag for score in scores(study.config)} <= told.keys()
    assert told["score/room_kid"] > 5 * abs(told["real/room_kid"])
    assert told["score/warp_paths"] == 64
    picture, curve = study.preview()
    assert picture.shape == (8 * 34 + 2, 8 * 34 + 2, 3)
    assert curve.keys() == {"preview/room_kid"}


# ---- commands


@pytest.mark.slow
def test_a_smoke_run_of_rooms(workshop: Any, tmp_path: Path) -> None:
    command = workshop.module("sandbox.gan", "--config", "gan/rooms", "--coord", "--smoke", "--size", "32",
                              "--device", "cpu", "--precision", "32", "--root", tmp_path)  # fmt: skip
    assert command.wait() == 0, command.stderr
    folder = tmp_path / "smoke/gan/rooms/coord/seed-0"
    told = json.loads((folder / "result.json").read_text())["scores"]
    assert told["score/room_kid"] > 0
    assert (folder / "samples/interpolation.gif").exists()


def test_lsun_that_is_not_there_is_one_line(workshop: Any, tmp_path: Path) -> None:
    command = workshop.module("sandbox.gan", "--config", "gan/lsun_bedroom", "--coord", "--smoke", "--data-root",
                              tmp_path / "nowhere", "--device", "cpu", "--root", tmp_path)  # fmt: skip
    assert command.wait() == 2
    assert "bedroom_train_lmdb.zip" in command.stderr
    assert command.stderr.count("\n") == 1


def test_captions_tell_drawn_rooms_from_photographs() -> None:
    notes = [GanConfig(data=data).data_note for data in ("shapes", "rooms", "lsun")]
    assert notes == ["", "Data: drawn rooms, a stand-in for LSUN.", "Data: images on the disk under the name bedroom."]
    stand_in = GanConfig(data="lsun", category="drawn_bedroom")
    assert stand_in.data_note == "Data: drawn rooms in LSUN's format, a stand-in for it."


def test_with_few_images_copies_do_not_count() -> None:
    few = GanConfig(images=500, copies="excluded")
    data = make_data(few)
    spec = study_spec("gan")
    assert spec.primary(few).tag == "score/new_valid"
    assert spec.primary(GanConfig(images=500)).tag == "score/valid"
    paths = data.images(np.arange(6)).reshape(2, 3, 3, 64, 64)
    learned = data.scores(lambda count, batch: data.images(np.arange(count) % 500), paths)
    assert {score.tag for score in spec.scores_of(few)} <= learned.keys()
    assert (learned["score/valid"], learned["score/new_valid"], learned["score/copies"]) == (1, 0, 1)
    fresh = data.scores(lambda count, batch: data.images(10_000 + 1000 * batch + np.arange(count)), paths)
    assert fresh["score/new_valid"] > 0.98
    assert fresh["real/new_valid"] > 0.98
    assert data.preview(data.images(np.arange(256))) == {"preview/valid": 1, "preview/new_valid": 0}
