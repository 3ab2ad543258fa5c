"""The networks: which layers know where they are, what they can learn, and how they stand in stable-baselines3."""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import NatureCNN

from rl.envs import AtariVecEnv
from rl.policies import POLICIES, ActorCoordPolicy, CoordCNN, seed_policy
from sandbox.base.errors import UserError
from sandbox.nn.coordconv import CoordConv2d

sys.path.insert(0, str(Path(__file__).parent))
from pixels import Halves, everywhere, pictures, right

SPACE = spaces.Box(0, 255, (4, 84, 84), np.uint8)
PLACELESS: dict[str, Any] = {"padding_mode": "circular", "pooling": "max", "kernels": ((3, 1), (3, 1)), "width": 8}


def agent(coord: bool, heads: str = "shared", algorithm: Any = A2C, env: Any = None, **kwargs: Any) -> Any:
    beside = {name: kwargs.pop(name) for name in ("learning_rate", "n_steps", "batch_size", "buffer_size", "seed",
                                                  "ent_coef", "learning_starts") if name in kwargs}  # fmt: skip
    policy_kwargs = {"features_extractor_class": CoordCNN, "net_arch": [],
                     "features_extractor_kwargs": {"coord": coord, **kwargs}}  # fmt: skip
    env = env or FakeImageEnv(screen_height=40, screen_width=40, channel_first=True, n_channels=4)
    policy = POLICIES[heads] if algorithm is not DQN else "CnnPolicy"  # type: ignore[index]
    return algorithm(policy, env, policy_kwargs=policy_kwargs, device="cpu", **beside)


# ---- the network


def test_without_coordinates_it_is_stable_baselines3_s_network() -> None:
    ours, theirs = CoordCNN(SPACE, coord=False), NatureCNN(SPACE)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 4, 84, 84)
    assert torch.equal(ours(x), theirs(x))
    last = deepcopy(ours).to(memory_format=torch.channels_last)  # adds in another order
    torch.testing.assert_close(last(x), theirs(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layers", "known"), [("first", [True, False, False]), ("all", [True] * 3)])
def test_coordinates_are_where_they_are_asked_for(layers: Any, known: list[bool]) -> None:
    convs = [
        layer for layer in CoordCNN(SPACE, coord_layers=layers, with_r=True).cnn if isinstance(layer, torch.nn.Conv2d)
    ]
    assert [isinstance(layer, CoordConv2d) for layer in convs] == known
    assert isinstance(convs[0], CoordConv2d)
    assert convs[0].coordinate_weight.shape == (32, 3, 8, 8)
    assert not any(
        isinstance(layer, CoordConv2d) for layer in CoordCNN(SPACE, coord=False, coord_layers=layers).modules()
    )


def test_width_widens_every_convolution() -> None:
    assert [layer.weight.shape[0] for layer in CoordCNN(SPACE, width=33).cnn if isinstance(layer, torch.nn.Conv2d)] == [
        33,
        66,
        66,
    ]


@pytest.mark.parametrize(
    "space", [spaces.Box(0, 255, (4, 20, 20), np.uint8), spaces.Box(-1, 1, (4, 84, 84), np.float32)]
)
def test_what_it_cannot_see_is_refused(space: spaces.Box) -> None:
    with pytest.raises(ValueError, match="pictures"):
        CoordCNN(space)


def test_bf16_stays_near_float32_and_hands_on_float32() -> None:
    torch.manual_seed(0)
    half, full = CoordCNN(SPACE, bf16=True), CoordCNN(SPACE)
    half.load_state_dict(full.state_dict())
    x = torch.rand(2, 4, 84, 84)
    assert half(x).dtype == torch.float32
    assert (half(x) - full(x)).abs().max() < 0.03 * full(x).abs().max()
    agent(True, bf16=True).learn(5)


# ---- actor and critic


def test_the_actor_alone_knows_where_it_is() -> None:
    policy = agent(True, "actor").policy
    knows = {name: any(isinstance(layer, CoordConv2d) for layer in getattr(policy, name).modules())
             for name in ("pi_features_extractor", "vf_features_extractor")}  # fmt: skip
    assert knows == {"pi_features_extractor": True, "vf_features_extractor": False}
    assert isinstance(policy, ActorCoordPolicy)
    shared = agent(True).policy
    assert shared.pi_features_extractor is shared.vf_features_extractor
    optimised = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in policy.parameters()}


@pytest.mark.parametrize("heads", ["shared", "actor"])
def test_both_arms_start_from_the_same_content_weights(heads: str) -> None:
    conv, coord, again, other = (
        agent(*arm).policy for arm in [(False, heads), (True, heads), (True, heads), (True, heads)]
    )
    for policy, seed in ((conv, 3), (coord, 3), (again, 3), (other, 4)):
        torch.manual_seed(seed + 17)  # nothing comes from the global stream
        seed_policy(policy, seed)
    plain, weights = conv.state_dict(), coord.state_dict()
    assert {name.split(".", 1)[1] for name in weights.keys() ^ plain.keys()} == {"cnn.0.coordinate_weight"}
    for name, value in plain.items():
        assert torch.equal(value, weights[name])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in weights.items())
    first, coordinates = (weights[f"features_extractor.cnn.0.{part}weight"] for part in ("", "coordinate_"))
    assert not torch.equal(first, other.state_dict()["features_extractor.cnn.0.weight"])
    assert coordinates.std() == pytest.approx(float(first.std()), rel=0.1)
    flat = plain["features_extractor.cnn.0.weight"].flatten(1)
    torch.testing.assert_close(flat @ flat.T, 2 * torch.eye(32), atol=1e-4, rtol=0)  # orthogonal, gain sqrt(2)
    assert plain["action_net.weight"].norm(dim=1) == pytest.approx(0.01, rel=1e-3)


