"""The depth study: slopes of estimators whose answer is known, what each condition changes, networks and pictures."""

import csv
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.data.rooms.empty import EmptyRendered, EmptyRooms
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.train.device import make_fabric
from vision.depth.conditions import levels, of_the_box, scenes, slope
from vision.depth.spec import CONDITIONS, SPEC, DepthConfig
from vision.depth.study import DepthStudy

SMALL: dict[str, Any] = {
    "width": 2,
    "images": 32,
    "test_images": 4,
    "batch": 4,
    "steps": 2,
    "coord": False,
    "levels": 3,
}
ROWS = np.arange(1_000_000, 1_000_008)
FINE = EmptyRooms(size=128)  # finer, so that a row of pixels says more


def config(**fields: Any) -> DepthConfig:
    made = validated(DepthConfig, {**SMALL, **fields}, COMMAND_LINE)
    assert isinstance(made, DepthConfig)
    return made


def made(**fields: Any) -> DepthStudy:
    return DepthStudy(config(**fields), make_fabric("cpu", "32"))


def by_foot(shown: EmptyRendered) -> np.ndarray:
    """An estimator that knows the cameras of the untilted rooms and reads the lowest row of the box's front."""
    cameras, size = FINE.cameras(ROWS), FINE.size
    rows = np.array([np.nonzero(front.any(1))[0].max() + 0.5 for front in shown.front])
    angle = np.arctan((rows - (size - 1) / 2) / (size / 2) * np.tan(cameras.field / 2)) - cameras.pitch
    return cameras.position[:, 1] / np.tan(angle)


def by_size(shown: EmptyRendered) -> np.ndarray:
    """An estimator that goes by the width of the box's front in the image."""
    return 1 / np.array([np.ptp(np.nonzero(front.any(0))[0]) + 1.0 for front in shown.front])


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (by_foot, {"both": 1, "position": 1, "size": 0, "tilt": 1}),
        (by_size, {"both": 1, "position": 0, "size": 1, "tilt": 0}),
    ],
)
def test_slopes_of_made_up_estimators(estimate: Any, expected: dict[str, float]) -> None:
    # Not exact: they tell distances along the floor, and depth is told along the axis of view, which looks down.
    truth = np.stack([of_the_box((shown := scenes(FINE, ROWS, "both", level)).depths, shown) for level in levels(3)])
    for condition in CONDITIONS:
        found = np.stack([estimate(scenes(FINE, ROWS, condition, level)) for level in levels(3)])
        assert slope(found, truth) == pytest.approx(expected[condition], abs=0.2), condition


def test_what_each_condition_changes() -> None:
    near = {name: scenes(FINE, ROWS, name, 1.0) for name in CONDITIONS}
    far = {name: scenes(FINE, ROWS, name, 3.0) for name in CONDITIONS}
    widths = {name: 1 / by_size(far[name]).mean() * by_size(near[name]).mean() for name in CONDITIONS}
    for name, ratio in {"both": 1 / 3, "position": 1, "size": 1 / 3, "tilt": 1}.items():
        assert widths[name] == pytest.approx(ratio, rel=0.13), name
    feet = {name: [np.nonzero(front.any(1))[0].max() for front in far[name].front] for name in CONDITIONS}
    assert np.abs(np.subtract(feet["tilt"], feet["both"])).max() <= 3  # of 128; a tilt bends the rows a little
    assert np.abs(np.subtract(feet["position"], feet["both"])).max() <= 1
    assert np.subtract(feet["size"], feet["both"]).min() > 10
    depths = {
        name: of_the_box(far[name].depths, far[name]) / of_the_box(near[name].depths, near[name]) for name in CONDITIONS
    }
    assert (depths["both"] > 2.3).all()
    assert np.abs(depths["size"] - 1).max() < 0.05


def test_a_slope_by_hand() -> None:
    truth = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    assert slope(truth * 5, truth) == pytest.approx(1)
    assert slope(np.ones((3, 2)), truth) == pytest.approx(0)
    assert slope(np.sqrt(truth), truth) == pytest.approx(((np.sqrt(2) - 1) * 1 + (np.sqrt(3) - 1) * 2) / 5)
    gap = np.where(truth == 6, np.nan, truth)
    assert slope(gap, truth) == pytest.approx(1)
    assert np.isnan(slope(truth, np.ones((3, 2))))


# ---- networks


@pytest.mark.parametrize("arm", sorted(load_experiment("vision/depth").arms))
def test_every_arm_learns(arm: str) -> None:
    study = made(**load_experiment("vision/depth").arms[arm])
    before = study.estimated(study.test.inputs(study.test.rows(1)))
    assert float(study.step(1)["loss/train"]) > 0
    after = study.estimated(study.test.inputs(study.test.rows(1)))
    assert before.shape == (1, 64, 64)
    assert (before > 0).all()
    assert not torch.equal(before, after)


def test_rows_only_never_learns_a_column() -> None:
    study = made(coord=True, rows_only=True)
    for step in (1, 2):
        study.step(step)
    layer = study.network.down[0][0].conv  # type: ignore[index,union-attr]
    assert layer.coordinate_weight[:, 0].abs().sum() > 0
    assert not layer.coordinate_weight[:, 1].any()
    blank = torch.zeros(1, layer.in_channels, 12, 12)
    inside = layer(blank)[..., 2:-2, 2:-2]
    assert (inside.std(3) < 1e-6).all()  # along a row nothing changes
    assert inside.std(2).max() > 1e-3


def test_an_oracle_s_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    study = made(test_images=6)
    known = {}
    for condition in CONDITIONS:
        for level in levels(3):
            shown = scenes(study.rooms, study._held_out(6), condition, level)
            known[shown.images.tobytes()] = torch.from_numpy(shown.depths)
    monkeypatch.setattr(study, "of_bytes", lambda images: known[images.tobytes()])
    for part in (study.train, study.test):
        known |= {image.numpy().tobytes(): depth for image, depth in zip(part.images, part.depths, strict=True)}

    def estimated(images: torch.Tensor) -> torch.Tensor:
        return torch.stack([known[image.numpy().tobytes()] for image in ((images + 1) * 127.5).round().to(torch.uint8)])

    monkeypatch.setattr(study, "estimated", estimated)
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.depth").scores_of(study.config)}
    assert found["score/slope_both"] == pytest.approx(1)
    assert found["score/slope_position"] == pytest.approx(1, abs=0.03)
    assert abs(found["score/slope_size"]) < 0.02
    assert 0 < found["score/slope_tilt"] < 0.08  # looking down, the axis of view comes nearer to the box
    assert found["score/relative_error"] == found["score/train_error"] == found["score/box_error"] == 0


def test_pictures_and_tables() -> None:
    study = made(levels=2, test_images=2)
    picture, scores = study.preview()
    assert picture.ndim == 3
    assert scores.keys() == {"preview/slope_position", "preview/relative_error"}
    files = study.files()
    assert {f"{name}.png" for name in SPEC.captions.pictures} <= files.keys()
    assert Image.open(io.BytesIO(files["depth.png"])).size[0] > 1000
    table = list(csv.DictReader(io.StringIO(files["depth.csv"].decode())))
    assert len(table) == len(CONDITIONS) * 2 * 2
    assert study.film(frames=3, count=2, path="loop", seed=0).shape == (3, 2, 3, 84, 172)


def test_rows_without_coordinates_is_one_line() -> None:
    with pytest.raises(UserError, match="rows_only is for coord arms"):
        config(rows_only=True)
