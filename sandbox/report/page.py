"""What a comparison found, in files that stand alone: report.html, report.md, scores.csv, the pictures and the film.

    runs/<study>/<experiment>/comparison/
      report.html           one file, everything in it, opens offline
      report.md             the same for a code host
      scores.csv            a row for each run
      scores.png, .svg      every seed, paired, with the differences
      curves.png, .svg      learning curves
      tasks.png, .svg       the primary score over tasks that are steps of one quantity
      interpolation.gif, .mp4    the arms side by side on the same latents; of agents play.gif, the arms at play
      training.gif, .mp4    their sample grids during training; with several tasks training-TASK.gif and so on
      NAME.gif, .mp4        what other films the study's runs have
      NAME.png              what other pictures they have, the arms side by side

A report opens with its conclusion, and only the primary score has one: see `sandbox.report.verdicts.verdict`.
"""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from sandbox.base.files import write_atomically
from sandbox.experiment.spec import folder_of
from sandbox.film.encode import png
from sandbox.film.figures import draw
from sandbox.report import gallery, plots, tables
from sandbox.report.across import tasks_figure
from sandbox.report.combined import combined, combined_conclusions, combined_table
from sandbox.report.comparison import Comparison, Contrast
from sandbox.report.coordinates import coordinates_table
from sandbox.report.gallery import embedded
from sandbox.report.needed import what_it_takes, why_not_small
from sandbox.report.stats import BOOTSTRAP_FROM, CONCLUDING
from sandbox.report.tables import direction, score_digits
from sandbox.report.texts import interval_text, number, plural
from sandbox.report.verdicts import lopsided

TEMPLATES = Path(__file__).parent / "templates"


def write_report(comparison: Comparison) -> Path:
    """Writes all files of the report, or raises `OSError`; returns the path of ``report.html``."""
    folder = comparison.folder
    folder.mkdir(parents=True, exist_ok=True)
    contrasts = comparison.contrasts()
    primary = comparison.primary_contrasts()
    pictures = {
        "scores": draw(lambda: plots.scores_figure(comparison, primary)),
        "curves": draw(lambda: plots.curves_figure(comparison)),
        "tasks": draw(lambda: tasks_figure(comparison)),
    }
    films, drawings = gallery.films(comparison), gallery.drawings(comparison)
    files: dict[str, bytes | str | None] = {
        f"{name}.{kind}": drawn[kind] if drawn else None for name, drawn in pictures.items() for kind in ("png", "svg")
    }
    files |= gallery.film_files(films)
    files |= {f"{name}.png": png(each.picture) if each else None for name, each in drawings.items()}
    files["scores.csv"] = scores_csv(comparison)
    view = _view(comparison, contrasts, files)
    view |= {"films": gallery.film_views(comparison, films, files),
             "drawings": gallery.drawing_views(comparison, drawings, files)}  # fmt: skip
    files["report.md"] = render("report.md.jinja", view)
    files["report.html"] = render("report.html.jinja", view)  # the last: where it is, all the others are
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)  # of an earlier report
        else:
            write_atomically(folder / name, content)
    return folder / "report.html"


def render(template: str, view: Mapping[str, Any]) -> str:
    """A template of `TEMPLATES` filled in."""
    escape = jinja2.select_autoescape(enabled_extensions=("html.jinja",), default=False)
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=escape, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"md": _markdown, "one_line": lambda text: " ".join(str(text).split())}
    return environment.get_template(template).render(view)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", " ".join(text.split()))


# The conclusion, and what is missing


def conclusions(c: Comparison, contrasts: Sequence[Contrast]) -> list[dict[str, str]]:
    """``outcome`` and ``text`` for each contrast of the primary score, or the file's own; of a single arm by task."""
    return (
        combined_conclusions(c) or [_conclusion(c, item) for item in contrasts] or [_alone(c, task) for task in c.tasks]
    )


