"""Contrasts of several arms: weighted sums of their primary scores, seed by seed, such as an interaction.

    contrasts:
      interaction: {coord_mean: 1, conv_mean: -1, coord_flatten: -1, conv_flatten: 1}
      coord under mean: {coord_mean: 1, conv_mean: -1}

The sum of a seed is treated exactly as the difference of two arms is (`sandbox.report.stats.paired`): what has positive
weights against what has negative ones. The first contrast of a file is its conclusion, Holm-corrected over the tasks;
the others, and then every simple difference from the reference, are described.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from sandbox.report.comparison import Comparison, Contrast, judged
from sandbox.report.needed import what_it_takes, why_not_small
from sandbox.report.stats import paired
from sandbox.report.tables import Table, contrast_rows, direction, margins, score_digits
from sandbox.report.texts import number
from sandbox.report.verdicts import Lost

Weights = Mapping[str, float]


def formula(weights: Weights) -> str:
    """``coord_mean - conv_mean - coord_flatten + conv_flatten``: in the order of the file."""
    terms: list[str] = []
    for arm, weight in weights.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        sign = ("- " if weight < 0 else "+ ") if terms else ("-" if weight < 0 else "")
        terms.append(f"{sign}{size}{arm}")
    return " ".join(terms)


def combined(c: Comparison) -> list[Contrast]:
    """Every contrast of the file on every task; those of the first have verdicts. ``arm`` holds the contrast's name."""
    found = [_contrast(c, name, weights, task) for name, weights in c.combinations.items() for task in c.tasks]
    first = next(iter(c.combinations), None)
    concluding = iter(judged([item for item in found if item.arm == first]))
    return [next(concluding) if item.arm == first else replace(item, equal=None) for item in found]


def _contrast(c: Comparison, name: str, weights: Weights, task: str | None) -> Contrast:
    values = {arm: c.values(c.primary.tag, arm, task) for arm in weights}
    sides = [_side(weights, values, sign) for sign in (-1, 1)]
    stats, equal = paired(sides[0], sides[1], c.primary.better), c.equal(task, tuple(weights), sides)
    lost = Lost.among(*([values[arm] for arm, weight in weights.items() if weight * sign > 0] for sign in (-1, 1)))
    return Contrast(task, name, c.primary, stats, math.nan, None, equal, lost=lost)


def _side(weights: Weights, values: Mapping[str, Mapping[int, float | None]], sign: int) -> dict[int, float | None]:
    """Seed -> sum of the arms whose weights have a sign, each times its weight's size; seeds that these arms have."""
    part = {arm: abs(weight) for arm, weight in weights.items() if weight * sign > 0}
    found: dict[int, float | None] = {}
    for seed in sorted(set[int]().union(*(values[arm] for arm in part))):
        terms = [(weight, values[arm].get(seed)) for arm, weight in part.items()]
        if all(value is not None for _, value in terms):
            found[seed] = math.fsum(weight * float(value or 0.0) for weight, value in terms)
    return found


def combined_table(c: Comparison) -> Table | None:
    """The contrasts of several arms, their tests and verdicts; None where the file has none."""
    items = combined(c)
    if not items:
        return None
    head, groups = contrast_rows(c, "contrast", items)
    notes = [f"{name}: {formula(weights)}, seed by seed." for name, weights in c.combinations.items()]
    first = next(iter(c.combinations))
    notes.append(f"{first} concludes, the others are described.")
    if any(item.compared > 1 for item in items):
        notes.append(f"Holm's correction is over {max(item.compared for item in items)} tasks.")
    notes += [*margins(c), "Probability of improvement: of what has positive weights over what has negative ones."]
    return Table(f"Contrasts of arms: {c.primary.name}", head, groups, " ".join(notes))


def combined_conclusions(c: Comparison) -> list[dict[str, str]]:
    """``outcome`` and ``text`` of the contrast that concludes, for each task; empty where there is none."""
    return [_conclusion(c, item) for item in combined(c) if item.verdict is not None]


def _conclusion(c: Comparison, item: Contrast) -> dict[str, str]:
    assert item.verdict is not None
    where = f"{item.task}: " if item.task else ""
    pairs = len(item.stats.differences)
    found = f": {number(item.stats.mean, score_digits(c, c.primary, item.task), '+')}" if pairs else ""
    text = f"{where}{item.arm} ({formula(c.combinations[item.arm])}), {c.primary.name}, {direction(c.primary)}"
    if item.verdict.outcome == "inconclusive":
        takes = what_it_takes(c, item, tuple(c.combinations[item.arm]))
        return {"outcome": "Inconclusive", "text": f"{text}{found}: {item.verdict.reason}.{takes}"}
    text = f"{text}: {item.verdict.reason}.{why_not_small(item)}"
    return {"outcome": item.verdict.words.capitalize(), "text": text}
