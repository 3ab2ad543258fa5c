"""A2C that looks once learns what stable-baselines3's A2C learns, which looks twice."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from rl.one_pass import OnePassA2C
from rl.policies import POLICIES, CoordCNN

sys.path.insert(0, str(Path(__file__).parent))
from pixels import Halves


class Noise(FakeImageEnv):
    """Pictures of noise, a reward that depends on the action, games that are cut after ``length`` steps."""

    def __init__(self, length: int) -> None:
        super().__init__(screen_height=40, screen_width=40, n_channels=4, channel_first=True)
        self.ep_length = length
        self.observation_space.seed(length)

    def step(self, action: Any) -> Any:
        obs, _, *rest = super().step(action)
        return obs, float(action) - 2.5, *rest


def games() -> DummyVecEnv:
    """Four, cut at different times: values are bootstrapped, too."""
    return DummyVecEnv([lambda length=length: Noise(length) for length in range(3, 7)])  # type: ignore[misc]


def agent(kind: type[A2C], heads: str, *, bf16: bool = False) -> Any:
    # Plain SGD: RMSprop's first steps are signs, which rounding turns around where a gradient is nothing but rounding.
    kwargs = {"features_extractor_class": CoordCNN, "net_arch": [], "optimizer_class": torch.optim.SGD,
              "features_extractor_kwargs": {"coord": True, "width": 8, "bf16": bf16}}  # fmt: skip
    return kind(
        POLICIES[heads],
        games(),
        n_steps=5,
        seed=0,
        ent_coef=0.01,
        learning_rate=0.1,
        policy_kwargs=kwargs,
        use_rms_prop=False,
        device="cpu",
    )  # type: ignore[index]


def looks(model: Any) -> list[int]:
    """The batch of every look at observations, from now on."""
    found: list[int] = []
    for extractor in {model.policy.pi_features_extractor, model.policy.vf_features_extractor}:
        extractor.cnn.register_forward_hook(lambda _, inputs, __: found.append(len(inputs[0])))
    return found


@pytest.mark.parametrize("heads", ["shared", "actor"])
def test_losses_and_weights_are_those_of_stable_baselines3(heads: str) -> None:
    ends, losses = [], []
    for kind in (OnePassA2C, A2C):
        model = agent(kind, heads)
        model.learn(60)
        ends.append({name: value.clone() for name, value in model.policy.state_dict().items()})
        losses.append({tag: value for tag, value in model.logger.name_to_value.items() if tag.startswith("train/")})
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_it_looks_once() -> None:
    once, twice = agent(OnePassA2C, "shared"), agent(A2C, "shared")
    counts = [looks(once), looks(twice)]
    once.learn(20)
    twice.learn(20)
    acted = [n for n in counts[0] if n != 1]  # of 1: values at the end of a game that was cut
    assert acted == [4] * 6  # five steps, and the value of what follows
    assert [n for n in counts[1] if n != 1] == [*[4] * 6, 20]


@pytest.mark.parametrize("heads", ["shared", "actor"])
def test_in_bfloat16_the_gradients_stay_near_those_of_two_looks(heads: str) -> None:
    gradients = []
    for kind in (OnePassA2C, A2C):
        model = agent(kind, heads, bf16=True)
        model.max_grad_norm = 1e9
        model.learn(20)
        gradients.append(torch.cat([p.grad.flatten() for p in model.policy.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[1].norm()


def test_what_is_looked_at_beside_training_is_not_learned_from() -> None:
    model = agent(OnePassA2C, "shared")
    observations = np.zeros((4, 4, 40, 40), np.uint8)
    model.learn(20)
    model.predict(observations)
    values, _, _ = model.policy.evaluate_actions(torch.from_numpy(observations), torch.zeros(4))
    assert values.shape == (4, 1)  # a look of its own
    assert values.requires_grad
    with torch.no_grad():
        assert not model.policy(torch.from_numpy(observations))[1].requires_grad
    assert model.policy._kept == []


def rewards(model: Any, updates: int) -> float:
    """The mean reward while a model learns."""
    found: list[float] = []
    step = model.env.step_wait

    def step_wait() -> Any:
        out = step()
        found.append(float(out[1].mean()))
        return out

    model.env.step_wait = step_wait
    model.learn(updates * model.n_steps * model.n_envs)
    return float(np.mean(found))


@pytest.mark.slow
def test_a_small_game_is_learned_as_soon_as_by_stable_baselines3() -> None:
    """Ours as it trains on the CPU, one look in bfloat16, against A2C in float32; three seeds each."""
    found = {}
    for kind, bf16 in ((OnePassA2C, True), (A2C, False)):
        found[kind] = []
        for seed in range(3):
            kwargs = {"features_extractor_class": CoordCNN, "net_arch": [],
                      "features_extractor_kwargs": {"width": 8, "kernels": ((3, 1), (3, 1)), "bf16": bf16,
                                                    "coord": False, "features_dim": 64}}  # fmt: skip
            policy: Any = POLICIES["shared"] if kind is OnePassA2C else "CnnPolicy"
            model = kind(policy, Halves(16, seed), learning_rate=1e-3, gamma=0.0, seed=seed, device="cpu",
                         policy_kwargs=kwargs)  # fmt: skip
            found[kind].append(rewards(model, 80))
    ours, theirs = (np.array(found[kind]) for kind in (OnePassA2C, A2C))
    spread = np.sqrt(ours.var(ddof=1) / 3 + theirs.var(ddof=1) / 3)
    assert min(ours.min(), theirs.min()) > 0.6  # they learn: chance is 0.5
    assert abs(ours.mean() - theirs.mean()) < 3 * spread + 0.01
