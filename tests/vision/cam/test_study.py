"""The class activation study: its data, its two kinds of runs, what it refuses, its pictures."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sandbox.base.errors import UserError
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.run import Run
from sandbox.experiment.spec import study_spec
from sandbox.train.checkpoints import save_checkpoint
from sandbox.train.device import make_fabric
from sandbox.train.make import build
from vision.cam.canvases import make_canvases
from vision.cam.crops import Crop, Window
from vision.cam.fields import Receptive
from vision.cam.pictures import EDGE, Shown, heated, sheet
from vision.cam.spec import SPEC, CamConfig, table
from vision.cam.study import CamStudy
from vision.cam.targets import find_target

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "coord": False,
    "width": 2,
    "images": 32,
    "test_images": 8,
    "measured": 2,
    "batch": 4,
    "steps": 2,
}


def config(**fields: Any) -> CamConfig:
    made = validated(CamConfig, {**SMALL, **fields}, COMMAND_LINE)
    assert isinstance(made, CamConfig)
    return made


def made(**fields: Any) -> CamStudy:
    return CamStudy(config(**fields), make_fabric("cpu", "32"))


def run_of(place: Path, name: str, arm: str, **fields: Any) -> str:
    """A run's folder that holds a checkpoint of an untrained network."""
    experiment = load_experiment(name)
    task = next(iter(experiment.tasks), None)
    settings = experiment.resolve(arm, {"precision": "32", **fields}, smoke=True, task=task)
    run = Run(place / "run", experiment.study, name, arm, "32", settings, task)
    run.open()
    study = build(run, "cpu")
    save_checkpoint(run.checkpoints, 0, study.modules, study.optimisers, {})
    return str(run.folder)


# ---- the classifier of the run itself


def test_a_run_is_trained_then_measured() -> None:
    study = made()
    for step in (1, 2):
        assert torch.isfinite(study.step(step)["loss/train"])
    picture, preview = study.preview()
    assert picture.shape[1] == 4 * (EDGE + 4) + 4
    assert preview.keys() == {"preview/displacement", "preview/test_accuracy"}
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.cam").scores_of(study.config)}
    assert found == study.evaluate()
    assert found["score/displacement"] == pytest.approx(0, abs=1e-2)  # zeros, receptive fields inside
    assert found["score/displacement_all"] > 0.1
    assert study.files()["cam.csv"].count(b"\n") == 1 + 2 * 16 * 4
    assert study.film(frames=3, count=2, path="loop", seed=0).shape == (3, 2, 3, EDGE, 2 * EDGE + 4)
    costs = study.costs()
    assert costs["receptive_field"] == 68
    assert costs["crops_that_hold_a_receptive_field"] == [24, 48, 72, 96]
    assert study.encoder().prepare(torch.zeros(1, 3, 4, 4)).max() == -1
    study.step(3)
    assert study.evaluate()["score/displacement_all"] != found["score/displacement_all"]


def test_canvases_that_hold_no_receptive_field_say_so() -> None:
    study = made(size=64)
    note = study.costs()["note"]
    assert "No crop of 64 pixels holds a receptive field, 68 pixels" in note
    assert "--size 88 is the smallest" in note
    scores = study.evaluate()
    assert math.isnan(scores["score/displacement"])
    assert scores["score/measurable"] == 0
    assert math.isfinite(scores["score/displacement_all"])
    assert math.isfinite(made(size=88).evaluate()["score/displacement"])


