"""A comparison's primary score over its tasks, a line an arm: where the tasks are steps of one quantity."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from sandbox.experiment.spec import Score
from sandbox.film.figures import looks
from sandbox.report.comparison import Comparison
from sandbox.report.stats import LEVEL

_HEIGHT, _PANEL, _NAMES = 3.4, 3.9, 1.5  # inches; of the whole, of a panel's width, of the column of names
_APART = 0.04  # between the arms at one task, which would hide each other


def tasks_figure(comparison: Comparison) -> Figure | None:
    """The primary score and, beside it, the one that the study names; None unless the study says what its tasks are.

    Points are means over an arm's seeds, bars the 95 % t interval of the mean where there are two seeds or more.
    """
    captions = comparison.captions
    if not captions.across or len(comparison.tasks) < 2:
        return None
    tags = [comparison.primary.tag, *captions.beside]
    scores = [score for tag in tags for score in comparison.scores if score.tag == tag]
    width = len(scores) * _PANEL + _NAMES
    figure = Figure(figsize=(width, _HEIGHT))
    for i, score in enumerate(scores):
        axes = figure.add_axes(((i * _PANEL + 0.6) / width, 0.17, (_PANEL - 0.8) / width, 0.72))
        _draw(axes, comparison, score)
        axes.set_xlabel(captions.across)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="center left",
        bbox_to_anchor=(1 - _NAMES / width, 0.5),
        frameon=False,
        fontsize=8,
    )
    return figure


def _draw(axes: Axes, comparison: Comparison, score: Score) -> None:
    tasks = [str(task) for task in comparison.tasks]
    middle = (len(comparison.arms) - 1) / 2
    for k, arm in enumerate(comparison.arms):
        points = []
        for x, task in enumerate(comparison.tasks):
            values = [v for v in comparison.values(score.tag, arm, task).values() if v is not None]
            if values:
                points.append((x + _APART * (k - middle), float(np.mean(values)), _half(values)))
        if points:
            places, means, halves = zip(*points, strict=True)
            look = looks(comparison.arms)[arm]
            axes.errorbar(places, means, halves, color=look.colour, linestyle=look.dash, marker=look.marker,
                          markersize=5, linewidth=1.4, capsize=3, label=arm)  # fmt: skip
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_title(score.name)


def _half(values: list[float]) -> float:
    """Half the width of the interval of a mean; NaN, which is not drawn, of a single value."""
    n = len(values)
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else math.nan