def _conclusion(c: Comparison, item: Contrast) -> dict[str, str]:
    assert item.verdict is not None, "only the primary score concludes"
    where, outcome, reason = f"{item.task}: " if item.task else "", item.verdict.outcome, item.verdict.reason
    if outcome != "inconclusive":
        does = f"is equivalent to {c.reference}" if outcome == "equivalent" else f"does {outcome} than {c.reference}"
        text = f"{where}{item.arm} {does} in {item.score.name}, {direction(item.score)}"
        return {"outcome": item.verdict.words.capitalize(), "text": f"{text}: {reason}.{why_not_small(item)}"}
    stats, digits = item.stats, score_digits(c, item.score, item.task)
    if not (pairs := len(stats.differences)):
        known = {arm: {row.cell.seed for row in c.of(arm, item.task) if row.state == "complete"}
                 for arm in (c.reference, item.arm)}  # fmt: skip
        undefined = known[c.reference] & known[item.arm]
        found = "undefined where both are complete" if undefined else "no seed is complete in both"
    else:
        interval = "" if math.isnan(stats.low) else f" {interval_text(stats.low, stats.high, digits, '+')}"
        found = f"{number(stats.mean, digits, '+')}{interval}"
    # The interval stands before the reason, which need not repeat it.
    over = f" over {pairs} paired seeds" if pairs >= CONCLUDING else ""
    text = f"{where}{item.arm} against {c.reference}, {item.score.name}: {found}{over}: {reason.partition(':')[0]}."
    return {"outcome": "Inconclusive", "text": f"{text}{what_it_takes(c, item, (c.reference, item.arm))}"}


def _alone(c: Comparison, task: str | None) -> dict[str, str]:
    """The sentence where there is but one arm."""
    summary, digits = c.summary(c.primary, c.reference, task), score_digits(c, c.primary, task)
    where, n = f"{task}: " if task else "", len(summary.values)
    if n == 0:
        return {"outcome": "No result yet", "text": f"{where}no run of {c.reference} has a value of {c.primary.name}."}
    interval = "" if n == 1 else f" {interval_text(summary.low, summary.high, digits)}"
    found = f"{c.primary.name} {number(summary.mean, digits)}{interval} over {plural(n, 'seed')}"
    return {"outcome": "No comparison", "text": f"{where}{c.reference} is the only arm: {found}."}


def missing_runs(c: Comparison) -> list[str]:
    """One line where runs are missing."""
    complete = sum(row.state == "complete" for row in c.rows)
    if complete == len(c.rows):
        return []
    failed = sum(row.error is not None for row in c.rows)
    head = f"{complete} of {len(c.rows)} runs complete{f', {failed} failed' if failed else ''}"
    rest = "what follows is about those that are, and may change with the others" if complete else "nothing to compare"
    return [f"{head}: {rest}."]


def warnings(c: Comparison, contrasts: Sequence[Contrast]) -> list[str]:
    """What a reader must know before the conclusions: runs and pairs that are missing, undefined scores, odd spreads.

    Args:
        c: the comparison.
        contrasts: of the primary score.
    """
    against = f" against {c.reference}" if not c.combinations else ""
    lines, items = missing_runs(c), combined(c) or contrasts
    missing: dict[tuple[str, str], list[str]] = {}
    for item in items:
        seeds = ", ".join(str(seed) for seed in c.seeds if seed not in item.stats.differences)
        if seeds:
            missing.setdefault((item.arm, seeds), []).append(item.task or "")
    for (arm, seeds), tasks in missing.items():
        where = f" in {', '.join(tasks)}" if any(tasks) else ""
        paired = f"{len(c.seeds) - len(seeds.split(', '))} of {plural(len(c.seeds), 'seed')}"
        lines.append(f"{arm}{against}{where}: {paired} paired; missing {seeds}.")
    undefined = [str(row.cell) for row in c.rows if row.state == "complete" and row.scores.get(c.primary.tag) is None]
    if undefined:
        lines.append(f"{c.primary.name} is undefined in {len(undefined)} complete runs: {'; '.join(undefined)}.")
    lines += [f"{f'{item.task}: ' if item.task else ''}{item.arm}{against}: the differences are lopsided, one seed "
              "lies far from the others; there verdicts err more often (docs/comparing.md)."
              for item in items if item.verdict and lopsided(list(item.stats.differences.values()))]  # fmt: skip
    return lines


# The rest of the page


