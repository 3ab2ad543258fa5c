"""Equivalent within a margin: known answers, who may not claim it, families, and how often noise at the edge does."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from pairs import compare
from scipy import stats as scipy_stats

from sandbox.report.stats import CONCLUDING, holm, paired
from sandbox.report.verdicts import (
    Equivalence,
    Lost,
    amount,
    at_bound,
    equivalence,
    family,
    lopsided,
    pairs_needed,
    tost,
    verdict,
)

WORST = 0.07  # share of false claims that normal and t laws may reach; 5 % are meant
DRAWS = 10_000
MARGIN = 1.0
Law = Callable[[np.random.Generator, int, int], np.ndarray]


def claimed(differences: list[float], margin: float = 1.0, barred: str = "") -> Equivalence:
    found = equivalence(compare([0.0] * len(differences), differences), margin, barred)
    return found if math.isnan(found.p) else found.adjusted(holm([found.p])[0], 1)


def concluded(differences: list[float], margin: float = 1.0, barred: str = "") -> str:
    result = compare([0.0] * len(differences), differences)
    return verdict(result, "higher", result.p_t, 1, claimed(differences, margin, barred)).words


# ---- known answers


def test_the_two_one_sided_tests_are_scipys() -> None:
    d = [0.3, -0.2, 0.5, 0.1, 0.0, 0.4, -0.1]
    found = claimed(d)
    expected = max(scipy_stats.ttest_1samp(d, -1.0, alternative="greater").pvalue,
                   scipy_stats.ttest_1samp(d, 1.0, alternative="less").pvalue)  # fmt: skip
    assert found.p == pytest.approx(expected, rel=1e-9)
    interval = scipy_stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-9)


@pytest.mark.parametrize(
    ("differences", "margin", "words"),
    [
        ([0.1, -0.1, 0.2, -0.2, 0.0, 0.1], 1.0, "equivalent"),
        ([0.1, -0.1, 0.2, -0.2, 0.0, 0.1], 0.1, "inconclusive"),
        ([0.1, -0.1, 0.2, -0.2, 0.0], 1.0, "inconclusive"),  # five pairs
        ([0.5, 0.52, 0.48, 0.51, 0.49, 0.5], 1.0, "better, by less than matters"),
        ([-0.5, -0.52, -0.48, -0.51, -0.49, -0.5], 1.0, "worse, by less than matters"),
        ([2.0, 2.1, 1.9, 2.0, 2.1, 1.9], 1.0, "better"),
        ([5.0, -5.0, 4.0, -4.0, 3.0, -3.0], 1.0, "inconclusive"),
        ([0.0] * 6, 1.0, "equivalent"),
        ([0.5] * 6, 1.0, "better, by less than matters"),
        ([1.5] * 6, 1.0, "better"),
    ],
)
def test_what_is_concluded(differences: list[float], margin: float, words: str) -> None:
    assert concluded(differences, margin) == words


def test_equal_differences_have_the_p_of_their_number() -> None:
    for n in (2, 6, 9):
        assert claimed([0.25] * n).p == 2.0**-n
        assert claimed([1.0] * n).p == 1.0  # at the margin is not inside it
    assert math.isnan(claimed([0.5]).p)


def test_who_is_barred_claims_nothing_and_says_why() -> None:
    assert concluded([0.0] * 8, barred="a run failed") == "inconclusive"
    assert not claimed([0.0] * 8, barred="a run failed").holds
    for margin in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="the margin is"):
            claimed([0.0] * 6, margin)


def test_the_margin_is_in_the_scores_unit_and_has_no_direction() -> None:
    d = [0.3, -0.2, 0.5, 0.1, 0.0, 0.4]
    for scale in (1e-6, 1.0, 1e6):
        assert claimed([scale * x for x in d], scale).p == pytest.approx(claimed(d).p, rel=1e-9)
    assert claimed([-x for x in d]).p == pytest.approx(claimed(d).p, rel=1e-9)
    low, _, p = tost(np.array([d, [0.0, 0.1, 0.0, 0.1, 0.0, 0.1]]), np.array([1.0, 1.0]))
    assert (p[0], low[0]) == pytest.approx((claimed(d).p, claimed(d).low))


def test_coordinates_against_none_are_a_family_of_their_own() -> None:
    assert family("conv", "coord") != family("conv", "wide") == family("conv", "radius")
    assert family("coord", "conv") == family("conv", "wide")
    assert family("zeros", "zeros_coord") != family("zeros", "circular") == family("zeros", "circular_coord")


def test_a_score_at_its_ceiling_tells_nothing() -> None:
    assert at_bound([[0.995, 1.0], [0.999, 0.998]], 1.0, 0.01)
    assert not at_bound([[0.5, 0.6], [0.999, 0.998]], 1.0, 0.01)
    assert at_bound([[0.0, 0.0], [0.001, 0.0]], 0.0, 0.01)
    assert not at_bound([[0.995], [0.999]], None, 0.01)
    assert not at_bound([[], []], 1.0, 0.01)


@pytest.mark.parametrize(
    ("lost", "up", "down"),
    [
        (Lost(), "better", "worse"),
        (Lost(arm=(6, 7)), "inconclusive", "worse"),
        (Lost(reference=(6,)), "better", "inconclusive"),
        (Lost((6,), (7,)), "inconclusive", "inconclusive"),
    ],
)
def test_who_lost_a_seed_that_the_other_has_does_not_win(lost: Lost, up: str, down: str) -> None:
    d = [2.0, 2.1, 1.9, 2.0, 2.1, 1.9]
    for sign, outcome in ((1, up), (-1, down)):
        result = compare([0.0] * 6, [sign * x for x in d])
        found = verdict(result, "higher", result.p_t, 1, lost=lost)
        assert found.outcome == outcome
    if lost == Lost(arm=(6, 7)):
        result = compare([0.0] * 6, d)
        said = verdict(result, "higher", result.p_t, 1, lost=lost).reason
        assert said == "the arm has no value at seeds 6, 7, where the reference has one"


def test_large_numbers_keep_their_digits() -> None:
    result = compare([12000.0 + k for k in range(6)], [13013.0 + 2 * k for k in range(6)])
    assert verdict(result, "higher", result.p_t, 1).reason.startswith(
        "+1016 over 6 paired seeds, the 95 % interval is +1014 to"
    )
    assert [amount(x) for x in (0.01234, -999.4, 999.5, 12345.6)] == ["+0.0123", "-999", "+1000", "+12346"]


def test_one_seed_far_from_the_others_is_lopsided() -> None:
    assert lopsided([0.1, -0.1, 0.0, 0.05, -0.05, 0.1, -0.1, 5.0])
    assert not lopsided([0.1, -0.1, 0.0, 0.05, -0.05, 0.1, -0.1, 0.12])
    assert not lopsided([0.0] * 8)
    assert not lopsided([0.0, 0.0, 9.0])
    d = np.random.default_rng(0).normal(size=(2000, 8))
    assert np.mean([lopsided(list(row)) for row in d]) < 0.04


# ---- how many pairs it takes


def test_as_many_pairs_settle_it_in_80_of_100_cases() -> None:
    rng = np.random.default_rng(0)
    for sd in (0.5, 1.0, 2.0):
        n = pairs_needed(sd, MARGIN)
        assert n is not None
        for truth in (0.0, MARGIN):
            d = rng.normal(truth, sd, size=(4000, n))
            shown = scipy_stats.ttest_1samp(d, 0, axis=1).pvalue <= 0.05
            equal = tost(d, np.full(4000, MARGIN))[2] <= 0.05
            assert np.mean(shown if truth else equal) >= 0.77
        if n > CONCLUDING:
            fewer = rng.normal(0.0, sd, size=(4000, n - 2)), rng.normal(MARGIN, sd, size=(4000, n - 2))
            powers = (np.mean(tost(fewer[0], np.full(4000, MARGIN))[2] <= 0.05),
                      np.mean(scipy_stats.ttest_1samp(fewer[1], 0, axis=1).pvalue <= 0.05))  # fmt: skip
            assert min(powers) < 0.82
    for sd in (0.0, *np.geomspace(1e-15, 0.3, 40)):
        assert pairs_needed(float(sd) * MARGIN, MARGIN) == CONCLUDING
    assert pairs_needed(1e6, MARGIN) is None


def test_in_a_family_it_takes_more_of_them() -> None:
    rng, comparisons = np.random.default_rng(0), 14
    n = pairs_needed(0.7, MARGIN, comparisons)
    assert n is not None
    assert n > (pairs_needed(0.7, MARGIN) or 0)
    for truth in (0.0, MARGIN):
        d = rng.normal(truth, 0.7, size=(4000, n))
        p = scipy_stats.ttest_1samp(d, 0, axis=1).pvalue if truth else tost(d, np.full(4000, MARGIN))[2]
        assert np.mean(p <= 0.05 / comparisons) >= 0.77
    for size, pairs in ((1, 6), (2, 7), (32, 11)):  # equal differences: 2 / 2^n, times the family
        assert pairs_needed(0.0, MARGIN, size) == pairs


# ---- noise at the margin's edge: the true mean difference is just what would matter


def normal(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.normal(size=(b, n))


def heavy(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.standard_t(3, size=(b, n))


def unequal(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.normal(size=(b, n)) - 3 * rng.normal(size=(b, n))


def exponential(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    return rng.exponential(size=(b, n)) - 1


def collapsing(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    """One seed in ten of one arm loses ten standard deviations."""
    return rng.normal(size=(b, n)) - 10 * ((rng.random((b, n)) < 0.1) - 0.1)


def ceiling(rng: np.random.Generator, b: int, n: int) -> np.ndarray:
    """Shares: one arm's close to 1."""
    d = rng.beta(30, 1.5, size=(b, n)) - rng.beta(20, 5, size=(b, n))
    return 10 * (d - (30 / 31.5 - 0.8))


