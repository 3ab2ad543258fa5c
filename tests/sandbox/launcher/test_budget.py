"""Equal multiply-adds: counted by hand, and no arm computes more than the reference."""

import pytest
from shop import WORKSHOP

from sandbox.experiment.file import load_experiment
from sandbox.launcher.budget import equal_steps, step_multiply_adds

TOY = str(WORKSHOP / "toy.yaml")


def test_a_step_of_the_toy_costs_what_one_counts_by_hand() -> None:
    # Batch 8, layers 2x4 and 4x1: forward 64 + 32; weight gradients the same; of the inputs only the head's: 32.
    assert step_multiply_adds("toy", load_experiment(TOY).resolve("conv")) == 64 + 32 + 64 + 32 + 32
    assert step_multiply_adds("toy", load_experiment(TOY).resolve("coord")) == 128 + 32 + 128 + 32 + 32


def test_the_reference_keeps_its_steps_and_the_others_get_what_they_can_pay() -> None:
    experiment = load_experiment(TOY)
    configs = {arm: experiment.resolve(arm) for arm in ("conv", "coord")}
    assert equal_steps("toy", configs) == {"conv": 11, "coord": 7}  # 11 * 224 / 352
    assert equal_steps("toy", dict(reversed(configs.items()))) == {"coord": 11, "conv": 17}


def test_a_gan_s_penalty_is_counted_over_the_steps_between_two() -> None:
    experiment = load_experiment("gan/sort_of_clevr")
    small = {"width": "1", "d_width": "1", "batch": "2", "steps": "1000"}
    rare, often = (
        step_multiply_adds("gan", experiment.resolve("conv", {**small, "penalty_every": every})) for every in ("4", "2")
    )
    without = step_multiply_adds("gan", experiment.resolve("conv", {**small, "gamma": "0", "penalty_every": "2"}))
    assert often - without == pytest.approx(2 * (rare - without), rel=1e-6)
    steps = equal_steps("gan", {arm: experiment.resolve(arm, small) for arm in ("conv", "coord")})
    assert 500 < steps["coord"] < steps["conv"] == 1000
