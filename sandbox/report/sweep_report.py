"""What a sweep found: report.html, report.md, scores.csv and the scatter plots of the paper's figures.

    runs/<study>/<experiment>_sweep/comparison/
      report.html, report.md    how the runs of each arm are spread, and every run
      sweep.png, .svg           each run a point: training against test, parameters and seconds against test
      scores.csv                a row for each run

A sweep concludes nothing: the best of many runs is the luckiest, too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from sandbox.base.files import write_atomically
from sandbox.experiment.file import Experiment
from sandbox.experiment.spec import folder_of
from sandbox.experiment.sweep import swept
from sandbox.film.figures import draw, looks
from sandbox.report import tables
from sandbox.report.comparison import Comparison, Row
from sandbox.report.gallery import embedded
from sandbox.report.page import missing_runs, render, scores_csv
from sandbox.report.tables import Group, Table, direction
from sandbox.report.texts import count_text, digits_of, number, plural

_PANEL = (3.6, 3.1)  # inches
_READING = (
    "A sweep describes and concludes nothing: the best of many runs is also the luckiest of them. What an arm does at "
    "settings chosen beforehand, over seeds, a comparison says (the same command without --sweep)."
)


def write_sweep(comparison: Comparison, experiment: Experiment) -> Path:
    """Writes all files and returns the path of ``report.html``.

    Args:
        comparison: of the combinations, each an arm.
        experiment: expanded, see `sandbox.experiment.sweep.expand`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = comparison.folder
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(lambda: scatter(comparison, experiment))
    files: dict[str, bytes | str | None] = {f"sweep.{kind}": drawn[kind] if drawn else None for kind in ("png", "svg")}
    files["scores.csv"] = scores_csv(comparison)
    view = _view(comparison, experiment, files)
    files["report.md"] = render("sweep.md.jinja", view)
    files["report.html"] = render("sweep.html.jinja", view)
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_atomically(folder / name, content)
    return folder / "report.html"


def _view(c: Comparison, experiment: Experiment, files: dict[str, bytes | str | None]) -> dict[str, Any]:
    arms = ", ".join(dict.fromkeys(experiment.variants.values()))
    tasks = f", {plural(len(c.tasks), 'task')}" if c.tasks != (None,) else ""
    return {
        "title": f"{folder_of(c.study)}/{c.experiment}",
        "subtitle": f"Sweep of {arms}: {plural(len(c.arms), 'combination')}, {plural(len(c.seeds), 'seed')}{tasks}",
        "reading": _READING,
        "warnings": missing_runs(c),
        "picture": embedded("image/svg+xml", files["sweep.svg"]),
        "caption": f"{c.primary.name} ({direction(c.primary)}) of every run, against its value on the training data, "
        "the parameters and the seconds of training.",
        "tables": {
            "spread": spread_table(c, experiment.variants),
            "runs": runs_table(c, experiment),
            "shared": tables.config_tables(c)[1],
            "environment": tables.environment_table(c),
        },
        "source": c.source,
        "command": c.command,
        "beside": [name for name, content in files.items() if content is not None] + ["report.md"],
    }


def complete_rows(c: Comparison, task: str | None) -> list[Row]:
    """The complete runs of a task that have a primary score, the best first."""
    known = [row for row in c.rows if row.cell.task == task and row.scores.get(c.primary.tag) is not None]
    sign = -1 if c.primary.better == "higher" else 1
    return sorted(known, key=lambda row: sign * value(row, c.primary.tag))


def value(row: Row, tag: str) -> float:
    """A score; NaN where it is undefined."""
    found = row.scores.get(tag)
    return float("nan") if found is None else found


def parameters(row: Row) -> float:
    """Of all networks of a run together."""
    return float(sum(row.costs.get("parameters", {}).values()))


def spread_table(c: Comparison, variants: Mapping[str, str]) -> Table:
    """How the primary score is spread over the runs of each arm; ``variants``: combination -> the arm it varies."""
    groups = []
    for task in c.tasks:
        rows = complete_rows(c, task)
        digits = digits_of(value(row, c.primary.tag) for row in rows)
        bases = dict.fromkeys(variants.values())
        groups.append(Group([_spread_cells(c, rows, arm, variants, digits) for arm in bases], task))
    head = ("arm", "runs", "best", "best quarter", "median", "worst quarter", "worst")
    note = "Best quarter: a quarter of the runs is at least as good; quantiles are interpolated."
    return Table(f"{c.primary.name}, {direction(c.primary)}", head, groups, note)


