"""Whether an arm does better than its reference: paired statistics over seeds, made for few of them.

Both arms run under the same seeds, and everything here is about arm minus reference, seed by seed. Beside the t
interval and the t test stand an exact sign-flip test, which assumes no normal law, the probability of improvement of
Agarwal et al. 2021 (arXiv 2108.13264), and a bootstrap interval from ten seeds on: over 3 to 5 seeds a bootstrap calls
noise significant in 10 to 25 % of cases. `sandbox.report.verdicts` has the one rule by which a comparison concludes.

Two numbers that differ by no more than rounding are equal here: 0.3 - 0.1 and 0.4 - 0.2 are the same difference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import special, stats

CONCLUDING = 6  # fewest seeds that may conclude: with 5 even the best sign-flip p is 2 / 2^5 = .0625
BOOTSTRAP_FROM = 10  # fewest seeds for a bootstrap interval
LEVEL = 0.95
LARGEST = 1e300  # of magnitudes: differences and intervals stay finite

ALPHA = round(1 - LEVEL, 12)
_ROUNDING = 16 * float(np.finfo(np.float64).eps)  # relative; a score is the result of a few operations
_EXACT_TO = 16  # seeds; 2^16 sign patterns
_DRAWS = 2**16 - 1  # sign patterns drawn above that
_NAN = float("nan")

Better = Literal["higher", "lower"]
SIGN = {"higher": 1, "lower": -1}


@dataclass(frozen=True)
class Summary:
    """One score of one arm, in the score's unit. See `summarise`.

    Attributes:
        values: by seed, in order, the finite ones only.
        mean: NaN without any value.
        sd: sample standard deviation (n - 1), NaN below 2 values, exactly 0 where they are equal up to rounding.
        low, high: t interval of the mean at `LEVEL`, NaN below 2 values, a point where sd is 0.
        bootstrap: BCa interval of the mean at `LEVEL`, None below `BOOTSTRAP_FROM` values.
    """

    values: dict[int, float]
    mean: float
    sd: float
    low: float
    high: float
    bootstrap: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """Arm minus reference over the seeds that both have, in the score's unit. See `paired`.

    Attributes:
        differences: by seed, in order; exactly 0 where the two values are equal up to rounding.
        mean: NaN without any pair.
        low, high: t interval of the mean at `LEVEL`, NaN below 2 pairs, a point where all differences are equal.
        p_t: paired t test, two-sided, NaN below 2 pairs. Equal differences have no spread to measure the mean by, and
            the t test would call them infinitely significant; there it is the exact sign-flip p: 1 where all are 0,
            else 2 / 2^n.
        p_sign_flip: two-sided permutation test of the mean, NaN without any pair. Exact to 16 pairs (all 2^n patterns
            of signs, so at least 2 / 2^n). Above: (k + 1) / (m + 1) with k of m = 65535 drawn patterns (fixed seed)
            at least as extreme.
        improvement: probability of improvement, 0 to 1: how often a value of the arm is better than one of the
            reference, over all n x n pairs of values of these seeds, ties counted half. NaN without any pair.
        bootstrap: BCa interval of the mean difference at `LEVEL`, None below `BOOTSTRAP_FROM` pairs.
    """

    differences: dict[int, float]
    mean: float
    low: float
    high: float
    p_t: float
    p_sign_flip: float
    improvement: float
    bootstrap: tuple[float, float] | None


def summarise(values: Mapping[int, float | None]) -> Summary:
    """Mean, spread and intervals of a score over seeds; None and NaN are left out.

    Raises:
        ValueError: a value is infinite or above 1e300 in magnitude.
    """
    kept = _finite(values)
    x = np.array(list(kept.values()), dtype=np.float64)
    t = _t_of(x, _ROUNDING * np.abs(x))
    return Summary(kept, t.mean, t.sd, t.low, t.high, _bootstrap(x, t))


def paired(reference: Mapping[int, float | None], arm: Mapping[int, float | None], better: Better) -> Paired:
    """Compare an arm with its reference over the seeds that both have; None and NaN count as not having one.

    Differences are arm - reference whichever direction is better; only `Paired.improvement` depends on it. Method of
    the probability of improvement: Agarwal et al. 2021 (arXiv 2108.13264), on one task.

    Raises:
        ValueError: a value is infinite or above 1e300 in magnitude.
    """
    ours, theirs = _finite(arm), _finite(reference)
    seeds = [seed for seed in ours if seed in theirs]
    a, r = (np.array([part[seed] for seed in seeds], dtype=np.float64) for part in (ours, theirs))
    d, tolerance = _difference(a, r)
    t = _t_of(d, tolerance)
    differences = dict(zip(seeds, d.tolist(), strict=True))
    flip, better_by_chance = _sign_flip(d, tolerance), improvement(a, r, better)
    return Paired(differences, t.mean, t.low, t.high, t.p, flip, better_by_chance, _bootstrap(d, t))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, 0 to 1, in the order given; NaN stays NaN and is not counted.

    An adjusted p at or below 0.05 rejects with at most 5 % chance of any false rejection in the family, whatever the
    dependence. Holm 1979, "A simple sequentially rejective multiple test procedure".

    Raises:
        ValueError: a p value is outside [0, 1].
    """
    for value in p:
        if value < 0 or value > 1:
            raise ValueError(f"p is {value}; allowed are 0 to 1 and NaN")
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    adjusted, largest = [_NAN] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def conclusion(
    pairs: int, low: Float64[np.ndarray, " b"], high: Float64[np.ndarray, " b"], p_adjusted: Float64[np.ndarray, " b"]
) -> Int64[np.ndarray, " b"]:
    """Which of b comparisons show a difference: its sign, 0 where nothing can be said."""
    allowed = (p_adjusted <= ALPHA) & (pairs >= CONCLUDING)
    return np.where(allowed, (low > 0).astype(np.int64) - (high < 0), 0)


