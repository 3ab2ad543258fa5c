"""The one rule by which a comparison concludes: better, worse, equivalent within a margin, or inconclusive.

A difference is shown by a paired t test and its interval (`sandbox.report.stats`). That there is none that matters is
shown by two one-sided t tests against a margin that was named beforehand (Schuirmann 1987): the difference is neither
as low as -margin nor as high as +margin. Absence of the first is not the second.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import integrate, special, stats

from sandbox.report.stats import ALPHA, CONCLUDING, LEVEL, SIGN, Better, Paired, conclusion

POWER = 0.8  # of the number of pairs that an inconclusive comparison would take
MOST_PAIRS = 1000  # beyond, a number of pairs is no plan
_LOPSIDED = 1.5  # skewness of differences; over 8 of a normal law it is exceeded in 2 of 100 cases
_NAN = float("nan")
Outcome = Literal["better", "worse", "equivalent", "inconclusive"]
_Values = Mapping[int, float | None]


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference is smaller than what would matter. See `equivalence`.

    Attributes:
        margin: the smallest difference that would matter, in the score's unit.
        pairs: seeds that were tested.
        mean: of their differences.
        low, high: the interval of the mean at 1 - 2 x .05, inside the margin where both tests reject; NaN below 2.
        p: the larger of the two one-sided p values; NaN below 2 pairs.
        barred: why equivalence may not be claimed, whatever p is; empty: it may.
        p_adjusted: `sandbox.report.stats.holm`'s value in the family of claims; NaN where it is none.
        claims: in that family.
        for_pairs: it is barred because pairs are missing, and for no other reason.
    """

    margin: float
    pairs: int
    mean: float
    low: float
    high: float
    p: float
    barred: str = ""
    p_adjusted: float = _NAN
    claims: int = 0
    for_pairs: bool = False

    @property
    def holds(self) -> bool:
        """Whether equivalence is shown."""
        return not self.barred and self.pairs >= CONCLUDING and self.p_adjusted <= ALPHA

    @property
    def inside(self) -> bool:
        """Whether the interval lies inside the margin; in a family that alone shows nothing."""
        return -self.margin < self.low <= self.high < self.margin

    def adjusted(self, p: float, claims: int) -> "Equivalence":
        """With what the whole family makes of its p."""
        return replace(self, p_adjusted=p, claims=claims)


class Lost(NamedTuple):
    """Seeds at which one side has a value and the other has none: a crash, an undefined score, a run still to be made.

    Attributes:
        arm: where the arm has none.
        reference: where the reference has none.
        of_several: the sides are sums of several arms, those with positive and those with negative weights.
    """

    arm: tuple[int, ...] = ()
    reference: tuple[int, ...] = ()
    of_several: bool = False

    @classmethod
    def between(cls, reference: _Values, arm: _Values) -> "Lost":
        """Of the values of two sides by seed; None and NaN are none."""
        return cls.among([reference], [arm])._replace(of_several=False)

    @classmethod
    def among(cls, negative: Sequence[_Values], positive: Sequence[_Values]) -> "Lost":
        """Of the values of the arms with negative and with positive weights: seeds that any of the others has."""
        sides = [[_known(part) for part in side] for side in (positive, negative)]
        every = set[int]().union(*sides[0], *sides[1])
        arm, reference = (tuple(sorted(every - every.intersection(*side))) for side in sides)
        return cls(arm, reference, of_several=True)


def _known(values: _Values) -> set[int]:
    return {seed for seed, value in values.items() if value is not None and not math.isnan(value)}


NOTHING_LOST = Lost()


@dataclass(frozen=True)
class Verdict:
    """See `verdict`.

    Attributes:
        outcome: in a word.
        reason: one short sentence with its numbers.
        small: a difference is shown, and it is smaller than what would matter.
    """

    outcome: Outcome
    reason: str
    small: bool = False

    @property
    def words(self) -> str:
        """The outcome as a report says it."""
        return f"{self.outcome}, by less than matters" if self.small else self.outcome


