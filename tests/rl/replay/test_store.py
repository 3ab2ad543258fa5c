"""The store: what is drawn how often, how it is weighted, what is gone, what it takes."""

import numpy as np
import pytest
import torch

from rl.replay.recorder import Chunk
from rl.replay.store import Size, Store, bytes_needed
from sandbox.base.errors import UserError

SMALL = Size(64, 10**6)


def chunk(priorities: list[float], first: int = 0, number: int = 0) -> Chunk:
    """Transition i leads from picture i to picture i + 1, takes action i and pays i; pictures from ``number`` on."""
    count = len(priorities)
    numbers = np.arange(first, first + count)
    pictures = np.arange(first, first + count + 1, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2), np.uint8)
    rows = number + np.arange(count)[:, None]
    return Chunk(
        number, pictures, rows, rows + 1, numbers, numbers.astype(np.float32), np.full(count, 3), np.zeros(count, bool),
        np.array(priorities, np.float32),
    )  # fmt: skip


def store(size: Size = SMALL, alpha: float = 0.6, beta: float = 0.4) -> Store:
    return Store(size, (1, 2, 2), alpha=alpha, beta=beta)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_transitions_are_drawn_in_proportion_to_their_priority(alpha: float) -> None:
    priorities = np.array([1.0, 2.0, 4.0, 0.5])
    found = store(alpha=alpha)
    found.add(chunk(list(priorities)))
    drawn = np.bincount(found.sample(20_000, 0, 1)["action"].numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(drawn, priorities**alpha / (priorities**alpha).sum(), atol=0.015)


def test_weights_take_the_bias_back() -> None:
    priorities = np.array([1.0, 2.0, 4.0, 0.5])
    found = store(alpha=0.6, beta=0.4)
    found.add(chunk(list(priorities)))
    drawn = found.sample(200, 0, 1)
    chances = priorities**0.6
    expected = (chances / chances.min()) ** -0.4
    np.testing.assert_allclose(drawn["priority_weight"].numpy(), expected[drawn["action"].numpy()], rtol=1e-4)


def test_new_priorities_decide_from_then_on() -> None:
    found = store(alpha=1.0)
    found.add(chunk([1.0] * 4))
    drawn = found.sample(50, 0, 1)
    found.update(drawn["index"], torch.where(drawn["action"] == 2, 1000.0, 1e-3))
    again = found.sample(100, 0, 2)["action"]
    assert (again == 2).float().mean() > 0.9


def test_a_draw_follows_from_seed_and_key_alone() -> None:
    found, other = store(), store()
    found.add(chunk([1.0] * 8))
    other.add(chunk([1.0] * 8))
    torch.rand(3)
    other.sample(5, 0, 7)
    one, two = found.sample(16, 3, 1)["action"], other.sample(16, 3, 1)["action"]
    assert one.tolist() == two.tolist()
    assert one.tolist() != found.sample(16, 4, 1)["action"].tolist()


def test_what_is_drawn_is_what_was_seen() -> None:
    found = store()
    found.add(chunk([1.0] * 5))
    found.add(chunk([1.0] * 5, first=5), actor="another")
    drawn = found.sample(40, 0, 1)
    assert (drawn["observation"][:, 0, 0, 0] == drawn["action"]).all()
    assert (drawn["next", "observation"][:, 0, 0, 0] == drawn["action"] + 1).all()
    assert (drawn["next", "reward"][:, 0] == drawn["action"]).all()
    assert drawn["steps_to_next_obs"].shape == (40, 1)


def test_the_oldest_go_and_none_is_drawn_without_its_pictures() -> None:
    """Chunks of two pictures a transition: pictures run out first, and such transitions weigh nothing."""
    found = store(Size(8, 10**6))  # ten pictures
    for first in range(8):
        found.add(chunk([1.0], first, 2 * first))
    assert len(found) == 8
    drawn = found.sample(200, 0, 1)
    kept = drawn["priority_weight"] > 0
    assert set(drawn["action"][kept].tolist()) == {3, 4, 5, 6, 7}  # the newest ten pictures
    assert (drawn["observation"][kept][:, 0, 0, 0] == drawn["action"][kept]).all()
    for first in range(8, 20):
        found.add(chunk([1.0], first, 2 * first))
    assert len(found) == 8
    assert found.sample(200, 0, 2)["action"].min() >= 12


def test_pictures_of_earlier_chunks_are_found_whoever_sent_others_between() -> None:
    found = store()
    found.add(chunk([1.0] * 4))
    found.add(chunk([1.0] * 4, first=50), actor="another")
    later = chunk([1.0] * 4, first=5, number=5)
    found.add(later._replace(start=later.start - 1, end=later.end - 1, action=later.action - 1))
    drawn = found.sample(300, 0, 1)
    assert set(drawn["action"].tolist()) == {0, 1, 2, 3, 4, 5, 6, 7, 50, 51, 52, 53}
    assert (drawn["observation"][:, 0, 0, 0] == drawn["action"]).all()
    assert (drawn["next", "observation"][:, 0, 0, 0] == drawn["action"] + 1).all()


def test_a_store_that_does_not_fit_says_what_would() -> None:
    size = 84 * 84
    assert bytes_needed(100_000, size) < 10**9  # a hundred thousand pictures of Atari
    said = (
        r"a replay of 1,000,000 transitions takes 8.95 GB \(1.25 pictures of 7,056 bytes and 128 bytes each\), "
        r"replay_bytes allows 1.00 GB: give --replay 111756 or less"
    )
    with pytest.raises(UserError, match=said):
        Store(Size(1_000_000, 10**9), (1, 84, 84), alpha=0.6, beta=0.4)
    with pytest.raises(ValueError, match="a chunk of 12 pictures does not fit a store of 10"):
        store(Size(8, 10**6)).add(chunk([1.0] * 11))