def _spread_cells(
    c: Comparison, rows: Sequence[Row], arm: str, variants: Mapping[str, str], digits: int
) -> tuple[str, ...]:
    found = [value(row, c.primary.tag) for row in rows if variants[row.cell.arm] == arm]
    shares = (1, 0.75, 0.5, 0.25, 0) if c.primary.better == "higher" else (0, 0.25, 0.5, 0.75, 1)
    cells = [number(float(np.quantile(found, share)), digits) for share in shares] if found else ["-"] * len(shares)
    return arm, str(len(found)), *cells


def _bases(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(experiment.variants.values()))


def runs_table(c: Comparison, experiment: Experiment) -> Table:
    """Every complete run with its settings, the best first."""
    varied, training = swept(experiment), c.primary.training
    groups = []
    for task in c.tasks:
        rows = complete_rows(c, task)
        digits = max(3, digits_of(value(row, c.primary.tag) for row in rows))
        groups.append(Group([
            (experiment.variants[row.cell.arm], *(_setting(row, name) for name in varied), str(row.cell.seed),
             number(value(row, c.primary.tag), digits), *[number(value(row, training or ""), digits)] * bool(training),
             count_text(parameters(row)), count_text(row.costs.get("seconds", float("nan"))))
            for row in rows
        ], task))  # fmt: skip
    head = ("arm", *varied, "seed", c.primary.name, *["on the training data"] * bool(training), "parameters", "seconds")
    return Table("Complete runs, the best first", head, groups, "Seconds: of training, sample grids included.")


def _setting(row: Row, name: str) -> str:
    found = getattr(row.run.config, name) if row.run else None
    return f"{found:g}" if isinstance(found, float) else str(found)


# The picture


def scatter(c: Comparison, experiment: Experiment) -> Figure | None:
    """For each task a row of panels: the primary score against its training value, parameters and seconds."""
    tasks = [task for task in c.tasks if complete_rows(c, task)]
    if not tasks:
        return None
    across = [(name, read) for name, read in _axes(c) if read is not None]
    width, height = _PANEL[0] * len(across) + 0.3, _PANEL[1] * len(tasks)
    figure = Figure(figsize=(width, height))
    for down, task in enumerate(tasks):
        for column, (name, read) in enumerate(across):
            place = (_PANEL[0] * column + 0.75, height - _PANEL[1] * (down + 1) + 0.6, _PANEL[0] - 1.0, _PANEL[1] - 1.0)
            axes = figure.add_axes((place[0] / width, place[1] / height, place[2] / width, place[3] / height))
            _draw(axes, c, experiment, task, read)
            axes.set_xlabel(name)
            if name in ("parameters", "seconds"):
                _logarithmic(axes)
            if column == 0:
                axes.set_ylabel(c.primary.name)
                axes.set_title(task or "")
                axes.legend(fontsize=8, framealpha=0.6)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k: powers of ten would want matplotlib's formulas
    axes.xaxis.set_minor_formatter(NullFormatter())


def _axes(c: Comparison) -> list[tuple[str, Any]]:
    training = c.primary.training
    name = next((score.name for score in c.scores if score.tag == training), "on the training data")
    return [(name, (lambda row: value(row, training)) if training else None),
            ("parameters", parameters),
            ("seconds", lambda row: float(row.costs.get("seconds", float("nan"))))]  # fmt: skip


def _draw(axes: Axes, c: Comparison, experiment: Experiment, task: str | None, read: Any) -> None:
    look = looks(_bases(experiment))
    for arm in _bases(experiment):
        rows = [row for row in complete_rows(c, task) if experiment.variants[row.cell.arm] == arm]
        x, y = [read(row) for row in rows], [value(row, c.primary.tag) for row in rows]
        axes.plot(x, y, look[arm].marker, color=look[arm].colour, markeredgecolor="white", markersize=6.5, alpha=0.85,
                  label=f"{arm} (n = {len(rows)})", linestyle="none", clip_on=False)  # fmt: skip
