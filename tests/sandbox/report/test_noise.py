"""What the rule concludes from noise: seldom anything, alone or in a family; and a real difference is found."""

from collections.abc import Callable

import numpy as np
import pytest
from pairs import compare, judge, outcome

from sandbox.report.stats import conclusion, holm, t_test
from sandbox.report.verdicts import verdict

WORST = 0.07  # share of false conclusions that the simulations may reach; 5 % are meant
DRAWS = 10_000
Draw = Callable[[np.random.Generator, int, int], np.ndarray]


def normal(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.normal(size=(b, n, 2))


def heavy(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.standard_t(3, size=(b, n, 2))


def skewed(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.exponential(size=(b, n, 2))


def shares(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.binomial(1000, 0.5, size=(b, n, 2)) / 1000


def coarse(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.binomial(4, 0.9, size=(b, n, 2)) / 4


def bounded(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    seeds = rng.beta(40, 2, size=(b, n, 1)).clip(0.5, 0.999)  # what both arms share
    return rng.beta(*np.broadcast_arrays(50 * seeds, 50 * (1 - seeds)), size=(b, n, 2))


@pytest.mark.parametrize("n", [5, 6, 7, 8, 9, 10, 11, 12, 20])
@pytest.mark.parametrize("law", [normal, heavy, skewed, shares, coarse, bounded])
def test_noise_seldom_concludes(law: Draw, n: int) -> None:
    both = law(np.random.default_rng(n), DRAWS, n)
    if law is bounded:
        assert np.corrcoef(both.reshape(-1, 2).T)[0, 1] > 0.3
    sides, _, outside = judge(both)
    assert np.mean(sides != 0) <= (WORST if n >= 6 else 0)
    assert np.mean(outside) <= WORST
    if law is normal:
        assert np.mean(outside) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("rare", "n", "share"),
    [(False, 6, 0.112), (False, 8, 0.104), (False, 20, 0.083), (True, 6, 0.155), (True, 8, 0.177), (True, 20, 0.113)],
)  # fmt: skip
def test_where_arms_are_unlike_the_docs_say_how_often(rare: bool, n: int, share: float) -> None:
    """docs/comparing.md holds these figures: equal means, one arm exponential or one run of it in ten collapsing."""
    rng = np.random.default_rng(n)
    both = np.zeros((DRAWS, n, 2))
    both[..., 0] = rng.normal(size=(DRAWS, n)) if rare else 0.0
    both[..., 1] = rng.normal(size=(DRAWS, n)) - 10 * ((rng.random((DRAWS, n)) < 0.1) - 0.1) if rare else (
        rng.exponential(size=(DRAWS, n)) - 1)  # fmt: skip
    assert np.mean(judge(both)[0] != 0) == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("shared", [0.0, 0.8])
@pytest.mark.parametrize("n", [6, 10])
def test_a_family_of_noise_seldom_concludes_anything(n: int, shared: float) -> None:
    families, tasks = 4000, 9
    rng = np.random.default_rng(n)
    both = (1 - shared) * rng.normal(size=(families, tasks, n, 2)) + shared * rng.normal(size=(families, 1, n, 2))
    d = (both[..., 0] - both[..., 1]).reshape(-1, n)
    test = t_test(d, np.zeros_like(d))
    adjusted = np.array([holm(row) for row in test.p.reshape(families, tasks).tolist()])
    sides = conclusion(n, test.low, test.high, adjusted.ravel()).reshape(families, tasks)
    assert np.mean((sides != 0).any(axis=1)) <= WORST


def test_a_real_difference_is_found() -> None:
    both = normal(np.random.default_rng(0), DRAWS, 8) + np.array([2, 0])  # 2 sd of either arm
    assert np.mean(judge(both)[0] == 1) > 0.9
    found = [compare(arms[:, 1].tolist(), arms[:, 0].tolist()) for arms in both[:100]]
    assert sum(outcome(result) == "better" for result in found) > 85
    assert sum(outcome(result, "lower") == "worse" for result in found) > 85
    nine = [verdict(result, "higher", holm([result.p_t] * 9)[0], 9).outcome for result in found]
    assert nine.count("worse") == 0
