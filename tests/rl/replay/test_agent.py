"""DQN and Ape-X through the study: a step, a checkpoint, scores and films, and what does not go together."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl.spec import RlConfig
from rl.study import RlStudy
from sandbox.base.errors import UserError
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.nn.coordconv import CoordConv2d
from sandbox.train.checkpoints import newest_checkpoint, save_checkpoint
from sandbox.train.device import make_fabric
from sandbox.train.make import restore

TINY: dict[str, Any] = {
    "env": "minatar:breakout", "steps": 40, "batch": 4, "envs": 2, "games": 2, "max_frames": 40, "log_every": 1,
    "minibatch": 8, "updates": 2, "replay": 500, "learning_starts": 60, "target_every": 7, "width": 4,
    "features_dim": 16,
}  # fmt: skip


def make(**fields: Any) -> Any:
    torch.manual_seed(fields.get("seed", 0))
    return RlStudy(RlConfig(**{**TINY, "agent": "dqn", **fields}), make_fabric("cpu", "32"))


@pytest.mark.parametrize(
    "fields",
    [{}, {"agent": "apex"}, {"env": "Breakout", "threads": 1, "saliency": 2, "learning_starts": 20}],
    ids=["dqn", "apex", "atari"],
)
def test_a_step_plays_and_learns_and_scores_and_films_are_made(fields: dict[str, Any]) -> None:
    study = make(**{"saliency": 3, **fields}, coord=True)
    before = [parameter.detach().clone() for parameter in study.agent.policy.parameters()]
    rows = [study.step(step) for step in (1, 2)]
    assert all(torch.isfinite(value) for row in rows for value in row.values())
    assert not all(torch.equal(*pair) for pair in zip(before, study.agent.policy.parameters(), strict=True))
    played = study.config.learning_starts + 2 * 4
    assert played - 2 * 3 <= len(study.agent.store) <= played  # but for what has begun and not ended
    found = study.evaluate()
    assert found == study.evaluate()
    assert np.isfinite(found["score/return_without_coordinates"])
    assert study.film(frames=3, count=2, path="loop", seed=0).shape[:2] == (3, 2)
    assert study.films()["saliency"][0].ndim == 4
    assert study.preview()[0].ndim == 3
    encoder = study.encoder()
    assert encoder.network(encoder.example()).shape[0] == 2
    assert study.costs()["parameters"]["policy"] == sum(p.numel() for p in study.agent.policy.parameters())


def test_exploration_falls_over_a_share_of_the_run_and_is_each_game_s_own_in_apex() -> None:
    agent = make(explore=0.5).agent  # of 40 updates of 2 steps a game
    assert [float(agent.epsilons(step)[0]) for step in (-5, 0, 20, 40, 80)] == pytest.approx([1, 1, 0.505, 0.01, 0.01])
    assert make(agent="apex").agent.epsilons(7).tolist() == pytest.approx([0.4, 0.4**8])


def test_new_transitions_come_first_in_dqn_and_by_their_own_error_in_apex() -> None:
    stores = {}
    for name in ("dqn", "apex"):
        agent = make(agent=name).agent
        agent.begin([])
        agent._keep(-30, 30)
        stores[name] = agent.store.sample(200, 0, 1)["priority_weight"]
    assert float(stores["dqn"].min()) == pytest.approx(1, rel=1e-4)  # all alike
    assert float(stores["apex"].min()) < 0.9


def test_arms_draw_alike_and_a_step_follows_from_seed_and_step() -> None:
    studies = [make(coord=False), make(coord=False), make(coord=True)]
    with torch.no_grad():
        for layer in studies[2].agent.policy.modules():
            if isinstance(layer, CoordConv2d):
                layer.coordinate_weight.zero_()
    for stir, study in enumerate(studies):
        torch.manual_seed(stir)
        study._begin(1)
        study.agent._fill(0)
    drawn = [study.agent.store.sample(16, 0, 9) for study in studies]
    for other in drawn[1:]:
        assert torch.equal(drawn[0]["observation"], other["observation"])
        assert torch.equal(drawn[0]["action"], other["action"])
    for study in studies[:2]:
        study.step(1)
    one, two = (study.agent.policy.state_dict() for study in studies[:2])
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_restored_run_fills_its_replay_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = make()
    for step in range(1, 11):
        study.step(step)
    save_checkpoint(tmp_path, 10, study.modules, study.optimisers, {}, study.state_dict())
    again, found = make(), newest_checkpoint(tmp_path)
    assert found is not None
    restore(again, found)
    theirs = again.agent.learner.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in study.agent.learner.state_dict().items())
    assert again.agent._largest == study.agent._largest
    said = "warning: the replay is in no checkpoint: 60 agent steps are played before the run learns on\n"
    assert said not in capfd.readouterr().err
    again.step(11)
    shown = capfd.readouterr().err
    assert said in shown
    assert "filling the replay:" in shown
    assert len(again.agent.store) >= 60 - 6
    assert int(again.agent.optimiser.state_dict()["state"][0]["step"]) == 11 * 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"agent": "dqn", "entropy": 0.5}, "entropy (0.5) is a setting of a2c and ppo alone"),
        ({"agent": "a2c", "replay": 7}, "replay (7) is a setting of dqn and apex alone"),
        ({"agent": "apex", "explore": 0.7}, "explore (0.7) is a setting of dqn alone"),
        ({"agent": "dqn", "heads": "actor"}, "heads (actor) is a setting of a2c and ppo alone"),
        ({"agent": "dqn", "compile": True}, "compile (True) is a setting of a2c and ppo alone"),
        ({"agent": "dqn", "minibatch": 64, "replay": 32}, "minibatch (64) must not be larger than replay (32)"),
        (
            {**TINY, "agent": "apex", "replay": 199},
            "replay (199) must hold at least 200: twice what 2 games (envs) play",
        ),
        ({**TINY, "agent": "dqn", "learning_starts": 96, "multi_step": 50}, "learning_starts (96) must be at least 97"),
    ],
)
def test_what_does_not_go_together_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        validated(RlConfig, values, COMMAND_LINE)


def test_a_replay_that_does_not_fit_is_refused_before_anything_is_played() -> None:
    with pytest.raises(UserError, match=r"a replay of 100,000 transitions takes .* replay_bytes allows 0.00 GB"):
        make(replay=100_000, replay_bytes=10**6)


def test_the_least_play_that_is_allowed_suffices() -> None:
    study = make(learning_starts=97, multi_step=50, replay=200)
    assert np.isfinite(float(study.step(1)["train/loss"]))


def test_kernels_that_no_picture_holds_are_one_line() -> None:
    for agent in ("dqn", "a2c", "ppo"):
        with pytest.raises(UserError, match=r"--kernels is '8x4 4x2 3x1', and pictures of \(4, 10, 10\) are too small"):
            RlStudy(RlConfig(env="minatar:breakout", agent=agent, kernels="8x4 4x2 3x1"), make_fabric("cpu", "32"))


def test_bytes_and_floats_of_them_are_one_picture() -> None:
    policy = make(env="Breakout", threads=1, learning_starts=20).agent.policy
    picture = torch.randint(0, 256, (3, 4, 84, 84), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    bytes_, floats = (policy.get_distribution(x).distribution.probs for x in (picture, picture.float()))
    torch.testing.assert_close(bytes_, floats)
    values = policy.features_extractor(picture)
    torch.testing.assert_close(values, policy.features_extractor(picture.float() / 255))
