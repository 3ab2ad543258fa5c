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
from sandbox.report.stats import paired
from sandbox.report.tables import Group, Table, contrast_cells, contrast_head, direction, margins, score_digits
from sandbox.report.texts import number
from sandbox.report.verdicts import at_ceiling, equivalence

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
    margin, equal = c.margin(task), None
    sides = [_side(c, weights, task, sign, 0) for sign in (-1, 1)]
    stats = paired(sides[0], sides[1], c.primary.better)
    if margin is not None:
        fresh = [_side(c, weights, task, sign, margin.fresh_from) for sign in (-1, 1)]
        barred = c.barred(c.primary, margin, task, tuple(weights), fresh)
        values = [[v for v in c.values(c.primary.tag, arm, task).values() if v is not None] for arm in weights]
        if not barred and all(at_ceiling(part, part, c.primary.best, margin.value) for part in values):
            barred = f"all arms come within the margin of {c.primary.best:g}, the best there is"
        equal = equivalence(paired(fresh[0], fresh[1], c.primary.better), margin.value, barred)
    return Contrast(task, name, c.primary, stats, math.nan, None, equal)


def _side(c: Comparison, weights: Weights, task: str | None, sign: int, first: int) -> dict[int, float | None]:
    """Seed -> sum of the arms whose weights have a sign, each times its weight's size; seeds that all arms have."""
    values = {arm: c.values(c.primary.tag, arm, task) for arm in weights}
    seeds = [seed for seed in c.seeds if seed >= first and all(part.get(seed) is not None for part in values.values())]
    return {
        seed: math.fsum(abs(weight) * float(values[arm][seed] or 0.0)
                        for arm, weight in weights.items() if weight * sign > 0)
        for seed in seeds
    }  # fmt: skip


def combined_table(c: Comparison) -> Table | None:
    """The contrasts of several arms, their tests and verdicts; None where the file has none."""
    items = combined(c)
    if not items:
        return None
    holm, bootstrap = any(item.compared > 1 for item in items), any(item.stats.bootstrap for item in items)
    equals = any(item.equal for item in items)
    groups = [Group([contrast_cells(c, item, holm, bootstrap, equals) for item in items if item.task == task], task)
              for task in c.tasks]  # fmt: skip
    notes = [f"{name}: {formula(weights)}, seed by seed." for name, weights in c.combinations.items()]
    first = next(iter(c.combinations))
    notes.append(f"{first} concludes, the others are described.")
    if holm:
        notes.append(f"Holm's correction is over {max(item.compared for item in items)} tasks.")
    notes += [*margins(c), "Probability of improvement: of what has positive weights over what has negative ones."]
    head = contrast_head("contrast", items)
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
    barred = f" Equivalence is not claimed: {item.equal.barred}." if item.equal and item.equal.barred else ""
    if item.verdict.outcome == "inconclusive":
        return {"outcome": "Inconclusive", "text": f"{text}{found}: {item.verdict.reason}.{barred}"}
    return {"outcome": item.verdict.words.capitalize(), "text": f"{text}: {item.verdict.reason}."}
