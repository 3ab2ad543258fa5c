"""Maps with a known answer: policies that look at one corner, at nothing, or use the coordinates of one place alone."""

import io
import math
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image
from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from rl.envs import AtariVecEnv
from rl.policies import POLICIES, CoordCNN, seed_policy
from rl.saliency import (
    FULL,
    INKS,
    coordinate_layers,
    coordinate_map,
    knowing_only,
    overlay,
    picture_map,
    reference_game,
    saliency_film,
    without_coordinates,
)
from rl.spec import CAPTIONS, RlConfig
from rl.study import RlStudy
from sandbox.film.encode import GIF_LIMIT, encode_gif
from sandbox.nn.coordconv import CoordConv2d
from sandbox.train.device import make_fabric

sys.path.insert(0, str(Path(__file__).parent))
from pixels import Halves, everywhere, pictures, right

SIDE = 84
SPACE = spaces.Box(0, 255, (4, SIDE, SIDE), np.uint8)
PLACE = (20, 60)  # row, column


class Corner(BaseFeaturesExtractor):
    """The mean of the newest picture's first 12x12 pixels."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 1)

    def forward(self, observations: Tensor) -> Tensor:
        return observations[:, -1, :12, :12].mean((1, 2))[:, None]


class OnePlace(BaseFeaturesExtractor):
    """The row coordinate at one place, whatever the picture."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 1)
        self.conv = CoordConv2d(4, 1, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.coordinate_weight.copy_(torch.tensor([1.0, 0])[None, :, None, None])
            self.conv.bias.zero_()

    def forward(self, observations: Tensor) -> Tensor:
        return self.conv(observations)[:, :, PLACE[0], PLACE[1]]


def policy(extractor: type[BaseFeaturesExtractor], slope: float = 4.0, **kwargs: Any) -> ActorCriticPolicy:
    """Two actions; the logit between them is ``slope`` times the feature."""
    made = ActorCriticPolicy(SPACE, spaces.Discrete(2), lambda _: 1e-3, net_arch=[], ortho_init=False,
                             features_extractor_class=extractor, features_extractor_kwargs=kwargs)  # fmt: skip
    if extractor is not CoordCNN:
        with torch.no_grad():
            made.action_net.weight.copy_(torch.tensor([[slope], [0.0]]))
            made.action_net.bias.zero_()
    return made


def noise(seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, SPACE.shape, np.uint8))


# ---- the picture


def test_a_policy_that_looks_at_one_corner_has_its_map_there() -> None:
    picture = torch.zeros(4, SIDE, SIDE, dtype=torch.uint8)
    picture[:, :12, :12] = 255
    picture[:, 40:50, 40:50] = 255  # as bright, and nobody looks
    heat = picture_map(policy(Corner), picture)
    assert heat.shape == (SIDE, SIDE)
    assert heat.argmax() % SIDE < 12
    assert heat.argmax() // SIDE < 12
    assert heat[:12, :12].min() > 0
    assert heat[16:].abs().max() == heat[:, 16:].abs().max() == 0  # windows from row 12 on do not touch it


def test_a_map_is_the_share_of_choices_that_change() -> None:
    """One window over the whole picture: the value is worked out here."""
    picture = noise()
    heat = picture_map(policy(Corner), picture, window=SIDE, stride=SIDE)
    from torchvision.transforms.v2.functional import gaussian_blur

    both = torch.stack([picture, gaussian_blur(picture.float(), [19, 19], [3.0, 3.0])]).float()
    logits = 4.0 * both[:, -1, :12, :12].mean((1, 2)) / 255
    expected = float((torch.sigmoid(logits[0]) - torch.sigmoid(logits[1])).abs())
    assert expected > 1e-4
    assert heat.numpy() == pytest.approx(expected, abs=1e-6)


def test_a_policy_that_looks_at_nothing_has_an_empty_map() -> None:
    heat = picture_map(policy(Corner, slope=0.0), noise())
    assert torch.equal(heat, torch.zeros_like(heat))
    blank = picture_map(policy(CoordCNN, coord=True, width=4), torch.zeros(4, SIDE, SIDE, dtype=torch.uint8))
    assert blank.max() < 1e-6  # blurred black is black; a batch of another size rounds otherwise


