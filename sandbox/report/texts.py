"""Numbers as texts: decimals that fit their spread, intervals, p values, counts."""

import math
from collections.abc import Iterable

from sandbox.report.stats import LEVEL

NOTHING = "-"


def digits_of(values: Iterable[float]) -> int:
    """Decimals that show a hundredth of the values' spread, 0 to 6."""
    known = [value for value in values if math.isfinite(value)]
    spread = max(known) - min(known) if known else 0.0
    spread = spread or max(map(abs, known), default=0.0)
    return min(6, max(0, 2 - math.floor(math.log10(spread)))) if spread else 3


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A fixed number of decimals; `NOTHING` for None and NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    if sign:
        digits = _shown([value], digits)  # a difference of -0.000 would hide its sign
    return f"{value:{sign}.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def _shown(values: Iterable[float], digits: int) -> int:
    """As many decimals as it takes to tell each value from zero, or ``digits`` where six do not."""
    known = [value for value in values if value]
    enough = (n for n in range(digits, 7) if all(round(value, n) for value in known))
    return next(enough, digits)


def interval_text(low: float, high: float, digits: int, sign: str = "") -> str:
    """``[low, high]``; `NOTHING` where there is none."""
    if math.isnan(low):
        return NOTHING
    digits = _shown([low, high], digits)  # -0.000 would hide on which side of zero the interval ends
    return f"[{number(low, digits, sign)}, {number(high, digits, sign)}]"


def p_text(p: float) -> str:
    """Three significant digits, ``.0123``."""
    if math.isnan(p):
        return NOTHING
    if p < 0.001:
        return "< .001"
    if 0 < p - (1 - LEVEL) < 5e-4:
        return "> .05"  # it would be rounded to .05
    return f"{p:.3g}".replace("0.", ".", 1)


def count_text(value: float) -> str:
    """A large number for eyes: 854,403 and 37.75 M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}\u00a0{name}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


def plural(n: int, what: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{n} {what}{'s' * (n != 1)}"