def test_no_place_of_the_canvas_differs_from_another_and_the_scene_is_whole() -> None:
    train, test = make_canvases(config(images=2048, size=96), CPU)
    ink = torch.zeros(96, 96)
    for rows in torch.arange(2048).split(256):
        ink += (train.inputs(rows) < 0).any(1).float().sum(0)
    rows, columns = ink.mean(1), ink.mean(0)
    assert max(rows.std() / rows.mean(), columns.std() / columns.mean()) < 0.1
    seen = (train.inputs(torch.arange(50)) < 0).any(1).sum((1, 2))
    assert torch.equal(seen, (train.images[:50].float() < 128).any(1).sum((1, 2)))
    assert np.bincount(train.labels.numpy(), minlength=4).min() > 400
    assert not torch.equal(train.images[:8], test.images)
    around = (test.ways[test.central(8, 8)] + 48) % 96 - 48
    assert around.abs().amax(1).diff().min() >= 0


# ---- targets


def test_a_torchvision_network_is_looked_at_and_nothing_is_trained() -> None:
    study = made(target="resnet18", weights="random", size=96, measured=2)
    assert study.modules == study.optimisers == {}
    assert 0 < float(study.step(1)["target/confidence"]) <= 1
    assert "random weights" in study.costs()["note"]
    assert "435 pixels" in study.costs()["note"]
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.cam").scores_of(study.config)}
    assert math.isnan(found["score/displacement"])
    assert found["score/displacement_all"] > 0
    picture, _ = study.preview()
    assert picture.any()
    digest = study.state_dict()
    study.load_state_dict(digest)
    other = made(target="resnet18", weights="random", size=96, seed=1)
    with pytest.raises(UserError, match="--overwrite starts it anew"):
        other.load_state_dict(digest)
    with pytest.raises(UserError, match="it only looks at resnet18"):
        study.encoder()


def test_the_last_convolutional_level_of_torchvision_s_networks() -> None:
    alexnet = find_target(config(target="alexnet", weights="random", size=96), CPU)
    assert (alexnet.level, alexnet.field.stride, alexnet.field.size) == ("features.11", 16, 163)  # the ReLU of conv5
    assert alexnet.logits(torch.rand(1, 3, 96, 96)).shape == (1, 1000)


def test_classifiers_of_other_runs_are_looked_at(tmp_path: Path) -> None:
    target = run_of(tmp_path, "vision/padding", "circular_coord")
    study = made(target=target, data="shapes")
    assert study.classifier.level == "stages.3"
    assert study.classifier.field == Receptive(8, -30, 37)
    assert study.evaluate()["score/displacement"] > 0.01
    assert "after 0 steps" in study.costs()["note"]


@pytest.mark.parametrize(
    ("name", "arm", "said"),
    [
        ("gan/sort_of_clevr", "coord", "a run of the study gan, which has no classes of images"),
        ("vision/neurons", "zeros", "answers with 5x192x192 numbers an image, not with one a class"),
        ("vision/location", "permute", "permutes its channels anew at every pass"),
    ],
)
def test_what_gives_no_class_is_refused(tmp_path: Path, name: str, arm: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_target(config(target=run_of(tmp_path, name, arm)), CPU)


def test_a_size_on_which_a_network_cannot_run_is_refused() -> None:
    with pytest.raises(UserError, match="alexnet cannot run on images of 32 pixels"):
        find_target(config(target="alexnet", weights="random", size=32), CPU)


# ---- settings


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": "vg16"}, "did you mean 'vgg16'?"),
        ({"target": "owm"}, "did you mean 'own'?"),
        ({"size": 100}, "size is 100: allowed are multiples of 8 from 64 on"),
        ({"size": 56}, "size is 56: allowed are multiples of 8 from 64 on"),
        ({"measured": 9}, r"measured \(9\) must not exceed test_images \(8\)"),
        ({"padding": "zero"}, "did you mean 'zeros'?"),
    ],
)
def test_a_bad_setting_is_one_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config(**fields)


def test_a_target_has_an_arm_and_a_folder(tmp_path: Path) -> None:
    arms = load_experiment("vision/cam").arms
    assert CamConfig.placed({}, arms) == CamConfig.placed({"target": "own"}, arms) == (None, None)
    assert CamConfig.placed({"target": "vgg16"}, arms) == ("vgg16", None)
    assert CamConfig.placed({"target": "vgg11_bn"}, arms) == ("target", "cam_vgg11_bn")
    with pytest.raises(UserError, match="is no run folder"):
        CamConfig.placed({"target": f"{tmp_path}/nothing"}, arms)