def test_other_weights_have_another_map() -> None:
    """The sanity check of Adebayo et al. 2018: weights drawn anew, and with the law of a fresh agent hardly any map."""
    agent, maps = policy(CoordCNN, coord=False, width=8), []
    for seed in (0, 1):
        seed_policy(agent, seed)
        assert 0 < picture_map(agent, noise()).max() < 0.02 * FULL
        with torch.no_grad():
            agent.action_net.weight.mul_(300)
        maps.append(picture_map(agent, noise()).flatten())
    assert maps[0].max() > 0.02
    assert abs(float(torch.corrcoef(torch.stack(maps))[0, 1])) < 0.5


# ---- the coordinates


def test_coordinates_of_one_place_are_found_there() -> None:
    heat = coordinate_map(policy(OnePlace), noise())
    row = 2 * PLACE[0] / (SIDE - 1) - 1
    expected = abs(torch.sigmoid(torch.tensor(4.0 * row)) - 0.5)  # an average place's row is 0
    assert heat[PLACE] == pytest.approx(float(expected), abs=1e-5)
    around = torch.zeros_like(heat, dtype=torch.bool)
    around[PLACE[0] - 7 : PLACE[0] + 8, PLACE[1] - 7 : PLACE[1] + 8] = True
    assert heat[~around].max() == 0


@pytest.mark.parametrize("layers", ["first", "all"])
def test_knowing_all_is_the_policy_itself_and_knowing_nothing_leaves_a_bias(layers: str) -> None:
    agent, x = policy(CoordCNN, coord=True, coord_layers=layers), noise()[None].float()
    seed_policy(agent, 3)
    features = agent.features_extractor
    own = features(x / 255)
    with knowing_only(agent, torch.ones(1, 1, SIDE, SIDE)):
        torch.testing.assert_close(features(x / 255), own)
    with knowing_only(agent, torch.zeros(1, 1, 1, 1)):
        blind = features(x / 255)
    assert (blind - own).abs().max() > 1e-3
    torch.testing.assert_close(features(x / 255), own)  # and nothing stays behind
    with torch.no_grad():  # what is left of the coordinates is a bias
        for layer, side in zip(coordinate_layers(agent), (84, 20, 9), strict=layers == "all"):
            layer.bias.copy_(layer.position_map(torch.zeros(1, layer.in_channels, side, side)).mean((0, 2, 3)))
            layer.coordinate_weight.zero_()
    torch.testing.assert_close(features(x / 255), blind, atol=1e-5, rtol=1e-4)


def test_an_agent_that_learned_from_coordinates_is_at_chance_without_them() -> None:
    """The game of pixels.py, by a network for which every place looks alike but for its coordinates."""
    network = {"coord": True, "padding_mode": "circular", "pooling": "max", "kernels": ((3, 1), (3, 1)), "width": 8}
    model = A2C(
        POLICIES["shared"], Halves(32, 0), learning_rate=2e-3, n_steps=4, device="cpu",
        policy_kwargs={"features_extractor_class": CoordCNN, "net_arch": [], "features_extractor_kwargs": network},
    )  # fmt: skip
    seed_policy(model.policy, 0)
    model.learn(32 * 4 * 150)
    seen, wanted = pictures(everywhere()), right(everywhere())
    assert (model.policy.predict(seen, deterministic=True)[0] == wanted).mean() > 0.9
    with without_coordinates(model.policy) as blind:
        assert (blind.predict(seen, deterministic=True)[0] == wanted).mean() == 0.5
    assert (model.policy.predict(seen, deterministic=True)[0] == wanted).mean() > 0.9
    dot = torch.from_numpy(pictures(np.array([[4, 1]])))[0]
    heat = picture_map(model.policy, dot, window=2, stride=2)
    assert heat[4:6, 0:2].min() == heat.max() > 0


# ---- the film


