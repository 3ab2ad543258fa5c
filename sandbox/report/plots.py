"""The plots of a comparison: every seed, and the learning curves.

The same runs give the same bytes: no time, no path and no setting of the user's own gets into a file. Arms differ in
colour (Okabe and Ito's, which colour-blind eyes tell apart), line style and marker, so that a grey print tells them
apart too, and each line carries its name.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from sandbox.experiment.exported import AXIS
from sandbox.film.figures import Look, looks
from sandbox.report.comparison import Comparison, Contrast, Row
from sandbox.report.stats import LEVEL
from sandbox.report.verdicts import amount

PANEL = (4.6, 2.8)  # inches
POINTS = 500  # of a curve; a screen shows no more
_UNITS = {1e6: "millions of ", 1e3: "thousands of ", 1.0: ""}


# Panels stand where they are put, two in a row: matplotlib's constrained layout is not the same every time.


def _canvas(panels: int) -> Figure:
    return Figure(figsize=(PANEL[0] * min(2, panels), PANEL[1] * -(-panels // 2)))


def _panel(figure: Figure, i: int, left: float, width: float) -> Axes:
    """The axes of panel ``i``, ``left`` inches from its edge."""
    across, down = figure.get_size_inches()
    x, y = PANEL[0] * (i % 2) + left, down - PANEL[1] * (i // 2 + 1) + 0.72
    return figure.add_axes((x / across, y / down, width / across, (PANEL[1] - 0.72 - 0.3) / down))


# Every seed


def scores_figure(comparison: Comparison, contrasts: Sequence[Contrast]) -> Figure | None:
    """The primary score: for each contrast every seed, joined in pairs, beside the differences and their interval.

    Args:
        comparison: of any number of arms and tasks; of a single arm its seeds are drawn alone.
        contrasts: those of the primary score.
    """
    cells: list[tuple[str | None, Contrast | None]] = [(item.task, item) for item in contrasts]
    cells = [cell for cell in cells or [(task, None) for task in comparison.tasks] if any(_values(comparison, *cell))]
    if not cells:
        return None
    figure = _canvas(len(cells))
    for i, (task, contrast) in enumerate(cells):
        _draw_seeds(_panel(figure, i, 0.8, 1.95), comparison, task, contrast)
        if contrast:
            _draw_differences(_panel(figure, i, 3.38, 1.0), contrast)
    return figure


def _values(comparison: Comparison, task: str | None, contrast: Contrast | None) -> list[dict[int, float]]:
    """Seed -> primary score, of the reference and of the contrast's arm."""
    arms = [comparison.reference, *([contrast.arm] if contrast else [])]
    values = [comparison.values(comparison.primary.tag, arm, task) for arm in arms]
    return [{seed: value for seed, value in part.items() if value is not None} for part in values]


def _draw_seeds(axes: Axes, comparison: Comparison, task: str | None, contrast: Contrast | None) -> None:
    arms = [comparison.reference, *([contrast.arm] if contrast else [])]
    values = _values(comparison, task, contrast)
    if contrast:
        for seed in contrast.stats.differences:
            axes.plot((0, 1), [part[seed] for part in values], color="#999999", linewidth=0.8, zorder=1)
    for i, (arm, part) in enumerate(zip(arms, values, strict=True)):
        look, y = looks(comparison.arms)[arm], list(part.values())
        axes.plot([i] * len(y), y, look.marker, color=look.colour, markeredgecolor="white", markersize=6.5, zorder=2)
        if y:
            side = -0.28 if i == 0 else 0.28
            axes.plot((i + side - 0.12, i + side + 0.12), [np.mean(y)] * 2, color=look.colour, linewidth=2.2)
    names = [f"{_wrapped(arm)}\n(n = {len(part)})" for arm, part in zip(arms, values, strict=True)]
    axes.set_xticks(range(len(arms)), names)
    axes.set_xlim(-0.6, len(arms) - 0.4)
    axes.set_ylabel(textwrap.fill(comparison.primary.name, 36))
    if task:
        axes.set_title(task)


def _draw_differences(axes: Axes, contrast: Contrast) -> None:
    result = contrast.stats
    y = list(result.differences.values())
    axes.axhline(0, color="#333333", linewidth=0.8, linestyle=(0, (4, 2)))
    axes.plot([0] * len(y), y, ".", color="#777777", markersize=6)
    if y:
        known = np.isfinite([result.low, result.high]).all()
        error = [[result.mean - result.low], [result.high - result.mean]] if known else None
        axes.errorbar([1.0], [result.mean], error, fmt="D", color="black", capsize=4, markersize=5, linewidth=1.6)
    axes.set_xlim(-0.5, 1.5)
    axes.set_xticks((0, 1), ["seeds", f"mean\n{amount(result.mean, 2)}" if y else "mean"])
    axes.set_title("difference")


def _wrapped(name: str) -> str:
    parts = textwrap.wrap(name.replace("_", "_ "), 14, max_lines=3, placeholder="...")  # a line may end in _
    return "\n".join(part.replace("_ ", "_") for part in parts)


# Learning curves


