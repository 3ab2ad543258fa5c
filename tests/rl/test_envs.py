"""The games are those of gymnasium's and stable-baselines3's wrappers; nothing else comes through."""

import sys
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack

from rl.envs import AtariVecEnv
from rl.games import REFERENCES, canonical, games, human_normalised
from rl.protocol import Protocol
from sandbox.base.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
from arcade import make, play

gymnasium.register_envs(ale_py)
FIVE = ("Breakout", "MsPacman", "Pong", "Qbert", "SpaceInvaders")
BARE = Protocol(noop_max=0, fire_start=False, life_loss=False, clip_rewards=False)


# ---- names


@pytest.mark.parametrize("name", ["MsPacman", "ms_pacman", "ALE/MsPacman-v5", "MsPacmanNoFrameskip-v4", "Ms Pacman"])
def test_a_game_goes_by_many_names_and_has_one(name: str) -> None:
    assert canonical(name) == "MsPacman"


@pytest.mark.parametrize(("name", "meant"), [("MsPackman", "MsPacman"), ("brekout", "Breakout"), ("xqzv", "such as")])
def test_a_misspelt_game_gets_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(UserError, match=meant):
        AtariVecEnv(name, 1)


def test_every_game_of_ale_py_is_known_and_every_reference_is_a_game() -> None:
    assert set(games()) >= {env_id[4:-3] for env_id in gymnasium.registry if env_id.startswith("ALE/")
                            and not env_id.endswith("-ram-v5")}  # fmt: skip
    assert REFERENCES.keys() <= set(games().values())
    assert all(random < human for random, human in REFERENCES.values())
    assert human_normalised("MsPacman", 307.3) == 0
    assert human_normalised("MsPacman", 6951.6) == 1
    assert np.isnan(human_normalised("Tetris", 10.0))


# ---- the same games


@pytest.mark.parametrize("game", FIVE)
def test_pictures_and_rewards_are_those_of_gymnasium_s_wrappers(game: str) -> None:
    raw = gymnasium.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0)
    theirs = FrameStackObservation(AtariPreprocessing(raw, noop_max=0), 4, padding_type="zero")
    env = AtariVecEnv(game, 1, BARE, threads=1)
    env.seed(1)
    assert np.array_equal(env.reset()[0], theirs.reset(seed=1)[0])
    rng, total, games_over = np.random.default_rng(0), 0.0, 0
    for _ in range(300 if game == "Breakout" else 100):
        action = int(rng.integers(env.action_space.n))
        obs, rewards, dones, infos = env.step(np.array([action]))
        seen, reward, over, cut, _ = theirs.step(action)
        total += float(reward)
        assert rewards[0] == reward
        assert dones[0] == (over or cut)
        if dones[0]:
            assert np.array_equal(infos[0]["terminal_observation"], seen)
            assert infos[0]["episode"]["r"] == total
            seen, total, games_over = theirs.reset()[0], 0.0, games_over + 1
        assert np.array_equal(obs[0], seen)
    assert games_over > 0 or game != "Breakout"


@pytest.mark.parametrize(("game", "steps"), [("Breakout", 350), ("Qbert", 450), ("MsPacman", 100)])
def test_lives_clipping_and_whole_games_are_those_of_stable_baselines3(game: str, steps: int) -> None:
    """With its restart, everything is: dones, clipped rewards, what stands in each info, pictures but for rounding."""
    theirs = VecFrameStack(make_atari_env(f"{game}NoFrameskip-v4", 1, seed=1, wrapper_kwargs={"noop_max": 0}), 4)
    env = make(game, restart="sb3", noop_max=0)

    def assert_same(ours: np.ndarray, other: np.ndarray) -> None:
        # Theirs takes the maximum of two frames in colour and makes it grey, ours the other way round: where two
        # colours flicker, a few pixels differ. An emptied picture would differ in most.
        assert (np.abs(ours.transpose(1, 2, 0).astype(int) - other) > 2).mean((0, 1)).max() < 0.02

    assert_same(env.reset()[0], theirs.reset()[0])
    rng, lives, whole = np.random.default_rng(3), 0, []
    for _ in range(steps):
        action = rng.integers(env.action_space.n, size=1)
        obs, rewards, dones, infos = env.step(action)
        other_obs, other_rewards, other_dones, other_infos = theirs.step(action)
        assert_same(obs[0], other_obs[0])
        assert rewards[0] == other_rewards[0]
        assert dones[0] == other_dones[0]
        assert ("episode" in infos[0]) == ("episode" in other_infos[0])
        lives += bool(dones[0])
        if dones[0]:
            assert_same(infos[0]["terminal_observation"], other_infos[0]["terminal_observation"])
            assert infos[0]["TimeLimit.truncated"] == other_infos[0]["TimeLimit.truncated"]
        if "episode" in infos[0]:
            whole.append((infos[0]["episode"], other_infos[0]["episode"]))
    assert lives > len(whole) > 0 or game == "MsPacman"
    for ours, other in whole:
        assert (ours["r"], ours["l"]) == (other["r"], other["l"])  # the length in frames


