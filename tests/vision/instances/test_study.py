"""Runs of the instances study: every head learns, says what it declares, and both arms share what they can."""

import csv
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from shop import Workshop

from sandbox.base.errors import UserError
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.nn.coordconv import CoordConv2d
from sandbox.train.device import make_fabric
from vision.instances.found import Found
from vision.instances.networks import InstanceNet
from vision.instances.pictures import as_colours, claims, objects, palette
from vision.instances.spec import InstancesConfig
from vision.instances.study import InstancesStudy

SMALL: dict[str, Any] = {
    "coord": False, "width": 2, "images": 32, "test_images": 2, "steps": 2, "spacing": 24, "cells": 4,
}  # fmt: skip
ARMS: list[dict[str, Any]] = [
    {"padding": "circular"},
    {"padding": "zeros", "coord": True, "head": "semiconv", "data": "scattered"},
    {"padding": "valid", "head": "semiconv", "loss": "distance", "data": "six"},
    {"padding": "zeros", "head": "solo", "coord": True, "coord_layers": "head.masks.0.conv", "data": "scattered"},
]


def config(**fields: Any) -> InstancesConfig:
    return InstancesConfig.model_validate({**SMALL, **fields})


def study(**fields: Any) -> InstancesStudy:
    return InstancesStudy(config(**fields), make_fabric("cpu", "32"))