def false_claims(law: Law, n: int, edge: float) -> float:
    """The worse of both edges: how often equivalence is shown where the difference is the margin."""
    noise = law(np.random.default_rng(n), DRAWS, n)
    margin = np.full(DRAWS, edge)
    return max(float(np.mean(tost(noise + side * edge, margin)[2] <= 0.05)) for side in (-1, 1))


@pytest.mark.parametrize("n", [6, 8, 12, 20])
@pytest.mark.parametrize("law", [normal, heavy, unequal])
def test_noise_at_the_edge_seldom_claims(law: Law, n: int) -> None:
    assert max(false_claims(law, n, edge) for edge in (1.0, 3.0, 10.0)) <= WORST


@pytest.mark.parametrize(
    ("law", "n", "share"),
    [(exponential, 6, 0.151), (exponential, 8, 0.142), (exponential, 20, 0.109), (collapsing, 6, 0.359),
     (collapsing, 8, 0.365), (collapsing, 20, 0.131), (ceiling, 6, 0.066), (ceiling, 8, 0.058)],
)  # fmt: skip
def test_where_a_law_gives_more_the_docs_say_how_much(law: Law, n: int, share: float) -> None:
    """docs/comparing.md holds these figures."""
    assert false_claims(law, n, 10.0) == pytest.approx(share, abs=0.012)