def _view(
    c: Comparison,
    contrasts: Sequence[Contrast],
    files: Mapping[str, bytes | str | None],
) -> dict[str, Any]:
    """Everything that the templates show, as finished texts."""
    primary = c.primary_contrasts()
    differs, shared = tables.config_tables(c)
    notes = dict.fromkeys(f"{row.cell.arm}: {row.costs['note']}" for row in c.rows if row.costs.get("note"))
    tasks = f", {plural(len(c.tasks), 'task')}" if c.tasks != (None,) else ""
    budget = {"steps": "equal steps", "macs": "equal multiply-adds", "none": "steps not equal"}[c.budget]
    return {
        "title": f"{folder_of(c.study)}/{c.experiment}",
        "subtitle": f"{', '.join(c.arms[1:]) or 'one arm,'} {'against ' if c.arms[1:] else ''}{c.reference}, "
        f"{plural(len(c.seeds), 'seed')}{tasks}, {budget}",
        "conclusions": conclusions(c, primary),
        "warnings": [*warnings(c, primary), *notes],
        "primary_title": f"Primary score: {c.primary.name}",
        "tables": {
            "primary": tables.primary_table(c),
            "combined": combined_table(c),
            "contrasts": tables.contrast_table(c, primary),
            "coordinates": coordinates_table(c),
            "over_tasks": tables.over_tasks_table(c),
            "seeds": tables.seeds_table(c, primary),
            "others": tables.others_table(c, contrasts),
            "costs": tables.costs_table(c),
            "differs": differs,
            "shared": shared,
            "environment": tables.environment_table(c),
            "runs": tables.runs_table(c, c.root.as_posix()),
        },
        "pictures": {name: embedded("image/svg+xml", files[f"{name}.svg"]) for name in ("scores", "curves", "tasks")},
        "captions": captions(c),
        "samples": gallery.sample_views(c),
        "source": c.source,
        "command": c.command,
        "reading": _reading(c),
        "beside": [name for name, content in files.items() if content is not None] + ["report.md"],
    }


def captions(c: Comparison) -> dict[str, str]:
    """What stands below ``scores``, ``curves``, ``tasks`` and ``samples``."""
    pairs = " A grey line joins the two runs of a seed; right: their differences (dots), the mean difference and its "
    pairs = f"{pairs}{tables.INTERVAL} (diamond)." if c.arms[1:] else ""
    return {
        "scores": f"{c.primary.name}, {direction(c.primary)}: every seed. Short bars: means.{pairs}",
        "curves": f"Line: mean over seeds; band: its {tables.INTERVAL} (t), point by point. n: runs at the first and "
        "the last point; an interrupted run counts as far as it got.",
        "tasks": f"Points: means over seeds, side by side; bars: their {tables.INTERVAL} (t).",
        "samples": c.captions.samples,
    }


def _reading(c: Comparison) -> list[tuple[str, str]]:
    """What the words mean, in a line or two each."""
    holm = (
        ", after Holm's correction where there is more than one comparison," if len(c.arms) > 2 or c.tasks[1:] else ""
    )
    named = "a margin that was named beforehand" if any(map(c.margin, c.tasks)) else "a margin; this study names none"
    return [
        ("Paired", "Differences are taken seed by seed, so that what the seed alone does to both arms cancels out. "
         "What the arms share at one seed stands below their differences."),
        (tables.INTERVAL, "t interval of the mean: made in this way, 95 of 100 such intervals hold the true mean. The "
         f"bootstrap interval stands beside it from {BOOTSTRAP_FROM} seeds on."),
        ("p", "Chance of a mean difference at least this large were the arms alike: by the paired t test, and exactly, "
         "by flipping the signs of the differences in every possible way (from 17 seeds on in 65,535 drawn ways)."),
        ("Probability of improvement", "How often a run of the arm is better than one of the reference, over all pairs "
         "of runs; 0.5: neither. Ties count half."),
        ("Better, worse", f"Only with {CONCLUDING} paired seeds or more, a {tables.INTERVAL} that does not cover zero "
         f"and a t-test p{holm} of at most .05. No arm is better that lacks a value where its reference has one."),
        ("Equivalent", f"Two one-sided t tests show that the difference is smaller than {named}, with {CONCLUDING} "
         "pairs or more of runs that nobody had seen when the margin was set, none of them failed. Where a difference "
         "is shown as well, it is smaller than matters."),
        ("Inconclusive", "Everything else. It is not the same as equivalent."),
        ("Primary score", f"{c.primary.name}: declared before anything was run. Only it concludes."),
    ]  # fmt: skip


def scores_csv(c: Comparison) -> str:
    """A row for each run: place, state, every score, the costs. Undefined and absent values are empty."""
    tags = list(dict.fromkeys(tag for row in c.rows for tag in row.scores))
    costs = [tables.flattened(row.costs, ".") for row in c.rows]
    names = list(dict.fromkeys(name for part in costs for name in part))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, ["task", "arm", "seed", "state", *tags, *names]))
    for row, part in zip(c.rows, costs, strict=True):
        values = [row.scores.get(tag) for tag in tags] + [part.get(name) for name in names]
        writer.writerow(map(_cell, [*row.cell[:2], row.cell.seed, row.state, *values]))
    return text.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula, with a quote before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