def equivalence(result: Paired, margin: float, barred: str = "", *, for_pairs: bool = False) -> Equivalence:
    """Two one-sided paired t tests of a mean difference against +-margin.

    Equal differences have no spread to measure the mean by: inside the margin p is 2^-n, else 1.

    Args:
        result: from `sandbox.report.stats.paired`.
        margin: above 0.
        barred, for_pairs: see `Equivalence`.

    Raises:
        ValueError: the margin is not above 0.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"the margin is {margin}; allowed are numbers above 0")
    d = np.array(list(result.differences.values()), dtype=np.float64)
    if len(d) < 2:
        return Equivalence(margin, len(d), result.mean, _NAN, _NAN, _NAN, barred, for_pairs=for_pairs)
    low, high, p = (float(part[0]) for part in tost(d[None], np.array([margin]), equal=result.low == result.high))
    return Equivalence(margin, len(d), result.mean, low, high, p, barred, for_pairs=for_pairs)


def tost(
    d: Float64[np.ndarray, "b n"], margin: Float64[np.ndarray, " b"], *, equal: bool = False
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    """Interval at 1 - 2 x .05 and p of two one-sided t tests, of b samples of n >= 2 differences.

    ``equal``: the differences of all samples are equal up to rounding.
    """
    n, mean = d.shape[1], d.mean(axis=1)
    if equal:
        return mean, mean, np.where(np.abs(mean) < margin, 2.0**-n, 1.0)
    error = d.std(axis=1, ddof=1) / math.sqrt(n)
    half = error * special.stdtrit(n - 1, 1 - ALPHA)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = special.stdtr(n - 1, -(margin - np.abs(mean)) / error)
    p = np.where(error == 0, np.where(np.abs(mean) < margin, 2.0**-n, 1.0), p)
    return mean - half, mean + half, p


def verdict(
    result: Paired,
    better: Better,
    p_adjusted: float,
    comparisons: int,
    equal: Equivalence | None = None,
    lost: Lost = NOTHING_LOST,
) -> Verdict:
    """Whether the arm is better or worse than its reference, equivalent to it, or nothing can be said.

    Better or worse takes 6 or more paired seeds, a t interval that does not cover zero, and an adjusted p of at most
    .05. Else equivalent takes `Equivalence.holds`. Where both are shown, the difference is smaller than matters. What
    only one side has lost counts against that side: an arm without a value where its reference has one is not better.

    Args:
        result: from `sandbox.report.stats.paired`.
        better: which direction of the score is better.
        p_adjusted: `sandbox.report.stats.holm`'s value for `result.p_t` in its family, 0 to 1; NaN never concludes.
        comparisons: how many p values that counted, 1 or more.
        equal: the test of equivalence, where a margin was named.
        lost: what one side alone has lost.

    Raises:
        ValueError: p_adjusted is outside [0, 1], or comparisons below 1.
    """
    if p_adjusted < 0 or p_adjusted > 1 or comparisons < 1:
        raise ValueError(f"p_adjusted {p_adjusted}, comparisons {comparisons}; allowed are 0 to 1 or NaN, 1 and more")
    pairs = len(result.differences)
    side = int(conclusion(pairs, *(np.array([x]) for x in (result.low, result.high, p_adjusted)))[0])
    family = f" after Holm's correction over {comparisons} comparisons" if comparisons > 1 else ""
    interval = f"the {100 * LEVEL:.0f} % interval"
    if side:
        numbers = f"{amount(result.mean)} over {pairs} paired seeds, {interval} is {_range(result.low, result.high)}"
        outcome: Outcome = "better" if side == SIGN[better] else "worse"
        if missing := _speaks_against(outcome, lost):
            return Verdict("inconclusive", missing)
        return Verdict(outcome, f"{numbers}, {_p_text(p_adjusted)}{family}", equal is not None and equal.holds)
    if equal is not None and equal.holds:
        claims = f" after Holm's correction over {equal.claims} claims" if equal.claims > 1 else ""
        inside = f"the {100 * (1 - 2 * ALPHA):.0f} % interval is {_range(equal.low, equal.high)}"
        numbers = f"{amount(equal.mean)} over {equal.pairs} paired seeds"
        tested = f"inside the margin of {equal.margin:g}, {_p_text(equal.p_adjusted)}{claims}"
        return Verdict("equivalent", f"{numbers}, {inside}, {tested}")
    if pairs < CONCLUDING:
        return Verdict("inconclusive", f"{pairs} paired seed{'s' * (pairs != 1)}, {CONCLUDING} are needed")
    if result.low <= 0 <= result.high:
        return Verdict("inconclusive", f"{interval} covers zero: {_range(result.low, result.high)}")
    return Verdict("inconclusive", f"{_p_text(p_adjusted)}{family}")


def _speaks_against(outcome: Outcome, lost: Lost) -> str:
    """What was lost by the side that would win, in words."""
    seeds, winner, other, weight = {
        "better": (lost.arm, "the arm", "the reference", "positive"),
        "worse": (lost.reference, "the reference", "the arm", "negative"),
    }[outcome]
    if not seeds:
        return ""
    if lost.of_several:
        winner, other = f"an arm with a {weight} weight", "another arm"
    which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return f"{winner} has no value at {which}, where {other} has one"


def amount(x: float, digits: int = 3, sign: str = "+") -> str:
    """A number to a few digits, and to all of those before its decimal point where it has more."""
    return f"{x:{sign}.{digits}g}" if abs(x) < 10**digits - 0.5 else f"{x:{sign}.0f}"


def _range(low: float, high: float) -> str:
    return f"{amount(low)} to {amount(high)}"


def family(reference: str, arm: str) -> str:
    """Which comparisons are corrected together, by the arms' names.

    The reference with coordinates (``coord`` of ``conv``, ``NAME_coord`` of any other ``NAME``) is a family of its own,
    all other arms are a second one.
    """
    return f"{arm} against {reference}" if arm == with_coordinates(reference) else "the other arms"


def with_coordinates(arm: str) -> str:
    """The name of the arm that differs from one by its coordinates alone."""
    return "coord" if arm == "conv" else f"{arm}_coord"


def at_bound(arms: Sequence[Sequence[float]], bound: float | None, margin: float) -> bool:
    """Whether the means of all arms lie within the margin of a value that none can pass: the score tells nothing."""
    return bound is not None and all(len(part) > 0 and abs(bound - float(np.mean(part))) < margin for part in arms)


def lopsided(differences: Sequence[float]) -> bool:
    """Whether differences look like a law under which a t test errs more often: one seed far from the others."""
    d = np.array(differences, dtype=np.float64)
    return len(d) >= CONCLUDING and bool(d.std() > 0) and abs(float(stats.skew(d))) > _LOPSIDED


def pairs_needed(sd: float, margin: float, comparisons: int = 1) -> int | None:
    """Pairs after which the question is settled in 80 of 100 cases, at this spread of the differences.

    Settled: a difference as large as the margin is shown, where there is one, and equivalence, where there is none.
    The better of a normal law's powers: the noncentral t test's, and that of two one-sided tests. In a family each at
    the strictest step of Holm's correction, .05 / comparisons.

    Args:
        sd: standard deviation of the differences; 0: they are equal, and p is 2 / 2^n.
        margin: above 0, in the same unit.
        comparisons: in the family, 1 or more.

    Returns:
        From `CONCLUDING` on; None where even `MOST_PAIRS` are too few.
    """
    ratio, alpha = sd / margin, ALPHA / comparisons

    def settles(n: int) -> bool:
        return 2 / 2**n <= alpha if sd == 0 else _power(n, ratio, alpha) >= POWER

    settled = [n for n in (CONCLUDING, MOST_PAIRS) if settles(n)]
    if not settled:
        return None
    low, high = CONCLUDING, settled[0]
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle + 1, high)
    return low


def _power(n: int, ratio: float, alpha: float) -> float:
    """The smaller of the two powers of `pairs_needed`, with n pairs and sd = ratio x margin."""
    if ratio < 1e-6:  # scipy's noncentral t gives up where the distance is too long
        return 1.0
    free = n - 1
    distance, cut = math.sqrt(n) / ratio, special.stdtrit(free, 1 - alpha / 2)
    shown = float(stats.nct.sf(cut, free, distance))
    half = special.stdtrit(free, 1 - alpha)
    constant = math.log(2) + free / 2 * math.log(free / 2) - math.lgamma(free / 2)

    def inside(s: float) -> float:  # s: the sample's sd over the true one, sqrt(free) s follows a chi law
        density = math.exp(constant + (free - 1) * math.log(s) - free * s * s / 2) if s > 0 else 0.0
        return density * float(2 * special.ndtr(distance - half * s) - 1)

    most = min(distance / half, 1 + 12 / math.sqrt(free))  # beyond it nothing lies, and quad would miss what does
    equal = integrate.quad(inside, 0, most, limit=200)[0]
    return min(shown, float(equal))


def _p_text(p: float) -> str:
    if p < 0.001:
        return "p < .001"
    if 0 < p - ALPHA < 5e-4:
        return "p > .05"  # it would be rounded to .05
    return f"p = {p:.3g}".replace("0.", ".", 1)