def test_families_of_noise_at_the_edge_seldom_claim_anything() -> None:
    rng, tasks, families = np.random.default_rng(0), 5, 3000
    d = rng.normal(size=(families * tasks, 8)) + 3.0
    p = tost(d, np.full(len(d), 3.0))[2].reshape(families, tasks)
    assert np.mean([min(holm(row)) <= 0.05 for row in p.tolist()]) <= WORST


def test_a_difference_of_nothing_is_claimed_when_pairs_suffice() -> None:
    d = np.random.default_rng(0).normal(0, 0.3, size=(2000, 8))
    assert np.mean(tost(d, np.full(2000, MARGIN))[2] <= 0.05) > 0.95


def test_reasons_are_short_and_hold_their_numbers() -> None:
    values: Mapping[int, float] = dict(enumerate([0.1, -0.1, 0.2, -0.2, 0.0, 0.1]))
    result = paired(dict.fromkeys(values, 0.0), values, "lower")
    found = equivalence(result, 0.5)
    said = verdict(result, "lower", result.p_t, 2, replace(found, p_adjusted=2 * found.p, claims=2)).reason
    assert "over 6 paired seeds, the 90 % interval is" in said
    assert "inside the margin of 0.5, p" in said
    assert said.endswith("after Holm's correction over 2 claims")
