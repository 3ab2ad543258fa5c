"""PPO and the table of agents, recipes by agent and suite, and draws that arms share."""

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from rl.agents import AGENTS
from rl.one_pass import Draws
from rl.policies import CoordCNN
from rl.recipes import OWNERS, USUAL, AgentName, recipe
from rl.saliency import coordinate_map, picture_map
from rl.spec import RlConfig, failed, margin, parse_kernels, scores
from rl.study import RlStudy
from rl.suites import SUITES
from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse as parse_plan
from sandbox.cli.train import parse
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.train.checkpoints import newest_checkpoint, save_checkpoint
from sandbox.train.device import make_fabric
from sandbox.train.make import restore

TINY: dict[str, Any] = {"steps": 6, "batch": 8, "envs": 2, "games": 2, "max_frames": 60, "log_every": 1}
PPO_TINY: dict[str, Any] = {**TINY, "agent": "ppo", "minibatch": 4, "epochs": 2}


def make(**fields: Any) -> Any:
    torch.manual_seed(fields.get("seed", 0))
    return RlStudy(RlConfig(**{"env": "minatar:breakout", **fields}), make_fabric("cpu", "32"))


# ---- recipes


def test_every_agent_and_suite_has_a_recipe_of_real_fields() -> None:
    assert AGENTS.keys() == set(get_args(AgentName))
    for agent in AGENTS:
        for suite in SUITES:
            config = RlConfig(agent=agent, env="minatar:breakout" if suite == "minatar" else "Pong")  # type: ignore[arg-type]
            assert {name: getattr(config, name) for name in recipe(agent, suite)} == recipe(agent, suite)
            assert config.model_fields_set == {"agent", "env"}
    assert {name: RlConfig.model_fields[name].default for name in USUAL} == USUAL  # what --help shows
    assert OWNERS.keys() <= RlConfig.model_fields.keys()


def test_ppo_has_the_zoo_s_atari_settings() -> None:
    config = RlConfig(agent="ppo")
    assert (config.envs, config.n_steps, config.epochs, config.minibatch, config.clip) == (8, 128, 4, 256, 0.1)
    assert (config.lr, config.lr_schedule, config.gae_lambda, config.value) == (2.5e-4, "linear", 0.95, 0.5)
    assert abs(config.goal - 10_000_000) < config.batch
    nine = load_experiment("rl/nine_games_ppo").resolve("coord", task="Enduro")
    assert abs(nine.goal - 1_000_000) < nine.batch


def test_what_is_given_wins_and_what_follows_follows_from_the_command_line() -> None:
    assert RlConfig(agent="ppo", lr=1e-3).lr == 1e-3
    order = parse("rl", ["--env", "minatar:Breakout", "--agent", "ppo", "--coord"])
    assert (order.name, order.config) == ("minatar_breakout", RlConfig(env="minatar:breakout", agent="ppo"))
    smoke = parse("rl", ["--env", "minatar:breakout", "--agent", "ppo", "--smoke"]).config
    assert (smoke.model_dump()["width"], smoke.model_dump()["kernels"]) == (4, "3x1")
    again = validated(RlConfig, order.config.model_dump(mode="json"), "config.yaml")
    assert again == order.config  # as a run's file is read


