"""Transitions of several steps: returns by hand, and every observation as it was."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rl.replay.recorder import Chunk, Recorder

GAMMA = 0.5


def picture(value: int, count: int = 1) -> np.ndarray:
    return np.full((count, 1, 2, 2), value, np.uint8)


def play(
    rewards: list[float], values: list[list[float]], end: float | str | None = "goes on", n_steps: int = 3
) -> tuple[Chunk, Recorder]:
    """One game: action 0 throughout; it ends after the last reward, or is cut off where ``end`` is a value."""
    recorder = Recorder(1, n_steps, GAMMA)
    for step, reward in enumerate(rewards):
        told = np.array([values[step]], np.float32)
        recorder.see(picture(step), told)
        over = end != "goes on" and step == len(rewards) - 1
        last = {0: (picture(100)[0], end)} if over else {}
        recorder.act(np.array([0]), told, np.array([reward], np.float32), np.array([over]), last)  # type: ignore[arg-type]
    return recorder.take(), recorder


def test_returns_of_a_game_that_goes_on() -> None:
    values = [[10.0, 0], [20, 0], [30, 0], [4, 8], [0, 0]]
    chunk, recorder = play([1, 2, 4, 8, 16], values)
    # 1 + 2/2 + 4/4, from what was seen first to what was seen fourth, where the best action is worth 8.
    np.testing.assert_array_equal(chunk.reward, [3, 2 + 4 / 2 + 8 / 4])
    np.testing.assert_array_equal(chunk.steps, [3, 3])
    assert not chunk.terminated.any()
    np.testing.assert_array_equal(chunk.priority, [abs(3 + 8 / 8 - 10), abs(6 + 0 / 8 - 20)])
    assert chunk.pictures[chunk.start[:, 0], 0, 0, 0].tolist() == [0, 1]
    assert chunk.pictures[chunk.end[:, 0], 0, 0, 0].tolist() == [3, 4]
    recorder.see(picture(5), np.array([[1.0, 3.0]], np.float32))
    later = recorder.take()  # what had begun went on
    np.testing.assert_array_equal(later.reward, [4 + 8 / 2 + 16 / 4])
    assert (later.start.tolist(), later.end.tolist()) == ([[2]], [[5]])
    assert (later.first, later.pictures[:, 0, 0, 0].tolist()) == (5, [5])


def test_nothing_comes_after_an_end() -> None:
    chunk, _ = play([1, 2, 4, 8], [[0.0, 0]] * 4, end=None)
    np.testing.assert_array_equal(chunk.reward, [3, 2 + 2 + 2, 4 + 4, 8])
    np.testing.assert_array_equal(chunk.steps, [3, 3, 2, 1])
    np.testing.assert_array_equal(chunk.terminated, [False, True, True, True])
    np.testing.assert_array_equal(chunk.priority, chunk.reward)
    assert (chunk.pictures[chunk.end[1:, 0]] == 100).all()


def test_what_was_cut_off_has_the_value_of_what_was_seen_last() -> None:
    chunk, _ = play([1, 2], [[0.0, 0], [0, 0]], end=16.0)
    np.testing.assert_array_equal(chunk.reward, [2, 2])
    assert not chunk.terminated.any()
    np.testing.assert_array_equal(chunk.priority, [2 + 16 / 4, 2 + 16 / 2])


def test_single_steps() -> None:
    chunk, _ = play([1, 2, 4], [[0.0, 2], [0, 4], [0, 6]], end=None, n_steps=1)
    np.testing.assert_array_equal(chunk.reward, [1, 2, 4])
    np.testing.assert_array_equal(chunk.priority, [1 + 4 / 2, 2 + 6 / 2, 4])


@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_every_observation_is_the_one_that_was_seen(data: st.DataObject, games: int, stack: int, n_steps: int) -> None:
    """Whatever ends when, and wherever chunks are taken, with a life that empties the stack among it."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    recorder, seen = Recorder(stack, n_steps, 1.0), []
    pictures: list[np.ndarray] = []
    stacks = random.integers(0, 256, (games, stack, 2, 2)).astype(np.uint8)
    values = np.zeros((games, 100), np.float32)
    for step in range(data.draw(st.integers(1, 20))):
        recorder.see(stacks, values)
        seen.append(stacks.copy())
        new = random.integers(0, 256, (games, 1, 2, 2)).astype(np.uint8)
        after = np.concatenate([stacks[:, 1:], new], 1)
        ended = random.random(games) < 0.2
        last = {game: (after[game], None) for game in np.flatnonzero(ended).tolist()}
        # The action is the number of the step, so that a transition tells when it began.
        recorder.act(np.full(games, step), values, np.zeros(games, np.float32), ended, last)
        after[ended] = random.integers(0, 256, (int(ended.sum()), stack, 2, 2))
        stacks = after
        if random.random() < 0.3:
            chunk = recorder.take()
            assert chunk.first == len(pictures)
            pictures += list(chunk.pictures)
            for start, action in zip(chunk.start, chunk.action, strict=True):
                shown = np.concatenate([pictures[row] for row in start])
                assert any(np.array_equal(shown, row) for row in seen[action])


def test_a_picture_is_kept_once() -> None:
    recorder = Recorder(4, 3, 1.0)
    stacks = np.arange(4, dtype=np.uint8).repeat(4).reshape(1, 4, 2, 2)
    values = np.zeros((1, 2), np.float32)
    for step in range(50):
        recorder.see(stacks, values)
        recorder.act(np.array([0]), values, np.zeros(1, np.float32), np.zeros(1, bool), {})
        stacks = np.concatenate([stacks[:, 1:], np.full((1, 1, 2, 2), 4 + step, np.uint8)], 1)
    chunk = recorder.take()
    assert len(chunk.pictures) == 4 + 49
    assert len(chunk.action) == 50 - 3
    assert len(recorder.take().pictures) == 0
