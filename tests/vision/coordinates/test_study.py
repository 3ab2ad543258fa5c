"""The data, the scores, the study's promises to the loop, and its pictures."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse as parse_plan
from sandbox.cli.train import parse
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.train.device import make_fabric
from vision.coordinates.pictures import arrows, sums, walks, zoomed
from vision.coordinates.study import VisionStudy
from vision.spec import VisionConfig

TASKS = ("classification", "regression", "rendering")


def make(**fields: Any) -> VisionStudy:
    config = VisionConfig(**{"batch": 8, "steps": 10, "score_every": 2, **fields})
    return VisionStudy(config, make_fabric("cpu", "bf16" if fields.get("precision") == "bf16" else "32"))


# ---- data


@pytest.mark.parametrize(("split", "train", "test"), [("uniform", 2509, 627), ("quadrant", 2407, 729)])
def test_the_splits_are_those_of_the_paper(split: str, train: int, test: int) -> None:
    study = make(split=split)
    assert (len(study.train), len(study.test)) == (train, test)
    assert len(torch.cat([study.train, study.test]).unique()) == 3136
    unseen = (study.task.centres[study.test] >= 33).all(1)
    assert bool(unseen.all()) == (split == "quadrant")
    assert torch.equal(study.test, make(split=split, seed=5).test)  # one split for all seeds


def test_centres_are_scaled_as_the_coordinate_planes_are() -> None:
    task = make().task
    assert task.centres.min() == 4
    assert task.centres.max() == 59
    torch.testing.assert_close(task.scaled, task.centres / 63 * 2 - 1)


def test_inputs_and_targets_are_zeros_and_ones_around_the_centre() -> None:
    rows = torch.tensor([0, 57, 3135])
    shown = make(task="regression").task.inputs(rows)
    assert shown.sum((1, 2, 3)).tolist() == [1, 1, 1]
    assert shown[torch.arange(3), 0, *make().task.centres[rows].T].tolist() == [1, 1, 1]
    images = make(task="rendering").task.images[rows]  # type: ignore[attr-defined]
    assert images.unique().tolist() == [0, 1]
    assert images[0, 0, :9, :9].sum() == images.sum((1, 2, 3))[0] == 81


def test_an_epoch_shows_every_training_position_once() -> None:
    study, other = make(batch=29), make(batch=29, coord=False)
    count = len(study.train)  # 2509 = 29 x 86.5: epochs end within a batch
    shown = torch.cat([study._rows(step) for step in range(1, 2 * count // 29 + 1)])
    assert torch.equal(shown[:count].sort().values, study.train)
    rest = shown[count:]
    assert len(rest.unique()) == len(rest)
    assert not torch.equal(shown[: len(rest)], rest)
    assert torch.equal(other._rows(3), shown[58:87])


# ---- training


@pytest.mark.parametrize("task", TASKS)
def test_a_step_depends_on_the_seed_and_its_number_alone(task: str) -> None:
    results = []
    for noise in (1, 2):
        study = make(task=task, coord=False, architecture="matched", width=2)
        for step in (1, 2):
            torch.manual_seed(noise)
            losses = study.step(step)
        results.append([*losses.values(), *(p.detach().clone() for p in study.network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_bf16_trains_and_scores_in_float32() -> None:
    study = make(precision="bf16")
    assert torch.isfinite(study.step(1)["loss/train"])
    assert study._run(study.test[:2]).dtype == torch.float32


def test_the_centre_s_loss_is_added_to_the_square_s() -> None:
    plain, helped = (make(task="rendering", centre_weight=weight, batch=2).step(1) for weight in (0.0, 2.0))
    assert float(helped["loss/train"]) > float(plain["loss/train"]) + 2 * 7  # ln 4096 = 8.3 before anything is learned


class Answer(nn.Module):
    """Knows the right pixel from its third look on, or never."""

    def __init__(self, network: nn.Module, patience: int) -> None:
        super().__init__()
        self.network, self.patience = network, patience

    def forward(self, centres: Tensor) -> Tensor:
        if self.training:
            logits: Tensor = self.network(centres)
            return logits
        self.patience -= 1
        pixels = ((centres + 1) * 31.5).round().long()
        logits = torch.zeros(len(centres), 1, 64, 64)
        if self.patience < 0:
            logits[torch.arange(len(centres)), 0, pixels[:, 0], pixels[:, 1]] = 9.0
        return logits


def test_the_first_step_at_which_all_of_the_test_is_right_is_kept() -> None:
    study = make()
    study.network = Answer(study.network, 2)
    for step in range(1, 10):
        study.step(step)
    found = study.evaluate()
    assert found["score/steps_to_perfect"] == 6  # looks at 2 and 4 ended at their first chunk
    assert 0 < found["score/seconds_to_perfect"] < study.record.elapsed
    assert found["score/test_accuracy"] == 1
    again = make()
    again.load_state_dict(study.state_dict())
    assert again.evaluate()["score/steps_to_perfect"] == 6  # travels with a checkpoint


# ---- scores


@pytest.mark.parametrize("task", TASKS)
def test_every_declared_score_is_there_and_the_curve_too(task: str) -> None:
    study = make(task=task)
    declared = study_spec("vision").scores_of(study.config)
    study.train, study.test = study.train[:70], study.test[:70]
    found = study.evaluate()
    assert found.keys() == {score.tag for score in declared}
    assert declared[0].primary
    picture, scored = study.preview()
    assert picture.shape[2] == 3
    assert scored == {declared[0].curve: pytest.approx(found[declared[0].tag], abs=1e-6)}
    assert math.isnan(found.get("score/steps_to_perfect", math.nan))


def test_errors_are_pixels() -> None:
    task, rows = make(task="regression").task, torch.tensor([0, 1])
    off = task.scaled[rows] + torch.tensor([[0.0, 0.0], [3.0, 4.0]]) / 31.5
    torch.testing.assert_close(task.scores(off, rows)["error"], torch.tensor([0.0, 5.0]), atol=1e-4, rtol=0)


def test_iou_counts_pixels_above_one_half() -> None:
    task, rows = make(task="rendering").task, torch.tensor([0, 0])
    logits = torch.full((2, 1, 64, 64), -1.0)
    logits[0, 0, :9, :18] = 1  # twice as wide as the square
    assert task.scores(logits, rows)["iou"].tolist() == [0.5, 0.0]


# ---- pictures


def test_a_perfect_prediction_looks_like_its_target() -> None:
    target = torch.zeros(64, 64)
    target[10, 20] = 3
    sheet = sums(target, target)
    left, right = sheet[:, : 64 * 4], sheet[:, -64 * 4 :]
    np.testing.assert_array_equal(left, right)
    assert (left[40, 80] != 255).any()
    assert (left[0, 0] == 255).all()


def test_the_close_up_shows_the_pixels_around_a_target_and_where_the_canvas_ends() -> None:
    logits = torch.zeros(64, 64)
    logits[0, 3], logits[2, 2], logits[20, 20] = -5, 5, 100  # the last lies outside the close-up
    sheet = zoomed(logits, (0, 3), 0)
    assert sheet.shape == (255, 255, 3)

    def pixel(row: int, column: int) -> list[int]:
        colour: list[int] = sheet[(row + 8) * 15 + 7, (column - 3 + 8) * 15 + 7].tolist()
        return colour

    assert pixel(0, 3) == [255, 255, 255]  # the least
    assert pixel(2, 2) == [31, 60, 136]
    assert pixel(5, 5) == [143, 158, 196]  # half way
    assert pixel(-1, 3) == pixel(0, -1) == [200, 200, 200]
    assert sheet[8 * 15, 8 * 15].tolist() == [222, 110, 20]
    assert zoomed(torch.zeros(64, 64), (30, 30), 4).max() == 255  # a flat map is none of an error


def test_arrows_may_leave_the_canvas() -> None:
    true = torch.tensor([[4.0, 4.0], [30.0, 30.0]])
    sheet = arrows(true, torch.tensor([[math.nan, math.inf], [30.0, 40.0]]))
    assert (sheet[244, 284] == [31, 60, 136]).all()  # on the way from (30, 30) to (30, 40)


def test_walks_stay_on_the_data_and_loops_close() -> None:
    loop, pair = walks(60, 16, "loop", 0), walks(60, 16, "pair", 0)
    for rows in (loop, pair):
        assert rows.shape == (60, 16)
        assert 0 <= int(rows.min()) <= int(rows.max()) < 3136
    steps = torch.stack([loop // 56, loop % 56]).diff(dim=1, append=torch.stack([loop // 56, loop % 56])[:, :1])
    assert steps.abs().max() <= 7
    assert torch.equal(loop, walks(60, 16, "loop", 0))
    assert not torch.equal(loop, walks(60, 16, "loop", 1))


@pytest.mark.parametrize("task", TASKS)
def test_a_film_shows_what_is_asked_for_and_what_is_said(task: str) -> None:
    film = make(task=task).film(frames=2, count=3, path="loop", seed=0)
    assert film.shape == (2, 3, 3, 128, 128)
    assert (film == np.array([222, 110, 20])[:, None, None]).all(2).any((2, 3)).all()


# ---- the command


def test_the_task_chooses_the_file_and_the_split_its_task(tmp_path: Path) -> None:
    order = parse("vision", ["--task", "rendering", "--split", "quadrant", "--coord", "--steps", "7"])
    config = order.config
    assert isinstance(config, VisionConfig)
    assert (order.name, order.task, order.arm) == ("rendering", "quadrant", "coord")
    assert (config.task, config.split, config.coord, config.steps) == ("rendering", "quadrant", True, 7)
    assert parse("vision", []).experiment.name == "classification"
    own = tmp_path / "own.yaml"
    own.write_text("study: vision\nexperiment: {task: regression}\n")
    order = parse("vision", ["--config", str(own), "--split", "quadrant"])
    assert (order.name, order.task, order.config.model_dump()["split"]) == ("own", None, "quadrant")


MISTAKES = {
    "--task regresion": ["--task is 'regresion'", "did you mean 'regression'?"],
    "--split quadrnt": ["--split", "'quadrnt' is not one of uniform, quadrant", "did you mean 'quadrant'?"],
    "--config vision/rendering --task regression": ["--task is 'regression'", "is for 'rendering'"],
    "--batch 3000": ["must not exceed the training set (2407 images)"],
    "--arm mached": ["no arm 'mached'", "did you mean 'matched'?"],
}


@pytest.mark.parametrize("flags", MISTAKES)
def test_a_wrong_name_is_one_line(flags: str) -> None:
    with pytest.raises(UserError) as refused:
        parse("vision", flags.split())
    assert all(text in str(refused.value) for text in MISTAKES[flags])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_comparison_runs_every_split_as_the_command_does(task: str) -> None:
    plan = parse_plan([f"vision/{task}", "--seeds", "1"])
    assert plan.tasks == ("uniform", "quadrant")
    for cell in plan.cells():
        order = parse("vision", [f"--config=vision/{task}", f"--split={cell.task}", f"--arm={cell.arm}"])
        assert (order.task, order.arm, order.config) == (cell.task, cell.arm, plan.config(cell))
        assert order.config.model_dump()["split"] == cell.task
    for flag, said in (("--task=regression", "unknown argument"), ("--split=quadrant", "--tasks names some")):
        with pytest.raises(UserError, match=said):
            parse_plan([f"vision/{task}", flag])


@pytest.mark.parametrize("task", TASKS)
def test_the_files_say_which_task_they_are_for(task: str) -> None:
    experiment = load_experiment(f"vision/{task}")
    assert experiment.values["task"] == task
    assert {"conv", "coord", "matched", "matched_coord", "position_free", "position_free_coord"} <= set(experiment.arms)
    assert study_spec("vision").scores_of(experiment.resolve("coord", task="uniform"))[0].tag.startswith("score/test_")


def test_runs_with_different_primary_scores_are_not_compared(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("study: vision\narms: {a: {task: regression}, b: {task: rendering}}\n")
    with pytest.raises(UserError, match=r"\(a, seed 0\) and \(b, seed 0\) of .* have different primary scores"):
        parse_plan([str(own)])


def test_an_unknown_task_in_a_file_is_named() -> None:
    with pytest.raises(UserError, match="allowed are classification, regression, rendering"):
        validated(VisionConfig, {"task": "x"}, COMMAND_LINE)