class TTest(NamedTuple):
    """See `t_test`; each (b,)."""

    mean: Float64[np.ndarray, " b"]
    sd: Float64[np.ndarray, " b"]
    low: Float64[np.ndarray, " b"]
    high: Float64[np.ndarray, " b"]
    p: Float64[np.ndarray, " b"]


def t_test(x: Float64[np.ndarray, "b n"], tolerance: Float64[np.ndarray, "b n"]) -> TTest:
    """Mean, sd, t interval of the mean and two-sided p against 0 of b samples of n >= 2, up to 1e300 in magnitude.

    Values that one number could stand for within their tolerances are equal: sd 0, and p as at `Paired.p_t`.
    """
    n = x.shape[1]
    exponent = np.frexp(np.abs(x).max(axis=1))[1]  # scaled by a power of 2, which is exact, no square overflows
    scaled = np.ldexp(x, -exponent[:, None])
    equal = (x - tolerance).max(axis=1) <= (x + tolerance).min(axis=1)
    mean, sd = scaled.mean(axis=1), np.where(equal, 0.0, scaled.std(axis=1, ddof=1))
    error = sd / math.sqrt(n)
    half = error * special.stdtrit(n - 1, (1 + LEVEL) / 2)  # scipy.stats.t does the same in ten times the time
    p = 2 * special.stdtr(n - 1, -np.abs(mean) / np.where(equal, 1.0, error))
    flip = np.minimum(1.0, 2.0 ** (1 - np.count_nonzero(x, axis=1)))  # of equal values; a zero has no sign to flip
    mean, sd, low, high = (np.ldexp(part, exponent) for part in (mean, sd, mean - half, mean + half))
    return TTest(mean, sd, low, high, np.where(equal, flip, p))


class _One(NamedTuple):
    """One sample's `TTest`."""

    mean: float
    sd: float
    low: float
    high: float
    p: float


def _t_of(x: Float64[np.ndarray, " n"], tolerance: Float64[np.ndarray, " n"]) -> _One:
    """`t_test` of one sample, NaN where it has too few values."""
    if len(x) < 2:
        return _One(float(x[0]) if len(x) else _NAN, _NAN, _NAN, _NAN, _NAN)
    return _One(*(float(part[0]) for part in t_test(x[None], tolerance[None])))


def _finite(values: Mapping[int, float | None]) -> dict[int, float]:
    """The values that are there, by seed in order."""
    kept = {seed: float(x) for seed, x in sorted(values.items()) if x is not None and not math.isnan(x)}
    for seed, x in kept.items():
        if abs(x) > LARGEST:
            raise ValueError(f"seed {seed}: the value is {x}; allowed are finite ones up to {LARGEST:g} in magnitude")
    return kept


def _difference(
    a: Float64[np.ndarray, "*n"], r: Float64[np.ndarray, "*n"]
) -> tuple[Float64[np.ndarray, "*n"], Float64[np.ndarray, "*n"]]:
    """a - r, exactly 0 within rounding, and what rounding may have done to it."""
    tolerance = _ROUNDING * np.maximum(np.abs(a), np.abs(r))
    return np.where(np.abs(a - r) <= tolerance, 0.0, a - r), tolerance


def improvement(a: Float64[np.ndarray, " n"], r: Float64[np.ndarray, " m"], better: Better) -> float:
    """How often a value of an arm is better than one of its reference, 0 to 1, ties half; NaN without any."""
    if len(a) == 0 or len(r) == 0:
        return _NAN
    d, _ = _difference(*np.broadcast_arrays(a[:, None], r[None]))  # (n, n)
    return float((1 + SIGN[better] * np.sign(d)).mean() / 2)


def _sign_flip(d: Float64[np.ndarray, " n"], tolerance: Float64[np.ndarray, " n"]) -> float:
    """See `Paired.p_sign_flip`. Sums within rounding of the observed one count as equally extreme."""
    n, exact = len(d), len(d) <= _EXACT_TO
    if n == 0:
        return _NAN
    sums = _all_sums(d) if exact else _drawn_sums(d)
    slack = float(tolerance.sum() + n * _ROUNDING * np.abs(d).sum())
    extreme = int(np.count_nonzero(np.abs(sums) >= abs(float(d.sum())) - slack))
    return extreme / 2**n if exact else (extreme + 1) / (_DRAWS + 1)


def _all_sums(d: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    sums = np.zeros(1)
    for x in d:
        sums = np.concatenate([sums + x, sums - x])
    return sums


def _drawn_sums(d: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    rng, sums = np.random.default_rng(0), np.zeros(_DRAWS)
    for x in d:
        sums += x * (1 - 2 * rng.integers(0, 2, _DRAWS))
    return sums


def _bootstrap(x: Float64[np.ndarray, " n"], t: _One) -> tuple[float, float] | None:
    """BCa interval of the mean (scipy, 9999 resamples, fixed seed), a point where all values are equal."""
    if len(x) < BOOTSTRAP_FROM:
        return None
    if t.sd == 0:
        return t.mean, t.mean
    exponent = int(np.frexp(np.abs(x).max())[1])  # as in t_test
    rng = np.random.default_rng(0)
    result = stats.bootstrap((np.ldexp(x, -exponent),), np.mean, confidence_level=LEVEL, random_state=rng)
    low, high = (float(np.ldexp(end, exponent)) for end in result.confidence_interval)
    return low, high