# ---- in plain stable-baselines3


@pytest.mark.parametrize("algorithm", [A2C, PPO, DQN])
def test_it_works_in_plain_stable_baselines3(algorithm: Any, tmp_path: Path) -> None:
    settings = {
        A2C: {"n_steps": 4},
        PPO: {"n_steps": 8, "batch_size": 4},
        DQN: {"buffer_size": 50, "learning_starts": 4},
    }
    model = agent(True, algorithm=algorithm, seed=0, **settings[algorithm])
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(16)
    changed = [name for name, value in model.policy.state_dict().items() if not torch.equal(value, before[name])]
    assert any("cnn.0.weight" in name for name in changed)
    model.save(tmp_path / "agent.zip")
    obs = model.get_env().reset()
    again = algorithm.load(tmp_path / "agent.zip")
    assert np.array_equal(again.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])


def test_the_readme_s_agent_learns_on_atari() -> None:
    policy_kwargs = {"features_extractor_class": CoordCNN, "features_extractor_kwargs": {"coord": True}, "net_arch": []}
    env = AtariVecEnv("Breakout", 2, threads=1)
    model = A2C("CnnPolicy", env, policy_kwargs=policy_kwargs, device="cpu")
    first = model.policy.state_dict()["features_extractor.cnn.0.weight"].clone()
    model.learn(40)
    assert not torch.equal(model.policy.state_dict()["features_extractor.cnn.0.weight"], first)
    assert model.num_timesteps == 40


# ---- a game in which only the place tells what to do


def accuracy(seed: int = 0, **kwargs: Any) -> float:
    """Share of right actions over all places, after a short training."""
    model = agent(
        kwargs.pop("coord"), env=Halves(32, seed), seed=seed, learning_rate=2e-3, n_steps=4, **{**PLACELESS, **kwargs}
    )
    model.learn(32 * 4 * 150)
    places = everywhere()
    actions, _ = model.predict(pictures(places), deterministic=True)
    return float((actions == right(places)).mean())


def test_coordinates_teach_an_agent_without_places_where_the_dot_is() -> None:
    assert accuracy(coord=True) > 0.9


def test_a_plain_agent_without_places_stays_at_chance() -> None:
    features = CoordCNN(Halves(1, 0).observation_space, 64, coord=False, **PLACELESS)
    x = torch.from_numpy(pictures(everywhere())).float() / 255
    torch.testing.assert_close(features(x), features(x[:1]).expand(len(x), -1))  # every place looks alike
    assert accuracy(coord=False) == 0.5


def test_without_padding_a_plain_agent_sees_the_border() -> None:
    """A leak: convolutions that stop at the border see a dot there less often, on the left through other taps."""
    features = CoordCNN(Halves(1, 0).observation_space, 64, coord=False, **{**PLACELESS, "padding_mode": "none"})
    row = torch.from_numpy(pictures(everywhere()[50:60])).float() / 255
    inside, edges = features(row[4:6]), features(row[[0, 9]])
    torch.testing.assert_close(inside[0], inside[1])  # beyond four columns from the border all look alike
    assert (edges[0] - edges[1]).abs().max() > 1e-3
    assert 0.6 < accuracy(coord=False, padding_mode="none") <= 0.9


def test_coordinates_go_to_the_convolutions_that_are_named() -> None:
    made = CoordCNN(SPACE, coord_layers="cnn.2")
    assert [isinstance(layer, CoordConv2d) for layer in made.cnn if isinstance(layer, torch.nn.Conv2d)] == [
        False,
        True,
        False,
    ]
    for coord in (True, False):
        with pytest.raises(UserError, match=r"no convolution is called 'cnn\.9'"):
            CoordCNN(SPACE, coord=coord, coord_layers="cnn.9")
