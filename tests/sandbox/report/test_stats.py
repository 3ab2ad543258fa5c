"""Known answers, properties, degenerate cases, and the verdict."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pairs import compare, judge, outcome, seeded

from sandbox.report import stats
from sandbox.report.stats import Better, Paired, holm, paired, summarise
from sandbox.report.verdicts import verdict

DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]  # Student 1908: hours of sleep gained
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

whole = st.integers(-1000, 1000)
rows = st.lists(st.tuples(whole, whole), min_size=1, max_size=9)


def against_zero(differences: list[float]) -> Paired:
    return compare([0.0] * len(differences), differences)


# Known answers


def test_students_sleep_data() -> None:
    result = compare(DRUG_1, DRUG_2)
    assert result.mean == pytest.approx(1.58)
    assert (result.low, result.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)  # R: t.test, paired
    assert result.p_t == pytest.approx(0.00283289, abs=1e-8)
    half = (result.high - result.low) / 2
    assert 1.58 / (half / 2.2621572) == pytest.approx(4.0621, abs=1e-4)
    assert result.p_sign_flip == 4 / 2**10  # nine gains and a zero: the zero's sign does not matter
    assert outcome(result) == "better"
    assert outcome(result, "lower") == "worse"


def test_an_interval_worked_out_by_hand() -> None:
    result = summarise({3: 1.0, 1: 2.0, 2: 3.0})
    assert list(result.values.items()) == [(1, 2.0), (2, 3.0), (3, 1.0)]
    assert (result.mean, result.sd) == pytest.approx((2, 1))
    half = 4.302653 / math.sqrt(3)  # the table's t for 2 degrees of freedom
    assert (result.low, result.high) == pytest.approx((2 - half, 2 + half), abs=1e-6)
    assert result.bootstrap is None


def test_holm_by_hand() -> None:
    nan = float("nan")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, nan, 0.04, 0.03, nan, 0.005]) == pytest.approx([0.03, nan, 0.06, 0.06, nan, 0.02], nan_ok=True)
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


def test_improvement_by_hand() -> None:
    assert compare([1, 3], [1, 2], "higher").improvement == 1.5 / 4  # a tie, a loss, a win, a loss
    assert compare([1, 3], [1, 2], "lower").improvement == 2.5 / 4
    assert compare([0.3, 0.3], [0.1 + 0.2, 0.3]).improvement == 0.5  # ties up to rounding


def test_what_is_missing_in_one_arm_is_left_out_of_both() -> None:
    result = paired({0: 1.0, 1: None, 2: 3.0, 5: 7.0, 6: 100.0}, {5: 8.0, 2: 6.0, 1: 50.0, 0: math.nan}, "higher")
    assert list(result.differences.items()) == [(2, 3.0), (5, 1.0)]
    assert result.mean == 2
    assert result.improvement == 3 / 4  # of 6 and 8 against 3 and 7
    assert summarise({0: None, 1: math.nan, 2: 4.0}).values == {2: 4.0}


# Sign flips


def sign_flip_by_fractions(differences: list[float]) -> Fraction:
    """Every pattern of signs, in exact arithmetic on the decimals that are meant."""
    parts = [Fraction(str(x)) for x in differences]
    patterns = list(itertools.product((1, -1), repeat=len(parts)))
    extreme = [abs(sum(s * x for s, x in zip(p, parts, strict=True))) >= abs(sum(parts)) for p in patterns]
    return Fraction(sum(extreme), len(patterns))


@settings(max_examples=60, deadline=None)
@given(tenths=st.lists(st.integers(-12, 12), min_size=1, max_size=8))
def test_exact_sign_flips_agree_with_fractions(tenths: list[int]) -> None:
    differences = [x / 10 for x in tenths]  # few sizes: many ties, that sums of floats miss by rounding
    p = against_zero(differences).p_sign_flip
    assert p == sign_flip_by_fractions(differences)
    assert p >= 2 / 2 ** len(differences) or len(differences) == 1


def test_a_tie_is_a_tie_whatever_the_order_of_the_sum() -> None:
    for order in set(itertools.permutations([0.1, 0.2, 0.3, 0.1, 0.7, -0.1])):
        assert against_zero(list(order)).p_sign_flip == 8 / 64  # 1.3, 1.3 again twice, 1.5, and the negatives
        shifted = compare([1000.0] * 6, [1000 + x for x in order])
        assert shifted.p_sign_flip == 8 / 64


def test_above_16_pairs_patterns_are_drawn() -> None:
    rng = np.random.default_rng(0)
    for n, shift in ((16, 0.4), (17, 0.0), (18, 0.4)):
        d = rng.normal(shift, 1, n)
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        exact = float((np.abs((1 - 2 * bits) @ d) >= abs(d.sum()) - 1e-9).mean())
        assert against_zero(d.tolist()).p_sign_flip == pytest.approx(exact, abs=1e-12 if n == 16 else 0.008)
    assert against_zero([1.0 + i for i in range(40)]).p_sign_flip == 1 / 2**16
    assert against_zero([0.0] * 40).p_sign_flip == 1


# Properties


@settings(max_examples=60, deadline=None)
@given(values=rows, better=st.sampled_from(["higher", "lower"]))
def test_swapping_the_arms_negates_everything(values: list[tuple[int, int]], better: Better) -> None:
    reference, arm = ([row[i] / 8 for row in values] for i in (0, 1))
    there, back = compare(reference, arm, better), compare(arm, reference, better)
    assert {seed: -d for seed, d in there.differences.items()} == back.differences
    assert (there.p_t, there.p_sign_flip) == pytest.approx((back.p_t, back.p_sign_flip), nan_ok=True)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), nan_ok=True)
    assert there.improvement == pytest.approx(1 - back.improvement)
    flipped = {"better": "worse", "worse": "better", "inconclusive": "inconclusive"}
    assert outcome(there, better) == flipped[outcome(back, better)]
    assert outcome(there, "higher") == flipped[outcome(there, "lower")]


@settings(max_examples=60, deadline=None)
@given(values=rows, shifts=st.lists(whole, min_size=9, max_size=9), exponent=st.integers(-900, 900))
def test_shifts_of_a_seed_and_units_do_not_matter(
    values: list[tuple[int, int]], shifts: list[int], exponent: int
) -> None:
    reference, arm = ([float(row[i]) for row in values] for i in (0, 1))
    plain = compare(reference, arm)
    scale = 2.0**exponent
    moved = compare(*([(x + s) * scale for x, s in zip(part, shifts, strict=False)] for part in (reference, arm)))
    assert moved.differences == {seed: d * scale for seed, d in plain.differences.items()}
    assert (moved.p_t, moved.p_sign_flip) == pytest.approx((plain.p_t, plain.p_sign_flip), nan_ok=True)
    assert moved.low == pytest.approx(plain.low * scale, rel=1e-9, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(values=rows)
def test_p_values_are_probabilities_and_match_the_interval(values: list[tuple[int, int]]) -> None:
    result = compare([row[0] / 10 for row in values], [row[1] / 10 for row in values])
    n = len(values)
    assert 0 < result.p_sign_flip <= 1
    assert (result.p_sign_flip * 2**n).is_integer()
    assert 0 <= result.improvement <= 1
    if n > 1:
        assert 0 < result.p_t <= 1
        assert result.low <= result.mean <= result.high
        if result.high > result.low:
            assert (result.p_t > 0.05) == (result.low <= 0 <= result.high)


@settings(max_examples=100, deadline=None)
@given(p=st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8), data=st.data())
def test_holm_keeps_the_order_and_never_lowers_a_p(p: list[float], data: st.DataObject) -> None:
    adjusted = holm(p)
    known = [(raw, new) for raw, new in zip(p, adjusted, strict=True) if not math.isnan(raw)]
    assert sum(math.isnan(new) for new in adjusted) == len(p) - len(known)
    assert all(raw <= new <= 1 for raw, new in known)
    assert sorted(new for _, new in known) == [new for _, new in sorted(known)]
    order = data.draw(st.permutations(range(len(p))))
    assert holm([p[i] for i in order]) == pytest.approx([adjusted[i] for i in order], nan_ok=True)
    if known:
        assert min(new for _, new in known) == min(1, len(known) * min(raw for raw, _ in known))


# Degenerate cases; warnings are errors


def test_no_pair_and_one_pair_say_nothing() -> None:
    none, one = compare([], []), compare([1.0], [3.0])
    assert none.differences == {}
    numbers = (none.mean, none.low, none.high, none.p_t, none.p_sign_flip, none.improvement)
    assert all(math.isnan(x) for x in numbers)
    assert (one.mean, one.p_sign_flip, one.improvement) == (2, 1, 1)
    assert all(math.isnan(x) for x in (one.low, one.high, one.p_t))
    assert verdict(none, "higher", none.p_t, 1).reason == "0 paired seeds, 6 are needed"
    assert verdict(one, "higher", one.p_t, 1).reason == "1 paired seed, 6 are needed"
    empty, single = summarise({}), summarise({4: 2.5})
    assert all(math.isnan(x) for x in (empty.mean, empty.sd, empty.low, single.sd, single.low, single.high))
    assert single.mean == 2.5


@pytest.mark.parametrize("n", [2, 6, 12, 20])
def test_equal_arms_are_inconclusive(n: int) -> None:
    values = [0.1 * i for i in range(n)]
    for arm in (values, [(x + 0.3) - 0.3 for x in values]):  # the same up to rounding
        result = compare(values, arm)
        assert set(result.differences.values()) == {0.0}
        assert (result.mean, result.low, result.high, result.p_t, result.p_sign_flip) == (0, 0, 0, 1, 1)
        assert outcome(result) == "inconclusive"
        reason = "2 paired seeds, 6 are needed" if n == 2 else "the 95 % interval covers zero: +0 to +0"
        assert verdict(result, "higher", 1.0, 1).reason == reason
        assert result.bootstrap == (None if n < 10 else (0, 0))


@pytest.mark.parametrize("n", [2, 5, 6, 9, 12])
def test_equal_differences_have_no_smaller_p_than_sign_flips_give(n: int) -> None:
    result = compare([0.1 * i for i in range(n)], [0.1 * i + 0.3 for i in range(n)])
    assert len(set(result.differences.values())) > 1 or n == 2  # equal up to rounding
    assert result.low == result.mean == result.high == pytest.approx(0.3)
    assert result.p_t == result.p_sign_flip == 2 / 2**n
    assert outcome(result) == ("better" if n >= 6 else "inconclusive")
    in_family = verdict(result, "higher", holm([result.p_t, *[1.0] * 8])[0], 9)
    assert in_family.outcome == ("better" if n >= 9 else "inconclusive")


def test_one_large_pair_does_not_hide_the_others() -> None:
    result = compare([0.0, 0.0, 0.0, 1e20], [0.5, -0.5, 0.25, 1e20])
    assert list(result.differences.values()) == [0.5, -0.5, 0.25, 0]
    assert result.high > result.mean > result.low


def test_huge_and_tiny_values() -> None:
    for scale in (1e300, 1e-300, 5e-324):
        result = compare([0.0, -scale] * 6, [scale, 0.0, 0.0] * 4)
        plain = compare([0.0, -1.0] * 6, [1.0, 0.0, 0.0] * 4)
        assert (result.p_t, result.p_sign_flip) == pytest.approx((plain.p_t, plain.p_sign_flip))
        assert math.isfinite(result.high)
        assert result.bootstrap is not None
        assert all(math.isfinite(end) for end in result.bootstrap)


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.1e300])
def test_infinite_values_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"seed 3: the value is .*1e\+300"):
        summarise({3: value})
    with pytest.raises(ValueError, match="seed 3"):
        paired({0: 1.0}, {0: 1.0, 3: value}, "higher")
    with pytest.raises(ValueError, match="seed 3"):
        paired({0: 1.0, 3: value}, {0: 1.0}, "higher")


def test_bootstrap_from_ten_on() -> None:
    assert compare(DRUG_1[:9], DRUG_2[:9]).bootstrap is None
    result = compare(DRUG_1, DRUG_2)
    assert result.bootstrap == compare(DRUG_1, DRUG_2).bootstrap
    assert result.bootstrap is not None
    # BCa of these ten differences, from a loop over 200 000 resamples: percentiles shifted for bias and skew.
    d = np.array(list(result.differences.values()))
    means = np.random.default_rng(1).choice(d, (200_000, 10)).mean(axis=1)
    jack = d.mean() - (d.sum() - d) / 9
    skew = (jack**3).sum() / (6 * (jack**2).sum() ** 1.5)
    bias = stats.stats.norm.ppf(((means < d.mean()).mean() + (means <= d.mean()).mean()) / 2)
    z = bias + np.array([-1.959964, 1.959964])
    ends = np.quantile(means, stats.stats.norm.cdf(bias + z / (1 - skew * z)))
    assert result.bootstrap == pytest.approx(tuple(ends), abs=0.05)
    assert summarise(seeded(d.tolist())).bootstrap == result.bootstrap


# The verdict


def test_reasons_name_their_numbers() -> None:
    result = compare(DRUG_1, DRUG_2)
    numbers = "+1.58 over 10 paired seeds, the 95 % interval is +0.7 to +2.46"
    assert verdict(result, "higher", result.p_t, 1).reason == f"{numbers}, p = .00283"
    after = "after Holm's correction over 3 comparisons"
    assert verdict(result, "lower", 0.0004, 3).reason == f"{numbers}, p < .001 {after}"
    for p, text in ((0.08, "p = .08"), (0.05001, "p > .05"), (1.0, "p = 1")):
        late = verdict(result, "higher", p, 3)
        assert (late.outcome, late.reason) == ("inconclusive", f"{text} {after}")
    covering = against_zero([1, -1, 2, -2, 3, -1])
    assert verdict(covering, "higher", 0.0, 1).reason == "the 95 % interval covers zero: -1.73 to +2.4"
    assert verdict(against_zero([1, 1.1, 1.2, 1, 1]), "higher", 0.0, 1).reason == "5 paired seeds, 6 are needed"
    assert verdict(result, "higher", math.nan, 1).outcome == "inconclusive"


@pytest.mark.parametrize(("p", "comparisons"), [(-0.1, 1), (1.1, 1), (0.5, 0)])
def test_impossible_arguments_are_refused(p: float, comparisons: int) -> None:
    with pytest.raises(ValueError, match="allowed are"):
        verdict(compare(DRUG_1, DRUG_2), "higher", p, comparisons)
    if comparisons:
        with pytest.raises(ValueError, match="allowed are 0 to 1"):
            holm([0.5, p])


@settings(max_examples=60, deadline=None)
@given(d=st.lists(st.floats(-1e6, 1e6), max_size=5))
def test_five_seeds_never_conclude(d: list[float]) -> None:
    assert verdict(against_zero(d), "higher", 0.0, 1).outcome == "inconclusive"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 9), shift=st.floats(-2, 2))
def test_many_at_once_agree_with_one(seed: int, n: int, shift: float) -> None:
    both = np.random.default_rng(seed).normal(size=(1, n, 2)) + np.array([shift, 0])
    assume(abs(shift) > 0.01)
    result = compare(both[0, :, 1].tolist(), both[0, :, 0].tolist())
    sides, _, _ = judge(both)
    assert outcome(result) == {-1: "worse", 0: "inconclusive", 1: "better"}[int(sides[0])]
