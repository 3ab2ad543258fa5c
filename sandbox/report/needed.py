"""What an open question would take: why equivalence is not claimed, and how many more pairs would settle it."""

from collections.abc import Sequence

import numpy as np

from sandbox.report.comparison import Comparison, Contrast
from sandbox.report.verdicts import MOST_PAIRS, POWER, amount, pairs_needed


def what_it_takes(c: Comparison, item: Contrast, arms: Sequence[str]) -> str:
    """Sentences behind an inconclusive verdict, each with a space before it; empty where no margin was named.

    Args:
        c: the comparison.
        item: what is inconclusive.
        arms: whose runs it rests on; a pair is one run of each.
    """
    if item.equal is None:
        return ""
    told = f" Equivalence is not claimed: {item.equal.barred}." if item.equal.barred else ""
    differences = list(item.stats.differences.values())
    if (told and not item.equal.for_pairs) or len(differences) < 2:
        return told
    sd = 0.0 if item.stats.low == item.stats.high else float(np.std(differences, ddof=1))
    needed = pairs_needed(sd, item.equal.margin, max(1, item.compared))
    family = f"{POWER:.0%} power{f', {item.compared} comparisons' if item.compared > 1 else ''}"
    if needed is None:
        return f"{told} At this spread more than {MOST_PAIRS:,} pairs would not settle it ({family})."
    more = max(0, needed - item.equal.pairs)
    if not more:  # in 20 of 100 cases it stays open with them
        return told
    seconds = [row.costs.get("seconds") for arm in arms for row in c.of(arm, item.task)]
    known = [float(value) for value in seconds if isinstance(value, int | float)]
    hours = more * len(arms) * float(np.mean(known)) / 3600 if known else 0.0
    price = f", about {amount(hours, 2, '')} hours of training here" if hours else ""
    return (f"{told} At this spread about {needed} pairs settle it for a margin of {item.equal.margin:g} "
            f"({family}): {more} more{price}.")  # fmt: skip


def why_not_small(item: Contrast) -> str:
    """A sentence behind a difference whose interval lies inside the margin, where that may not be claimed."""
    if item.equal is None or not item.equal.barred or not item.equal.inside:
        return ""
    return f" The interval lies inside the margin of {item.equal.margin:g}; that is not claimed: {item.equal.barred}."
