"""Figures of a comparison by name, and texts whose placeholders they fill: ``{{ coord.valid.mean }}``.

    [task.]arm.score.mean               or sd, low, high (of the interval), median, least, most, n
    [task.]arm.score.difference.mean    from the reference: or low, high, p, p_sign_flip, pairs, improvement
    [task.]arm.score.coordinates.mean   from the same arm without coordinates, where that is not the reference: as above
    [task.]arm.verdict, .p              of the primary score, with what Holm's correction makes of its p
    [task.]arm.seconds, .parameters.N   and other costs, means over the runs
    [task.]real.score                   of real data
    [task.]contrasts.NAME.mean          of a contrast of several arms: or low, high, p, p_sign_flip, pairs, improvement;
                                        of the first also verdict, and p_adjusted, what Holm's correction makes of its p

Decimals are those of the report's tables; ``| to(2)`` sets another number of them, ``| percent(1)`` writes a share in
percent. Names that the template language cannot write: ``at['none'].score.mean``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jinja2
import numpy as np
from jinja2 import meta

from sandbox.base.errors import UserError, listed, nearest, one_line
from sandbox.report.combined import combined
from sandbox.report.comparison import Comparison, Contrast, Row
from sandbox.report.stats import summarise
from sandbox.report.tables import costs_of
from sandbox.report.texts import count_text, digits_of, number, p_text

Tree = dict[str, Any]  # name -> Tree, Figure or text


@dataclass(frozen=True)
class Figure:
    """A number and how a text writes it.

    Attributes:
        value: NaN where it is undefined.
        digits: decimals.
        kind: a number, one with its sign, a p value or a count.
    """

    value: int | float
    digits: int = 0
    kind: Literal["number", "signed", "p", "count"] = "number"

    def __str__(self) -> str:
        if self.kind == "p":
            return p_text(float(self.value))
        if self.kind == "count":
            return count_text(float(self.value))
        return number(float(self.value), self.digits, "+" if self.kind == "signed" else "")


class _Names:
    """A node of the tree as a template sees it: what it does not hold is told in one line."""

    def __init__(self, place: str, tree: Mapping[str, Any]) -> None:
        self._place, self._tree = place, tree

    def __getitem__(self, name: str) -> Any:
        place = f"{self._place}.{name}"
        if name not in self._tree:
            raise UserError(f"unknown placeholder {place}: {self._place} has {listed(self._tree)}"
                            f"{nearest(str(name), self._tree)}")  # fmt: skip
        found = self._tree[name]
        return _Names(place, found) if isinstance(found, dict) else found

    def __str__(self) -> str:
        raise UserError(f"the placeholder {self._place} is no figure: it has {listed(self._tree)}")


def tree(c: Comparison, variants: Mapping[str, str]) -> Tree:
    """All figures of a comparison.

    Args:
        c: the comparison.
        variants: of a sweep: combination -> the arm that it varies, by which figures are summarised; else empty.
    """
    contrasts = [] if variants else c.contrasts()
    found = {task: _of_task(c, task, variants, contrasts) for task in c.tasks}
    for item in [item for score in c.scores if not variants for item in c.coordinate_contrasts(score)]:
        if (summary := found[item.task][item.arm].get(_key(item.score.tag))) is not None:
            summary["coordinates"] = _difference(item, summary["mean"].digits)
    for item in combined(c):
        digits = digits_of(
            v for arm in c.arms for v in c.values(item.score.tag, arm, item.task).values() if v is not None
        )
        told = {"verdict": item.verdict.words, "p_adjusted": Figure(item.p_adjusted, kind="p")} if item.verdict else {}
        found[item.task].setdefault("contrasts", {})[item.arm] = _difference(item, digits) | told
    return found[None] if None in found else {str(task): part for task, part in found.items()}


def _of_task(c: Comparison, task: str | None, variants: Mapping[str, str], contrasts: list[Contrast]) -> Tree:
    rows = [row for row in c.rows if row.cell.task == task and row.state == "complete"]
    tags = list(dict.fromkeys(tag for row in rows for tag in row.scores))
    known = {tag: [value for row in rows if (value := row.scores.get(tag)) is not None] for tag in tags}
    found: Tree = {}
    for arm in dict.fromkeys(variants.get(arm, arm) for arm in c.arms):
        own = [row for row in rows if variants.get(row.cell.arm, row.cell.arm) == arm]
        found[arm] = _costs(own) | {_key(tag): _summary(own, tag, digits_of(known[tag]))
                                    for tag in tags if tag.startswith("score/")}  # fmt: skip
    for item in contrasts:
        key = _key(item.score.tag)
        if item.task == task and key in found[item.arm]:
            found[item.arm][key]["difference"] = _difference(item, digits_of(known[item.score.tag]))
            if item.verdict is not None:
                found[item.arm] |= {"verdict": item.verdict.words, "p": Figure(item.p_adjusted, kind="p")}
    real = {tag: values for tag, values in known.items() if tag.startswith("real/") and values}
    if real:
        found["real"] = {_key(tag): Figure(float(np.mean(part)), 3) for tag, part in real.items()}
    return found


def _key(tag: str) -> str:
    return tag.partition("/")[2].replace("/", "_")


def _summary(rows: list[Row], tag: str, digits: int) -> Tree:
    values = dict(enumerate(row.scores.get(tag) for row in rows))
    s = summarise(values)
    part = {"mean": s.mean, "sd": s.sd, "low": s.low, "high": s.high}
    if s.values:
        x = list(s.values.values())
        part |= {"median": float(np.median(x)), "least": min(x), "most": max(x)}
    return {name: Figure(value, digits) for name, value in part.items()} | {"n": Figure(len(s.values))}


def _difference(item: Contrast, digits: int) -> Tree:
    s = item.stats
    signed = {name: Figure(value, digits, "signed") for name, value in
              {"mean": s.mean, "low": s.low, "high": s.high}.items()}  # fmt: skip
    tests = {"p": Figure(s.p_t, kind="p"), "p_sign_flip": Figure(s.p_sign_flip, kind="p")}
    return signed | tests | {"pairs": Figure(len(s.differences)), "improvement": Figure(s.improvement, 2)}


def _costs(rows: list[Row]) -> Tree:
    found: Tree = {}
    for name, value in costs_of(rows).items():
        head, _, network = name.partition(": ")
        if network:
            found.setdefault(head, {})[network] = Figure(value, kind="count")
        else:
            found[head] = Figure(value, kind="count")
    return found


def plain(tree: Tree) -> dict[str, Any]:
    """The tree as JSON has it; undefined is None."""

    def value(node: Any) -> Any:
        if isinstance(node, Figure):
            return None if math.isnan(node.value) else node.value
        return plain(node) if isinstance(node, dict) else node

    return {name: value(node) for name, node in tree.items()}


def fill(text: str, figures: Tree, place: str, **functions: Callable[..., str]) -> str:
    """A text with its placeholders filled in.

    Args:
        text: with placeholders.
        figures: see `tree`.
        place: where the text stands, for messages.
        functions: what else it may call.

    Raises:
        UserError: an unknown placeholder, one that is no figure, or a slip in the template's syntax; in one line.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters |= {"to": _to, "percent": _percent}
    known = {**{name: _Names(name, node) if isinstance(node, dict) else node for name, node in figures.items()},
             "at": _Names("at", figures), **functions}  # fmt: skip
    try:
        for name in sorted(meta.find_undeclared_variables(environment.parse(text)) - known.keys()):
            raise UserError(f"unknown placeholder {name}: there are {listed(known)}{nearest(name, known)}")
        return environment.from_string(text).render(known)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{place}: {one_line(error)}") from None


def _to(figure: Any, digits: Any) -> Figure:
    if not isinstance(figure, Figure) or not isinstance(digits, int) or not 0 <= digits <= 12:
        raise UserError("| to(2) and | percent(1) go with a figure, and take 0 to 12 decimals")
    return replace(figure, digits=digits, kind="signed" if figure.kind == "signed" else "number")


def _percent(figure: Any, digits: Any) -> str:
    figure = _to(figure, digits)
    return f"{replace(figure, value=100 * figure.value)} %"