def test_an_old_run_s_file_means_what_it_meant() -> None:
    old = RlConfig().model_dump(mode="json")
    for new in ("agent", "kernels", "features_dim", "ramping", "epochs", "minibatch", "clip", "adam_eps"):
        del old[new]
    assert validated(RlConfig, {**old, "lr": 1e-3}, "config.yaml") == RlConfig(lr=1e-3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"agent": "pp"}, "did you mean 'ppo'"),
        ({"clip": 0.2}, "clip (0.2) is a setting of ppo alone"),
        ({"env": "minatar:breakout", "frameskip": 2}, "frameskip (2) is a setting of atari alone"),
        ({"ramping": False}, "ramping (False) is a setting of minatar alone"),
        ({"agent": "ppo", "minibatch": 100}, "minibatch (100) must divide batch (1024)"),
        ({"kernels": "8-4"}, "kernel size x stride: 8x4 4x2 3x1"),
        ({"env": "minatar:brekout"}, "did you mean minatar:breakout?"),
    ],
)
def test_what_does_not_go_together_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        validated(RlConfig, values, COMMAND_LINE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_minatar_s_arms_pair_and_its_margin_is_of_its_own_references() -> None:
    plan = parse_plan(["rl/minatar"])
    assert (len(plan.cells()), len(plan.seeds)) == (300, 10)
    for task in plan.tasks:
        configs = {arm: plan.experiment.resolve(arm, task=task) for arm in plan.arms}
        for end in ("flatten", "mean", "mean_deep"):
            assert configs[f"conv_{end}"].differs_by_coordinates_alone(configs[f"coord_{end}"])
        assert all(abs(config.goal - 300_000) < config.batch for config in configs.values())
    config = RlConfig(env="minatar:freeway")
    found = margin(config)
    assert found is not None
    assert (found.value, found.fresh_from) == (pytest.approx((47 - 0.13) / 20), 0)
    assert failed(config, {"score/return": 0.1}) == "return 0.1, random play has 0.13"
    assert failed(config, {"score/return": 0.2}) == ""
    assert [score.tag for score in scores(config)] == [
        "score/return", "score/published_normalised", "score/return_without_coordinates"
    ]  # fmt: skip


# ---- draws


def test_draws_follow_the_policy_s_law() -> None:
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    draws = Draws(torch.Generator().manual_seed(3))
    found = torch.cat([draws.of(chances.log().expand(500, 4)) for _ in range(40)])
    for action, chance in enumerate(chances.tolist()):
        assert float((found == action).float().mean()) == pytest.approx(chance, abs=4 * math.sqrt(chance / 20_000))


def test_policies_that_agree_draw_alike() -> None:
    logits, other = torch.randn(2, 1000, 6, generator=torch.Generator().manual_seed(0))
    same = [Draws(torch.Generator().manual_seed(1)).of(part) for part in (logits, logits + 3.0, logits + 0.05 * other)]
    assert torch.equal(same[0], same[1])  # logits may be shifted
    assert float((same[0] == same[2]).float().mean()) > 0.95
    assert not torch.equal(same[0], Draws(torch.Generator().manual_seed(2)).of(logits))


@pytest.mark.parametrize("fields", [TINY, PPO_TINY], ids=["a2c", "ppo"])
def test_an_update_draws_from_seed_and_step_alone(fields: dict[str, Any]) -> None:
    """Whatever else was drawn before; arms whose coordinates say nothing yet choose alike."""
    found = []
    for coord, stir in ((False, 0), (False, 7), (True, 0)):
        study = make(**fields, coord=coord)
        if coord:
            with torch.no_grad():
                study.agent.policy.features_extractor.cnn[0].coordinate_weight.zero_()
        torch.manual_seed(stir)
        np.random.seed(stir)  # noqa: NPY002
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        study.step(1)
        assert torch.equal(torch.get_rng_state(), before[0])
        if study.config.agent == "ppo":  # stable-baselines3 orders A2C's one batch, in vain
            assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
        found.append((study.agent.model.rollout_buffer.actions.copy(), study.agent.policy.state_dict()))
    assert all(np.array_equal(found[0][0], actions) for actions, _ in found[1:])
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], rtol=0, atol=1e-6)


# ---- PPO


def test_a_step_is_a_rollout_and_its_epochs_and_rates_fall_over_the_run() -> None:
    study = make(**PPO_TINY)
    assert isinstance(study.agent.model, PPO)
    assert (study.agent.model.n_epochs, study.agent.model.batch_size) == (2, 4)
    (group,) = study.agent.optimiser.param_groups
    assert (type(study.agent.optimiser).__name__, group["eps"]) == ("Adam", 1e-5)
    rows = [study.step(step) for step in range(1, 7)]
    assert all(torch.isfinite(value) for row in rows for value in row.values())
    assert [float(row["train/clip_range"]) for row in rows] == pytest.approx(
        [0.1 * left / 6 for left in range(5, -1, -1)]
    )
    assert [float(row["train/learning_rate"]) for row in rows] == pytest.approx(
        [1e-3 * left / 6 for left in range(5, -1, -1)]
    )
    steps = study.agent.optimiser.state_dict()["state"][0]["step"]
    assert int(steps) == 6 * 2 * 2  # updates x epochs x minibatches