@pytest.mark.parametrize("fields", ARMS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_a_run_says_what_it_declares(fields: dict[str, Any]) -> None:
    made = study(**fields)
    for step in (1, 2):
        assert all(torch.isfinite(loss) for loss in made.step(step).values())
    found = made.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.instances").scores_of(made.config)}
    assert all(math.isfinite(value) for value in found.values())
    picture, preview = made.preview()
    assert picture.dtype == np.uint8
    assert preview.keys() == {"preview/pairs", "preview/sbd"}
    film = made.film(frames=3, count=1, path="loop", seed=0)
    assert film.shape[:2] == (3, 1)
    assert not np.array_equal(film[0], film[1])
    assert ("untrained.csv" in made.files()) == (made.config.data == "grid")


def test_some_steps_learn_and_the_scores_come_twice_the_same() -> None:
    made = study(padding="zeros", width=4, steps=40, head="semiconv", spacing=24)
    losses = [made.step(step)["loss/train"].item() for step in range(1, 41)]
    assert losses[-1] < 0.5 * losses[0]
    assert made.evaluate() == made.evaluate()


@pytest.mark.parametrize("head", ["embedding", "solo"])
def test_a_run_goes_on_bit_for_bit(head: str) -> None:
    whole, first, second = (study(head=head, data="scattered", padding="zeros", steps=4) for _ in range(3))
    for step in range(1, 5):
        whole.step(step)
    for step in (1, 2):
        first.step(step)
    first.evaluate()  # which leaves nothing behind
    second.network.load_state_dict(first.network.state_dict())
    second.optimisers["network"].load_state_dict(first.optimisers["network"].state_dict())
    for step in (3, 4):
        second.step(step)
    ended = second.network.state_dict()
    assert all(torch.equal(value, ended[name]) for name, value in whole.network.state_dict().items())


def test_training_cannot_part_what_symmetry_makes_alike() -> None:
    made = study(padding="circular", width=4, steps=12)
    for step in range(1, 13):
        made.step(step)
    found = made.evaluate()
    assert found["score/distinct"] == found["score/distinct_untrained"] == found["score/pairs"] == 0


def test_arms_share_their_content_weights_and_differ_in_coordinates_alone() -> None:
    experiment = load_experiment("vision/instances")
    arms = {arm: experiment.resolve(arm, {"width": "2"}, task="grid12") for arm in experiment.arms}
    for padding in ("circular", "zeros", "valid"):
        plain = arms[padding]
        for other in (arms[f"{padding}_input"], arms[f"{padding}_output"]):
            assert plain.differs_by_coordinates_alone(other)
            assert plain.sees_the_same(other)
            a, b = (dict(InstancesStudy(c, make_fabric("cpu", "32")).network.named_parameters())
                    for c in (plain, other))  # fmt: skip
            assert {name.rpartition(".")[2] for name in a.keys() ^ b.keys()} <= {"coordinate_weight"}
            assert all(torch.equal(weight, b[name]) for name, weight in a.items())
    assert not arms["zeros"].differs_by_coordinates_alone(arms["circular"])


def test_coordinates_go_where_the_arm_says() -> None:
    def knowing(**fields: Any) -> list[str]:
        network = study(coord=True, **fields).network
        return [name for name, layer in network.named_modules() if isinstance(layer, CoordConv2d)]

    assert knowing() == ["trunk.down.0.0.conv"]
    assert knowing(head="solo", coord_layers="head.masks.0.conv") == ["head.masks.0.conv"]
    assert isinstance(study(coord=True, coord_layers="all").network.head.conv, CoordConv2d)
    with pytest.raises(UserError, match=r"head\.masks\.0\.conv"):
        study(coord=True, head="solo", coord_layers="head.mask.0.conv")


def test_solo_s_cells_and_masks_have_their_sizes() -> None:
    network = InstanceNet(config(head="solo", cells=5)).eval()
    with torch.no_grad():
        out = network(torch.zeros(2, 3, 96, 96))
    assert isinstance(out, tuple)
    assert [each.shape for each in out] == [(2, 5, 5), (2, 25, 48, 48)]


def test_what_is_found_has_the_colour_of_its_object() -> None:
    ids = np.array([[1, 1, 0, 2, 2, 2]], np.uint8).repeat(2, 0)
    masks = np.stack([ids == 2, ids == 1, ids == 0])
    colours = palette(2)
    picture = claims(Found(masks, np.array([0.9, 0.8, 0.7])), ids)
    np.testing.assert_allclose(picture[:, 0, 0], colours[0], rtol=1e-5)
    np.testing.assert_allclose(picture[:, 0, 4], colours[1], rtol=1e-5)
    assert len(set(picture[:, 0, 2].tolist())) == 1  # grey
    np.testing.assert_allclose(picture[:, :, [0, 1, 3, 4, 5]], objects(ids)[:, :, [0, 1, 3, 4, 5]], rtol=1e-5)
    halves = np.stack([ids == 1, ids == 1]) & np.array([[[True, False] * 3], [[False, True] * 3]])
    twice = claims(Found(halves, np.ones(2)), ids)
    assert not np.array_equal(twice[:, 0, 0], twice[:, 0, 1])
    assert len(np.unique(palette(64), axis=0)) == 64


def test_the_first_two_numbers_are_red_and_blue() -> None:
    vectors = torch.tensor([[[0.0, 1.0, 9.0]], [[3.0, 2.0, 9.0]]])
    picture = as_colours(vectors, np.array([[0.9, 0.9, 0.1]]))
    assert picture[[0, 2], 0].tolist() == [[0, 1, 1], [1, 0, 1]]
    assert picture[:, 0, 2].tolist() == [1, 1, 1]


@pytest.mark.slow
def test_a_comparison_makes_its_report(workshop: Workshop, tmp_path: Any) -> None:
    command = workshop.module("sandbox.compare", "vision/instances", "--smoke", "--arms", "circular", "zeros_output",
                              "--tasks", "grid12", "grid16", "--seeds", 1, "--root", tmp_path)  # fmt: skip
    assert command.wait() == 0, command.stderr
    place = tmp_path / "smoke/vision/instances"
    (rows,) = [list(csv.DictReader(io.StringIO(path.read_text())))
               for path in (place / "grid12/circular/seed-0/samples").glob("untrained.csv")]  # fmt: skip
    assert len(rows) == 21
    assert "pairs told apart" in (place / "comparison/report.html").read_text()
    assert (place / "comparison/tasks.png").is_file()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"head": "solo", "padding": "valid"}, "the head solo takes zeros, circular"),
        ({"loss": "distance"}, "the head embedding takes discriminative"),
        ({"cells": 64, "data": "grid", "spacing": 11}, "spacing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**fields)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--scenes grid13", "is not one of grid12, grid15, grid16, grid24"),
        ("--head semiconf", "did you mean 'semiconv'?"),
        ("--padding reflect", "--padding is 'reflect': allowed are zeros, circular, valid"),
        ("--spacing 8", "--spacing is '8': allowed are whole numbers from 12 to 32"),
        ("--loss distance", "the head embedding takes discriminative"),
        ("--data coco", "--annotations must name its JSON file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(workshop: Workshop, tmp_path: Any, line: str, said: str) -> None:
    words = ("--task", "instances", *line.split(), "--arm", "zeros", "--device", "cpu", "--root", tmp_path)
    command = workshop.module("sandbox.vision", *words, cwd=tmp_path)
    assert command.wait() == 2
    (complaint,) = command.stderr.splitlines()
    assert said in complaint
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []
