"""The study's promises to the loop, its scores and its film."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from rl.games import REFERENCES, games
from rl.policies import CoordCNN
from rl.spec import RlConfig, scores
from rl.study import RlStudy
from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse as parse_plan
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.nn.counting import multiply_adds
from sandbox.train.checkpoints import newest_checkpoint, save_checkpoint
from sandbox.train.device import make_fabric
from sandbox.train.make import restore

TINY = {"steps": 6, "batch": 4, "envs": 2, "width": 4, "log_every": 2, "games": 2, "max_frames": 160, "threads": 1}


def make(**fields: Any) -> RlStudy:
    config = RlConfig(**{**TINY, "env": "Breakout", **fields})
    torch.manual_seed(config.seed)
    return RlStudy(config, make_fabric("cpu", "32"))


# ---- configuration


def test_the_defaults_are_the_zoo_s() -> None:
    config = RlConfig()
    assert config.steps * config.batch == config.goal == 10_000_000
    assert (config.envs, config.n_steps, config.entropy, config.value) == (16, 5, 0.01, 0.25)
    assert (config.lr, config.lr_schedule, config.gamma, config.gae_lambda) == (7e-4, "constant", 0.99, 1.0)
    study = make()
    (group,) = study.agent.model.policy.optimizer.param_groups
    assert isinstance(study.agent.model.policy.optimizer, RMSpropTFLike)
    assert (group["eps"], group["alpha"]) == (1e-5, 0.99)


def test_learning_and_evaluation_differ_in_lives_and_clipping_alone() -> None:
    config = RlConfig(sticky=0.25, noop_max=7)
    learning, evaluation = (config.protocol(learning=it).document() for it in (True, False))
    differing = {name for name in learning if learning[name] != evaluation[name]}
    assert differing == {"life_loss", "clip_rewards"}
    assert evaluation["sticky"] == 0.25
    assert not evaluation["life_loss"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"env": "MsPackman"}, "did you mean 'MsPacman'"),
        ({"batch": 81}, "multiple of envs"),
        ({"heads": "actors"}, "did you mean 'actor'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validated(RlConfig, values, COMMAND_LINE)


def test_every_arm_of_every_game_resolves_and_pairs() -> None:
    for name in ("rl/mspacman", "rl/nine_games"):
        experiment = load_experiment(name)
        for task in experiment.tasks or [None]:  # type: ignore[list-item]
            configs = {arm: experiment.resolve(arm, task=task) for arm in experiment.arms}
            assert configs["conv"].differs_by_coordinates_alone(configs["coord"])
            assert configs["two_trunks"].differs_by_coordinates_alone(configs["actor"])
            assert not configs["conv"].differs_by_coordinates_alone(configs["wide"])
            assert all(config.sees_the_same(configs["conv"]) for config in configs.values())
            assert games()[configs["conv"].env] in REFERENCES  # type: ignore[attr-defined]
    assert len(experiment.tasks) == 9
    assert parse_plan(["rl/nine_games", "--seeds", "2"]).options


def test_wide_has_at_least_the_parameters_and_multiply_adds_of_coord() -> None:
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    plain, coord, wide = (
        CoordCNN(space, coord=coord, width=width) for coord, width in ((False, 32), (True, 32), (False, 33))
    )
    parameters = [sum(p.numel() for p in network.parameters()) for network in (plain, coord, wide)]
    counted = [multiply_adds(network, torch.zeros(1, 4, 84, 84)) for network in (plain, coord, wide)]
    assert parameters[0] < parameters[1] <= parameters[2]
    assert counted[0] <= counted[1] <= counted[2]


# ---- training


def test_the_rate_counts_the_steps_since_the_last_point(monkeypatch: pytest.MonkeyPatch) -> None:
    study, clock = make(log_every=2), [0.0]
    monkeypatch.setattr("rl.study.time.perf_counter", lambda: clock[0])
    study.preview()  # as the loop does before the first step
    rates = []
    for step in range(1, 5):
        clock[0] += 1.0
        rates.append(study.step(step).get("time/fps"))
    assert rates == [None, 4.0, None, 4.0]  # a batch is 4 agent steps


def test_a_step_plays_and_learns_and_says_so_under_stable_baselines3_s_tags() -> None:
    study = make(log_every=15, max_frames=100, noop_max=0)
    before = {name: value.clone() for name, value in study.agent.model.policy.state_dict().items()}
    rows = [study.step(step) for step in range(1, 31)]
    tags = {"train/learning_rate", "train/entropy_loss", "train/policy_loss", "train/value_loss"}
    assert all(
        tags <= row.keys() <= tags | {"train/explained_variance"}
        for row in rows
        if row is not rows[14] and row is not rows[29]
    )
    assert rows[29].keys() - rows[0].keys() >= {"time/fps", "rollout/ep_rew_mean", "rollout/ep_len_mean"}
    assert float(rows[29]["rollout/ep_len_mean"]) == 101  # frames: games are cut there, after FIRE
    assert all(torch.isfinite(value) for row in rows for value in row.values())
    after = study.agent.model.policy.state_dict()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert any("cnn.0.weight" in name for name in changed)
    assert study.agent.model.num_timesteps == 30 * 4


@pytest.mark.parametrize(("coord", "heads"), [(False, "shared"), (True, "actor")])
def test_the_seed_repeats_a_run(coord: bool, heads: str) -> None:
    """Games and actions exactly, weights to rounding (sums depend on where in memory the pictures lie)."""
    runs = []
    for _ in range(2):
        study = make(coord=coord, heads=heads, seed=5)
        for step in range(1, 5):
            study.step(step)
        buffer = study.agent.model.rollout_buffer
        runs.append((buffer.observations.copy(), buffer.actions.copy(), study.agent.model.policy.state_dict()))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1])
    for name, value in runs[0][2].items():
        torch.testing.assert_close(value, runs[1][2][name], rtol=0, atol=1e-4)


def test_both_arms_start_the_same_games() -> None:
    plain, coord = make(coord=False, noop_max=30), make(coord=True, noop_max=30)
    assert np.array_equal(plain.preview()[0], coord.preview()[0])
    assert not np.array_equal(plain.preview()[0], make(seed=3).preview()[0])


def _played(study: RlStudy) -> list[tuple[float, float]]:
    """Return and length of the newest whole games."""
    return [(game["r"], game["l"]) for game in study.games]


def test_a_restored_study_goes_on_with_counters_optimiser_schedule_and_means(tmp_path: Path) -> None:
    """The emulators alone start anew."""
    settings: dict[str, Any] = {"lr_schedule": "linear", "steps": 40, "log_every": 1, "max_frames": 60, "noop_max": 0}
    study = make(**settings)
    for step in range(1, 21):
        last = study.step(step)
    save_checkpoint(tmp_path, 20, study.modules, study.optimisers, {}, study.state_dict())
    again, found = make(**settings), newest_checkpoint(tmp_path)
    assert found is not None
    restore(again, found)
    for name, value in study.agent.model.policy.state_dict().items():
        assert torch.equal(value, again.agent.model.policy.state_dict()[name])
    assert _played(again) == _played(study) != []
    after = again.step(21)
    assert again.agent.model.num_timesteps == 84
    assert float(last["train/learning_rate"]) == pytest.approx(7e-4 / 2)
    assert float(after["train/learning_rate"]) == pytest.approx(7e-4 * 19 / 40)
    assert len(again.games) >= len(study.games)


def test_the_record_holds_the_newest_hundred() -> None:
    study, again = make(), make()
    again.load_state_dict(study.state_dict())
    assert again.games == study.games == []
    study._begin(1)
    assert study.agent.model.ep_info_buffer is not None
    study.agent.model.ep_info_buffer.extend({"r": k + 0.1, "l": k + 1, "t": 0.0} for k in range(130))
    study.step(1)
    again.load_state_dict(study.state_dict())
    assert len(again.games) == 100
    assert _played(again) == _played(study)
    assert (129.1, 130) in _played(again)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = make_fabric("cpu", "32")
    monkeypatch.setattr("sandbox.train.processes.count", lambda: 2)
    with pytest.raises(UserError, match="one process"):
        RlStudy(RlConfig(**TINY), fabric)


# ---- scores and pictures


def test_the_evaluation_plays_whole_games_in_full_and_repeats_itself() -> None:
    study = make(max_frames=100_000, life_loss=True)
    torch.manual_seed(9)
    stream = torch.get_rng_state()
    found = study.evaluate()
    assert torch.equal(torch.get_rng_state(), stream)  # what is looked at does not change what is learned
    assert found.keys() >= {score.tag for score in scores(study.config)}
    assert study_spec("rl").scores_of(study.config)[0].tag == "score/return"
    assert found["score/games"] == 2
    assert found["score/frames"] > 400  # five lives
    assert found["score/human_normalised"] == pytest.approx((found["score/return"] - 1.7) / (30.5 - 1.7))
    short = make(max_frames=100)
    assert short.evaluate() == short.evaluate()
    assert math.isnan(make(env="Tetris", games=1, max_frames=40).evaluate()["score/human_normalised"])


def test_the_film_shows_the_game_in_colour_at_its_own_size() -> None:
    study = make()
    film = study.film(frames=12, count=2, path="loop", seed=0)
    assert film.shape == (12, 2, 3, 210, 160)
    assert (film.max(2) != film.min(2)).any()  # colours
    assert np.array_equal(film, study.film(frames=12, count=2, path="loop", seed=0))
    assert not np.array_equal(film, study.film(frames=12, count=2, path="loop", seed=1))
    assert study.preview()[0].shape == (88, 88, 3)  # one of two games: a square of as many as fit