def test_a_lost_life_ends_an_episode_and_not_the_game() -> None:
    """With the native restart the pictures go straight on."""
    with_lives, without = play(make("Breakout"), 350), play(make("Breakout", life_loss=False), 350)
    ends = [[t for t, step in enumerate(run) if step[2][0]] for run in (with_lives, without)]
    assert len(ends[0]) == 5 * len(ends[1]) + len([t for t in ends[0] if t > ends[1][-1]])  # Breakout has five lives
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(with_lives, without, strict=True))
    for t in ends[0]:
        obs, _, _, infos = with_lives[t]
        life = t not in ends[1]
        assert ("episode" in infos[0]) is not life
        assert np.array_equal(infos[0]["terminal_observation"], obs[0]) is life


def test_stable_baselines3_s_restart_holds_where_lives_end_nothing() -> None:
    """As in an evaluation: the ball is served again after each life, and the game alone ends an episode."""
    served, native = (make("Breakout", restart=restart, life_loss=False, noop_max=0) for restart in ("sb3", "native"))
    lives, ends = [], []
    for env in (served, native):
        env.reset()
        steps = [env.step(np.array([0])) for _ in range(200)]  # an agent that never presses FIRE
        lives.append([step[3][0]["lives"] for step in steps])
        ends.append([t for t, step in enumerate(steps) if step[2][0]])
        assert all("terminal_observation" not in step[3][0] for step in steps if not step[2][0])
        assert all("episode" in steps[t][3][0] for t in ends[-1])
    assert ends[0]
    assert min(lives[0][: ends[0][0]]) == 1
    assert not ends[1]
    assert min(lives[1]) >= 4  # the first ball is served by the start of the game, no other


def test_rewards_are_signs_and_games_are_counted_in_full() -> None:
    clipped, full = play(make("Asterix", 2), 250), play(make("Asterix", 2, clip_rewards=False), 250)
    rewards = np.array([[a[1], b[1]] for a, b in zip(clipped, full, strict=True)])
    assert rewards.dtype == np.float32
    assert np.array_equal(rewards[:, 0], np.sign(rewards[:, 1]))
    assert rewards[:, 1].max() >= 20
    ends = [(t, i) for t, step in enumerate(clipped) for i in range(2) if "episode" in step[3][i]]
    assert ends
    start = {0: 0, 1: 0}
    for t, i in ends:
        assert clipped[t][3][i]["episode"]["r"] == rewards[start[i] : t + 1, 1, i].sum()
        start[i] = t + 1


# ---- the protocol


@pytest.mark.parametrize("game", FIVE)
def test_a_step_is_four_frames(game: str) -> None:
    env = make(game, 2, life_loss=False)
    env.reset()
    for _ in range(20):
        before = env._now
        env.step(np.zeros(2, int))
        assert before is not None
        assert env._now is not None
        assert (env._now.total - before.total).tolist() == [4, 4]


def test_games_start_after_up_to_29_frames_without_action() -> None:
    env, starts = make("MsPacman", 4), []
    for _ in range(25):
        env.reset()
        assert env._now is not None
        starts += env._now.played.tolist()
    assert 0 <= min(starts) < 3 < 26 < max(starts) <= 29


def test_sticky_actions_change_the_game_and_the_seed_repeats_it() -> None:
    last = [play(make("Breakout", seed=seed, sticky=sticky, noop_max=0), 60)[-1][0]
            for seed, sticky in ((1, 0.25), (1, 0.25), (2, 0.25), (1, 0.0))]  # fmt: skip
    assert np.array_equal(last[0], last[1])
    assert not np.array_equal(last[0], last[2])
    assert not np.array_equal(last[0], last[3])


def test_the_protocol_says_every_choice() -> None:
    text = str(Protocol(sticky=0.25))
    assert all(f"{name} {value}" in text for name, value in Protocol(sticky=0.25).document().items())
    assert "sticky 0.25" in text