def test_the_arms_are_those_of_the_padding_study() -> None:
    ours, theirs = (load_experiment(name).arms for name in ("vision/cam", "vision/padding"))
    assert {name: values for name, values in ours.items() if "target" not in values and name != "target"} == theirs


def test_without_captum_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    with pytest.raises(UserError, match="class activation maps need captum: pip install captum"):
        made()


def test_chance_is_failure_and_no_accuracy_is_none() -> None:
    assert "chance level" in SPEC.failed(config(), {"score/test_accuracy": 0.3})
    assert SPEC.failed(config(), {"score/test_accuracy": 0.9}) == ""
    assert SPEC.failed(config(target="vgg16"), {"score/displacement": None}) == ""


def test_the_table_says_what_is_undefined() -> None:
    lines = table({"score/displacement": None, "score/displacement_all": 1.25, "score/displacement_median": None})
    assert lines[0].split() == ["displacement", "correlation", "measurable"]
    assert lines[1].split()[-3:] == ["undefined"] * 3
    assert lines[2].split()[-3] == "1.2500"
    assert lines[-1].split() == ["score/displacement_median", "undefined"]


# ---- pictures


def test_a_map_s_maximum_has_full_colour_and_its_zero_none() -> None:
    image, heat = torch.rand(3, 8, 8), torch.zeros(2, 2)
    heat[0, 1] = 3
    found = heated(image, heat, 4)
    torch.testing.assert_close(found[:, 0, 7], torch.tensor([230, 100, 0]) / 255)
    assert torch.equal(found[0, 4:], found[2, 4:])  # grey
    assert heated(image, torch.zeros(2, 2), 4).isfinite().all()


def test_ring_and_cross_lie_where_the_regions_do() -> None:
    first, second = torch.zeros(8, 8), torch.zeros(8, 6)
    first[2, 5], second[6, 3] = 1, 1  # of the crop the cell that is row 6, column 5 of the image
    window = Window(range(8), range(2, 8), 0, -2)
    row = Shown(torch.ones(3, 32, 32), Crop("left", 8, 32), (first, second), window, 16.0, math.nan)
    picture = sheet([row], Receptive(4, 0, 3)).astype(int)
    cell, top, left = EDGE // 8, 32, 4 + 3 * (EDGE + 4)
    blue = (np.abs(picture - [0, 0x57, 0xB8]).sum(2) < 30)[top : top + EDGE, left : left + EDGE]
    black = (picture.sum(2) < 60)[top : top + EDGE, left : left + EDGE]
    inner = blue[4:-4, 2 * cell + 4 : -4]  # without the dashed frame
    rows, columns = np.nonzero(inner)
    assert rows.mean() + 4 == pytest.approx(2.5 * cell, abs=1)
    assert columns.mean() + 2 * cell + 4 == pytest.approx(5.5 * cell, abs=1)
    rows, columns = np.nonzero(black)
    assert rows.mean() == pytest.approx(6.5 * cell, abs=1)
    assert columns.mean() == pytest.approx(5.5 * cell, abs=1)


def test_a_compiled_or_frozen_network_has_the_same_maps() -> None:
    study = made()
    images, classes = study.shown[:1], torch.tensor([1])
    study.network.eval()
    maps = study.classifier.maps(images, classes)
    study.network.requires_grad_(False)
    assert torch.equal(study.classifier.maps(images, classes), maps)

    def refuse(*arguments: object) -> nn.Module:
        raise AssertionError("captum's hooks would be passed by")

    study.network._compiled_call_impl = refuse
    assert torch.equal(study.classifier.maps(images, classes), maps)