@dataclass(frozen=True)
class Curve:
    """Mean over the runs that have the point, with its t interval.

    Attributes:
        x: images seen, or what else the study counts.
        mean: over ``n`` runs.
        low, high: interval of the mean at `sandbox.report.stats.LEVEL`; NaN where n is 1.
        n: runs that have got that far.
    """

    x: Float64[np.ndarray, " p"]
    mean: Float64[np.ndarray, " p"]
    low: Float64[np.ndarray, " p"]
    high: Float64[np.ndarray, " p"]
    n: Int64[np.ndarray, " p"]


def curve(rows: Iterable[Row], tag: str) -> Curve | None:
    """The mean curve of a tag; a run without a point at some x is interpolated there, never beyond its own ends."""
    runs = [run for row in rows if (run := _points(row, tag))]
    if not runs:
        return None
    grid = np.unique([x for run in runs for x in run]).astype(np.float64)
    if len(grid) > POINTS:
        grid = np.linspace(grid[0], grid[-1], POINTS)
    nan = float("nan")
    lines = [np.interp(grid, list(run), list(run.values()), left=nan, right=nan) for run in runs]
    y = np.array(lines, dtype=np.float64)  # (runs, p)
    n = np.count_nonzero(~np.isnan(y), axis=0).astype(np.int64)
    grid, y, n = grid[n > 0], y[:, n > 0], n[n > 0]
    mean = np.nansum(y, axis=0) / n
    free = np.maximum(n - 1, 1)
    sd = np.sqrt(np.nansum((y - mean) ** 2, axis=0) / free)
    half = np.where(n > 1, stats.t.ppf((1 + LEVEL) / 2, free) * sd / np.sqrt(n), nan)
    return Curve(grid, mean, mean - half, mean + half, n)


def _points(row: Row, tag: str) -> dict[float, float]:
    """Images seen (or what else is counted) -> value, by images; of two points at one place the later."""
    found = {float(point[AXIS]): float(point[tag]) for point in row.curves if tag in point and AXIS in point}
    return dict(sorted(found.items()))


def curve_tags(comparison: Comparison) -> dict[str, str]:
    """Tag -> title of every panel: the scores' curves, then the losses that the runs have logged."""
    logged = dict.fromkeys(tag for row in comparison.rows for point in row.curves for tag in point)
    named = {score.curve: f"{score.name}, during training" for score in comparison.scores if score.curve}
    losses = {tag: tag for tag in logged if tag.startswith("loss/")}
    return {tag: title for tag, title in (named | losses).items() if tag in logged}


def curves_figure(comparison: Comparison) -> Figure | None:
    """A panel for each task and curve: the arms' means with their bands."""
    panels = [(task, tag, title) for task in comparison.tasks for tag, title in curve_tags(comparison).items()]
    if not panels:
        return None
    figure = _canvas(len(panels))
    for i, (task, tag, title) in enumerate(panels):
        axes = _panel(figure, i, 0.65, 2.85)
        _draw_curves(axes, comparison, task, tag)
        axes.set_title(f"{task}: {title}" if task else title)
    return figure


def _draw_curves(axes: Axes, comparison: Comparison, task: str | None, tag: str) -> None:
    found = {arm: curve(comparison.of(arm, task), tag) for arm in comparison.arms}
    curves = {arm: line for arm, line in found.items() if line is not None}
    furthest = max((line.x[-1] for line in curves.values()), default=0.0)
    unit = next((unit for unit in _UNITS if furthest >= 5 * unit), 1.0)
    for i, (arm, line) in enumerate(curves.items()):
        look, x = looks(comparison.arms)[arm], line.x / unit
        every = max(1, len(x) // 6)
        axes.fill_between(x, line.low, line.high, color=look.colour, alpha=0.18, linewidth=0)
        axes.plot(x, line.mean, color=look.colour, linestyle=look.dash, linewidth=1.5, marker=look.marker,
                  markevery=(i * every // max(1, len(curves)), every), markersize=4.5)  # fmt: skip
    axes.set_xlabel(_UNITS[unit] + comparison.captions.counted)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.02)
    _label_ends(axes, curves, looks(comparison.arms))


def _label_ends(axes: Axes, curves: Mapping[str, Curve], look: Mapping[str, Look]) -> None:
    """Writes each line's name at the right of its end, pushed apart where two would overlap."""
    low, high = axes.get_ylim()
    ends = sorted((float((line.mean[-1] - low) / (high - low)), arm) for arm, line in curves.items())
    step, heights = 0.17, [end for end, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + step)
    above = max(0.0, heights[-1] - 1.0) if heights else 0.0
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], heights[i + 1] - step) if i + 1 < len(heights) else heights[i] - above
    for height, (_, arm) in zip(heights, ends, strict=True):
        n = curves[arm].n
        count = f"n = {n[0]}" if n[0] == n[-1] else f"n = {n[0]} to {n[-1]}"
        axes.annotate(f"{_wrapped(arm)}\n{count}", (1, height), (4, 0), xycoords="axes fraction", va="center",
                      textcoords="offset points", color=look[arm].colour, fontsize=8, linespacing=0.95)  # fmt: skip
