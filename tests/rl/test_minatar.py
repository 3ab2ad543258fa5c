"""MinAtar's vector against the library's own games, its names, its colours, and that no run holds both emulators."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.minatar.envs import SCALE, MinAtarVecEnv, game_module, random_returns
from rl.minatar.games import GAMES, PUBLISHED, RANDOM
from rl.minatar.games import canonical as of_minatar
from rl.suites import canonical, suite_of
from sandbox.base.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent


def make(game: str = "breakout", count: int = 3, *, seed: int = 1, **rules: Any) -> MinAtarVecEnv:
    env = MinAtarVecEnv(game, count, **rules)
    env.seed(seed)
    return env


@pytest.mark.parametrize("game", GAMES)
def test_each_game_is_played_as_the_library_plays_it(game: str) -> None:
    env, games = make(game, sticky=0.0), []
    for i in range(3):
        own = game_module(game).Env(ramping=True)
        own.random = np.random.RandomState(1 + i)
        own.reset()
        games.append(own)
    obs, rng, sums = env.reset(), np.random.default_rng(0), [0, 0, 0]
    assert (obs.dtype, obs.shape) == (np.uint8, (3, *games[0].state_shape()[2:], 10, 10))
    assert env.observation_space.contains(obs[0])
    ended = 0
    for _ in range(150):
        actions = rng.integers(6, size=3)
        obs, rewards, dones, infos = env.step(actions)
        for i, own in enumerate(games):
            reward, over = own.act(actions[i])
            sums[i] += reward
            assert (rewards[i], dones[i]) == (reward, over)
            if over:
                ended += 1
                assert np.array_equal(infos[i]["terminal_observation"], own.state().transpose(2, 0, 1))
                assert infos[i]["episode"]["r"] == sums[i]
                assert not infos[i]["TimeLimit.truncated"]
                own.reset()
                sums[i] = 0
            assert np.array_equal(obs[i], own.state().transpose(2, 0, 1))
    assert ended or game in ("freeway", "seaquest")


def test_observations_are_not_overwritten_by_later_steps() -> None:
    env = make()
    first = env.reset()
    kept = first.copy()
    env.step(np.array([1, 1, 1]))
    assert np.array_equal(first, kept)


def test_sticky_actions_repeat_the_one_before() -> None:
    env = make(sticky=1.0)  # the first of all is a no-op, for ever
    before = env.reset()[:, 0]  # the paddle's plane
    for _ in range(4):
        assert np.array_equal(env.step(np.array([1, 3, 1]))[0][:, 0], before)
    half = make(count=100, sticky=0.5)
    half.reset()
    moved = half.step(np.ones(100, int))[0][:, 0, 9, 3].mean()
    assert 0.3 < moved < 0.7


def test_a_game_that_is_cut_says_so_and_the_next_begins() -> None:
    env = make("freeway", max_frames=5)
    env.reset()
    for step in range(1, 11):
        _, _, dones, infos = env.step(np.array([2, 2, 2]))
        assert dones.tolist() == [step % 5 == 0] * 3
        assert infos[0]["TimeLimit.truncated"] == (step % 5 == 0)
    assert infos[0]["episode"]["l"] == 5


def test_ramping_and_clipping_are_choices() -> None:
    assert [game.ramping for game in make("asterix", ramping=False)._games] == [False] * 3
    env = make("seaquest", clip_rewards=True)
    env.reset()
    env._games[0].act = lambda action: (7, False)  # six divers brought up
    assert env.step(np.zeros(3, int))[1].tolist() == [1.0, 0.0, 0.0]
    assert env._returns == [7.0, 0.0, 0.0]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(GAMES), st.integers(0, 2**40), st.integers(1, 4))
def test_seeds_repeat_games_whatever_was_played_before(game: str, seed: int, count: int) -> None:
    def played(env: MinAtarVecEnv) -> np.ndarray:
        env.seed(seed)
        env.reset()
        return np.stack([env.step(np.full(count, k % 6))[0] for k in range(20)])

    env = MinAtarVecEnv(game, count)
    assert np.array_equal(played(env), played(env))


def test_films_have_the_library_s_colours() -> None:
    env = make(count=1)
    env.reset()
    picture = np.asarray(env.get_images()[0])
    assert picture.shape == (10 * SCALE, 10 * SCALE, 3)
    # seaborn.color_palette("cubehelix", 4), black before it: paddle, brick, nothing
    paddle, brick, nothing = (picture[row * SCALE + 3, 4 * SCALE + 3].tolist() for row in (9, 2, 6))
    assert (paddle, brick, nothing) == ([22, 61, 78], [193, 202, 243], [0, 0, 0])


def test_what_it_cannot_be_given_is_one_line() -> None:
    for wrong in ({"num_envs": 0}, {"sticky": 1.5}, {"max_frames": 0}):
        with pytest.raises(ValueError, match="must be a"):
            MinAtarVecEnv("breakout", **wrong)  # type: ignore[arg-type]
    env = make()
    with pytest.raises(RuntimeError, match="reset the environment"):
        env.step(np.zeros(3, int))
    env.reset()
    for actions in ([0, 0], [0, 0, 6], [0.0, 0.0, 0.0], [-1, 0, 0]):
        with pytest.raises(ValueError, match="3 whole numbers from 0 to 5"):
            env.step(np.array(actions))
    env.close()
    for call in (env.reset, env.get_images, lambda: env.seed(1), lambda: env.env_method("document")):
        with pytest.raises(RuntimeError, match="after close"):
            call()


@pytest.mark.parametrize("name", ["minatar:space_invaders", "minatar:SpaceInvaders", "MinAtar/SpaceInvaders-v1"])
def test_a_game_has_one_name(name: str) -> None:
    assert canonical(name) == of_minatar(name) == "minatar:space_invaders"
    assert suite_of(name).folder(canonical(name)) == "minatar_space_invaders"


@pytest.mark.parametrize(
    ("name", "said"),
    [("minatar:brekout", "did you mean minatar:breakout?"), ("minater:breakout", "did you mean 'minatar'?")],
)
def test_an_unknown_game_is_told_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        canonical(name)
    assert said in str(caught.value)


def test_random_play_is_what_the_references_say() -> None:
    returns = np.array(random_returns("breakout", 400, seed=5))
    assert abs(returns.mean() - RANDOM["breakout"]) < 4 * returns.std() / 20
    assert RANDOM.keys() == PUBLISHED.keys() == set(GAMES)


APART = """
import sys
from rl.spec import RlConfig
from rl.study import RlStudy
from sandbox.train.device import make_fabric
study = RlStudy(RlConfig(env=sys.argv[1], envs=2, batch=4, width=4, games=1, max_frames=40),
                make_fabric("cpu", "32"))
study.step(1)
study.preview()
study.evaluate()
study.film(frames=2, count=1, path="loop", seed=0)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"ale_py", "minatar", "seaborn", "pandas"}))
"""


@pytest.mark.parametrize(("env", "held"), [("minatar:breakout", "['minatar']"), ("Breakout", "['ale_py']")])
def test_a_run_holds_one_emulator_s_library_alone(env: str, held: str) -> None:
    """ale-py is GPL-2.0-only, MinAtar GPL-3: never both in one process."""
    done = subprocess.run([sys.executable, "-c", APART, env], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == held