def game(seed: int = 0, frames: int = 5) -> tuple[np.ndarray, np.ndarray]:
    env = AtariVecEnv("Breakout", 1, threads=1, render_mode="rgb_array")
    env.seed(seed)
    return reference_game(env, frames, torch.Generator().manual_seed(seed), skipped=80, held=8)


def test_the_reference_game_depends_on_its_seeds_alone() -> None:
    seen, screens = game()
    assert (seen.shape, screens.shape) == ((5, 4, 84, 84), (5, 210, 160, 3))
    assert all(np.array_equal(a, b) for a, b in zip(game(), (seen, screens), strict=True))
    assert not np.array_equal(game(1)[0], seen)
    assert np.array_equal(seen[1:, -2], seen[:-1, -1])  # steps in a row, none overwritten by the next
    assert (screens[1:] != screens[:-1]).any((1, 2, 3)).all()  # something moves
    grey = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(screens).float().mean(-1), 84)
    assert torch.corrcoef(torch.stack([grey.flatten(), torch.from_numpy(seen[:, -1]).float().flatten()]))[0, 1] > 0.9


def test_ink_lies_where_the_heat_is() -> None:
    screens = np.full((2, 20, 10, 3), 200, np.uint8)
    heat = torch.zeros(2, 10, 10)
    heat[1] = FULL
    full = [round(0.25 * 120 + 0.75 * part) for part in INKS["picture"]]
    frames = overlay(screens, heat, INKS["picture"])
    assert (frames[0] == 120).all()
    assert np.abs(frames[1].astype(int) - full).max() <= 1
    assert np.array_equal(overlay(screens, 3 * heat, INKS["picture"]), frames)  # no ink is thicker than full
    heat[1, :, 5:] = 0
    half = overlay(screens, heat, INKS["picture"])[1]
    assert np.array_equal(half[:, :4], frames[1, :, :4])
    assert (half[:, 6:] == 120).all()


@pytest.mark.parametrize("coord", [False, True])
def test_the_film_has_a_panel_for_what_the_agent_has(coord: bool) -> None:
    agent = policy(CoordCNN, coord=coord, width=4).train()
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    film = saliency_film(agent, *game())
    assert film.shape == (5, 22 + 210 + 12, 12 + (1 + coord) * 172, 3)
    assert agent.training
    assert not any(layer._forward_hooks for layer in agent.modules())
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())


def test_the_study_s_film_is_of_one_game_in_both_arms_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl.saliency.picture_map", lambda policy, picture: torch.zeros(84, 84))
    films = {}
    for coord in (False, True):
        config = RlConfig(env="Breakout", coord=coord, envs=2, batch=4, width=4, saliency=6, threads=1)
        study = RlStudy(config, make_fabric("cpu", "32"))
        study.step(1)  # which leaves a graph in the policy
        ((name, (films[coord], fps)),) = study.films().items()
        assert (name, fps) == ("saliency", 8)
        assert name in CAPTIONS.films
        assert RlStudy(config.model_copy(update={"saliency": 1}), make_fabric("cpu", "32")).films() == {}
    assert np.array_equal(films[False][:, 22:], films[True][:, 22:, : films[False].shape[2]])
    content = encode_gif(films[True], fps)
    assert len(content) < GIF_LIMIT
    with Image.open(io.BytesIO(content)) as gif:
        assert (getattr(gif, "n_frames", 0), gif.size) == (6, (356, 244))


def test_the_score_without_coordinates_is_undefined_without_coordinates() -> None:
    found = []
    for coord in (False, True):
        config = RlConfig(env="Breakout", coord=coord, envs=2, batch=4, width=4, games=2, max_frames=400, threads=1)
        study = RlStudy(config, make_fabric("cpu", "32"))
        found.append(study.evaluate()["score/return_without_coordinates"])
        if coord:
            with torch.no_grad():  # coordinates that say nothing: the same games
                cast(CoordConv2d, study.agent.model.policy.features_extractor.cnn[0]).coordinate_weight.zero_()  # type: ignore
            scores = study.evaluate()
            assert scores["score/return_without_coordinates"] == scores["score/return"]
    assert math.isnan(found[0])
    assert math.isfinite(found[1])