def test_the_minimal_actions_or_all() -> None:
    assert make("Breakout").env_method("get_action_meanings") == [["NOOP", "FIRE", "RIGHT", "LEFT"]]
    assert make("Breakout", full_actions=True).action_space.n == 18


def test_a_game_that_is_cut_is_told_from_one_that_is_over() -> None:
    env = make("MsPacman", max_frames=100, noop_max=0, life_loss=False)
    steps = play(env, 60)
    ends = [t for t, step in enumerate(steps) if step[2][0]]
    assert ends == [24, 49]
    for t in ends:
        info = steps[t][3][0]
        assert info["TimeLimit.truncated"]
        assert info["episode"]["l"] == 100
        assert not np.array_equal(info["terminal_observation"], steps[t][0][0])
    over = [step[3][0] for step in play(make("Breakout", life_loss=False), 300) if step[2][0]]
    assert over
    assert not any(info["TimeLimit.truncated"] for info in over)


# ---- what stable-baselines3 asks for


def test_seeds_repeat_games_and_tell_them_apart() -> None:
    one, same, other = (play(make("MsPacman", 2, seed=seed), 30) for seed in (4, 4, 9))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[-1][0], other[-1][0])
    env = make("MsPacman", 4, seed=4)
    first = env.reset()
    assert not np.array_equal(first, env.reset())  # a second reset goes on with the random streams
    env.seed(4)
    assert np.array_equal(first, env.reset())


def test_attributes_and_methods_are_reached_as_in_any_vector() -> None:
    env = make("Breakout", 3)
    assert env.get_attr("game") == ["Breakout"] * 3
    assert env.get_attr("render_mode", 0) == [None]
    env.set_attr("level", 7, [0, 2])
    assert env.get_attr("level", [0, 2]) == [7, 7]
    assert not env.has_attr("level")  # the second environment has none
    assert env.has_attr("protocol")
    assert env.env_method("get_action_meanings", indices=1) == [["NOOP", "FIRE", "RIGHT", "LEFT"]]
    with pytest.raises(AttributeError, match="fly"):
        env.env_method("fly")
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(AtariPreprocessing, [1]) == [False]


def test_stable_baselines3_evaluates_whole_games() -> None:
    class Random:
        def predict(self, obs: np.ndarray, **_: Any) -> tuple[np.ndarray, None]:
            return rng.integers(4, size=len(obs)), None

    rng, env = np.random.default_rng(0), make("Breakout", 2)
    returns, lengths = evaluate_policy(Random(), env, 4, return_episode_rewards=True)  # type: ignore[arg-type]
    assert len(returns) == 4
    assert min(lengths) > 400  # frames: five lives, not one


def test_the_mirror_shows_the_same_games_in_colour_at_the_screen_s_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make("Breakout", 2, render_mode="rgb_array", restart="sb3")
    plain = make("Breakout", 2, restart="sb3")
    rng, restarted = np.random.default_rng(0), dict[int, np.ndarray]()
    assert env._mirror is not None
    step_one = env._mirror.step_one

    def recorded(i: int, action: int) -> Any:
        row = step_one(i, action)
        restarted[i] = row.obs[0, -1].copy()
        return row

    monkeypatch.setattr(env._mirror, "step_one", recorded)
    assert np.array_equal(env.reset(), plain.reset())
    assert all(np.array_equal(env.get_images()[i], restarted.pop(i)) for i in range(2))  # type: ignore[arg-type]
    restarts = 0
    for _ in range(150):
        actions = rng.integers(4, size=2)
        obs, _, dones, _ = env.step(actions)
        assert np.array_equal(obs, plain.step(actions)[0])
        pictures = env.get_images()
        assert pictures[0] is not None
        assert pictures[0].shape == (210, 160, 3)
        restarts += len(restarted)
        for i in list(restarted):  # what the agent sees after a restart, not what came before
            assert np.array_equal(pictures[i], restarted.pop(i))
        for i in np.flatnonzero(~dones):
            grey = pictures[i] @ np.array([0.299, 0.587, 0.114])  # the paddle's rows tell where it is
            small = grey.reshape(42, 5, 80, 2).mean((1, 3))
            assert np.abs(small - obs[i, -1].reshape(42, 2, 84).mean(1)[:, :80]).mean() < 40
            assert (grey[189:193].max(0) > 0).sum() > 0
    assert restarts > 2
    assert plain.get_images() == [None, None]
    picture = env.render()
    assert picture is not None
    assert picture.shape[2] == 3