def test_a_restored_ppo_goes_on(tmp_path: Path) -> None:
    study = make(**{**PPO_TINY, "steps": 40})
    for step in range(1, 21):
        study.step(step)
    save_checkpoint(tmp_path, 20, study.modules, study.optimisers, {}, study.state_dict())
    again, found = make(**{**PPO_TINY, "steps": 40}), newest_checkpoint(tmp_path)
    assert found is not None
    restore(again, found)
    assert [game["r"] for game in again.games] == [game["r"] for game in study.games] != []
    after = again.step(21)
    assert again.agent.model.num_timesteps == 21 * 8
    assert float(after["train/learning_rate"]) == pytest.approx(1e-3 * 19 / 40)
    assert int(again.agent.optimiser.state_dict()["state"][0]["step"]) == 21 * 4


@pytest.mark.parametrize("heads", ["shared", "actor"])
def test_ppo_learns_what_stable_baselines3_learns_from_the_same_rollout(heads: str) -> None:
    """Its own PPO, trained on a copy of the same buffer in the same order."""
    study = make(**PPO_TINY, heads=heads)
    theirs, ours = make(**PPO_TINY, heads=heads).agent.model, study.agent.model
    study.step(1)
    theirs.set_logger(ours.logger)
    theirs.rollout_buffer = ours.rollout_buffer
    theirs._current_progress_remaining = ours._current_progress_remaining
    generator = study.agent.ordered(1)
    with generator:
        theirs.train()
    for name, value in ours.policy.state_dict().items():
        torch.testing.assert_close(value, theirs.policy.state_dict()[name], rtol=0, atol=1e-6)


# ---- MinAtar through the study


def test_the_network_is_the_published_one_and_planes_are_not_scaled() -> None:
    study = make(coord=False)
    extractor = study.agent.policy.features_extractor
    assert isinstance(extractor, CoordCNN)
    assert str(extractor.cnn[0]).startswith("Conv2d(4, 16, kernel_size=(3, 3), stride=(1, 1))")
    assert extractor.linear[0].weight.shape == (128, 16 * 8 * 8)
    planes = torch.from_numpy(study.env.reset())
    assert torch.equal(extractor.look(planes), extractor.look(planes.float()))
    assert float(extractor.look(planes).detach().abs().max()) > 0.05  # of ones, not of 1 / 255
    deep = make(coord=True, pooling="mean", kernels="3x1 3x1 3x1").agent.policy.features_extractor
    assert [layer.weight.shape[0] for layer in deep.cnn if hasattr(layer, "weight")] == [16, 32, 32]
    assert parse_kernels("3x1  8x4") == ((3, 1), (8, 4))


@pytest.mark.parametrize("agent", ["a2c", "ppo"])
def test_scores_films_and_the_probe_s_encoder_work_on_minatar(agent: str) -> None:
    study = make(**(PPO_TINY if agent == "ppo" else TINY), coord=True, saliency=3)
    study.step(1)
    found = study.evaluate()
    assert found.keys() >= {score.tag for score in scores(study.config)}
    assert found["score/published_normalised"] == pytest.approx((found["score/return"] - 0.52) / (17.5 - 0.52))
    assert found == study.evaluate()
    assert study.film(frames=3, count=2, path="loop", seed=0).shape == (3, 2, 3, 160, 160)
    assert study.preview()[0].shape == (164, 164, 3)
    film, fps = study.films()["saliency"]
    assert (film.shape, fps) == ((3, 22 + 160 + 12, 12 + 2 * 172, 3), 8)
    encoder = study.encoder()
    assert encoder.network(encoder.example()).shape[0] == 2
    costs = study.costs()
    assert costs["protocol"] == {"sticky": 0.1, "ramping": True, "max_frames": 60, "clip_rewards": False,
                                 "full_actions": True}  # fmt: skip
    assert costs["actions"] == ["n", "l", "u", "r", "d", "f"]


def test_saliency_on_planes_is_of_single_places_that_are_emptied() -> None:
    study = make(coord=True)
    policy, plane = study.agent.policy, torch.zeros(4, 10, 10, dtype=torch.uint8)
    with torch.no_grad():
        policy.action_net.weight.mul_(100)
    assert float(picture_map(policy, plane).abs().max()) < 1e-6  # nothing to empty
    plane[1, 3, 7] = 1
    heat = picture_map(policy, plane)
    assert (heat.shape, float(heat[3, 7])) == ((10, 10), float(heat.max()))
    assert int((heat > 1e-6).sum()) == 1
    assert float(coordinate_map(policy, plane).max()) > 0
