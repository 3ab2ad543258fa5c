"""The report's tables, as finished texts: scores, costs, runs, configuration, environment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.experiment.spec import Score
from sandbox.report.comparison import Comparison, Contrast, Row
from sandbox.report.over_tasks import OverTasks, over_tasks
from sandbox.report.stats import LEVEL
from sandbox.report.texts import NOTHING, count_text, digits_of, interval_text, number, p_text
from sandbox.report.verdicts import family

INTERVAL = f"{100 * LEVEL:.0f} % interval"
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Rows of a table under one title."""

    rows: Sequence[Cells]
    title: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of finished texts; ``words``: its cells are no numbers."""

    caption: str
    head: Cells
    groups: Sequence[Group]
    note: str = ""
    words: bool = False


# Numbers


def direction(score: Score) -> str:
    """In words, which way a score is better."""
    return f"{score.better} is better"


# Tables of scores


def score_digits(c: Comparison, score: Score, task: str | None) -> int:
    """Decimals for a score on a task, the same for all arms."""
    return digits_of(value for arm in c.arms for value in c.values(score.tag, arm, task).values() if value is not None)


def primary_table(c: Comparison) -> Table:
    """The primary score of every arm, with what the arm costs."""
    groups = []
    for task in c.tasks:
        digits = score_digits(c, c.primary, task)
        rows = [_summary_cells(c, c.primary, arm, task, digits) + _cost_cells(costs_of(c.of(arm, task)))
                for arm in c.arms]  # fmt: skip
        real = _real(c, c.primary, task)
        if real is not None:
            rows.append(("real data", number(real, max(digits, 3)), *[NOTHING] * 6))
        groups.append(Group(rows, task))
    head = ("arm", "mean", "sd", INTERVAL, "seeds", "parameters", "multiply-adds an image", "seconds")
    return Table(f"{c.primary.name}, {direction(c.primary)}", head, groups,
                 "Parameters and multiply-adds: of all networks of the arm together; seconds: of training, mean over "
                 "runs. The costs in full stand below.")  # fmt: skip


def _summary_cells(c: Comparison, score: Score, arm: str, task: str | None, digits: int) -> Cells:
    s = c.summary(score, arm, task)
    interval = interval_text(s.low, s.high, digits)
    return arm, number(s.mean, digits), number(s.sd, digits), interval, str(len(s.values))


def _cost_cells(costs: Mapping[str, float]) -> Cells:
    def total(key: str) -> str:
        found = [value for name, value in costs.items() if name.split(": ")[0] == key]
        return count_text(sum(found)) if found else NOTHING

    return total("parameters"), total("multiply_adds_per_image"), total("seconds")


def _real(c: Comparison, score: Score, task: str | None) -> float | None:
    tag = score.tag.replace("score/", "real/", 1)
    found = [row.scores.get(tag) for row in c.rows if row.cell.task == task and tag != score.tag]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def seeds_table(c: Comparison, contrasts: Sequence[Contrast]) -> Table:
    """The primary score of every run, and the differences seed by seed."""
    groups = []
    for task in c.tasks:
        digits = max(3, score_digits(c, c.primary, task))
        values = [c.values(c.primary.tag, arm, task) for arm in c.arms]
        differences = [item.stats.differences for item in contrasts if item.task == task]
        rows = [
            (str(seed), *(_seed_cell(part, seed, digits) for part in values),
             *(number(part.get(seed), digits, "+") for part in differences))
            for seed in c.seeds
        ]  # fmt: skip
        groups.append(Group(rows, task))
    head = ("seed", *c.arms, *(f"{arm} - {c.reference}" for arm in c.arms[1:]))
    return Table(f"Every seed: {c.primary.name}", head, groups)


def _seed_cell(values: Mapping[int, float | None], seed: int, digits: int) -> str:
    if seed not in values:
        return "not complete"
    return "undefined" if values[seed] is None else number(values[seed], digits)


def contrast_table(c: Comparison, contrasts: Sequence[Contrast]) -> Table | None:
    """The differences of the primary score, their tests and verdicts; None with a single arm."""
    if not contrasts:
        return None
    head, groups = contrast_rows(c, "arm", contrasts)
    told = dict.fromkeys((item.arm, c.pairing(item.arm, item.task)) for item in contrasts if item.stats.differences)
    notes = [f"At one seed {c.reference} and {arm} have {pairing}." for arm, pairing in told]
    for name, count in dict.fromkeys((family(c.reference, item.arm), item.compared) for item in contrasts):
        if count > 1:
            notes.append(f"Holm's correction is over {count} comparisons (arms x tasks; a family: {name}).")
    if any(item.equal for item in contrasts):
        notes += margins(c)
    note = " ".join(notes)
    return Table(f"Difference from {c.reference}: {c.primary.name}", head, groups, note)


def contrast_rows(c: Comparison, first: str, contrasts: Sequence[Contrast]) -> tuple[Cells, list[Group]]:
    """Head and rows of a table of differences, by task; columns that no row fills are left out."""
    holm, equals = any(item.compared > 1 for item in contrasts), any(item.equal for item in contrasts)
    bootstrap = any(item.stats.bootstrap for item in contrasts)
    head = (first, "verdict", "mean difference", INTERVAL, "pairs", "sign-flip p", "t-test p",
            *["Holm-adjusted p"] * holm, *["equivalence p"] * equals, "probability of improvement",
            *["bootstrap interval"] * bootstrap)  # fmt: skip

    def cells(item: Contrast) -> Cells:
        s, digits = item.stats, score_digits(c, item.score, item.task)
        around = interval_text(*s.bootstrap, digits, "+") if s.bootstrap else NOTHING
        equal = p_text(item.equal.p_adjusted) if item.equal else NOTHING
        tests = p_text(s.p_sign_flip), p_text(s.p_t), *[p_text(item.p_adjusted)] * holm, *[equal] * equals
        found = number(s.mean, digits, "+"), interval_text(s.low, s.high, digits, "+"), str(len(s.differences)), *tests
        said = item.verdict.words if item.verdict else "described"
        return item.arm, said, *found, number(s.improvement, 2), *[around] * bootstrap

    return head, [Group([cells(item) for item in contrasts if item.task == task], task) for task in c.tasks]


def margins(c: Comparison) -> list[str]:
    """What would matter, and why; of several tasks by task where they differ."""
    told: dict[str, list[str]] = {}
    for task in c.tasks:
        if margin := c.margin(task):
            fresh = f"; it was set after runs of seeds below {margin.fresh_from} were seen" if margin.fresh_from else ""
            told.setdefault(f"{margin.value:g}, {margin.reason}{fresh}", []).append(task or "")
    where = {text: f" in {', '.join(tasks)}" if len(told) > 1 else "" for text, tasks in told.items()}
    lines = [f"Margin of equivalence{where[text]}: {text}." for text in told]
    return [*lines, "Its p: two one-sided t tests, Holm-corrected within the family."] if lines else []


def others_table(c: Comparison, contrasts: Sequence[Contrast]) -> Table | None:
    """The other scores of every arm, but for details; None where there is no other."""
    groups = []
    for score in (score for score in c.scores[1:] if not score.detail):
        for task in c.tasks:
            digits = score_digits(c, score, task)
            found = {item.arm: item.stats for item in contrasts if item.score == score and item.task == task}
            rows = []
            for arm in c.arms:
                s = found.get(arm)
                difference = (number(s.mean, digits, "+"), interval_text(s.low, s.high, digits, "+"),
                              number(s.improvement, 2)) if s else (NOTHING,) * 3  # fmt: skip
                rows.append(_summary_cells(c, score, arm, task, digits) + difference)
            real = _real(c, score, task)
            if real is not None:
                rows.append(("real data", number(real, max(digits, 3)), *[NOTHING] * 6))
            groups.append(Group(rows, f"{f'{task}: ' if task else ''}{score.name}, {direction(score)}"))
    head = ("arm", "mean", "sd", INTERVAL, "seeds", f"difference from {c.reference}", f"its {INTERVAL}",
            "probability of improvement")  # fmt: skip
    note = "No conclusion is drawn from these: among several scores one looks large by chance."
    if details := sum(score.detail for score in c.scores):
        note += f" {details} more scores of every run stand in scores.csv."
    return Table("Described, not concluded from", head, groups, note) if groups else None


def over_tasks_table(c: Comparison) -> Table | None:
    """Every arm over all tasks; None where no score compares between them."""
    rows = over_tasks(c)
    if not rows:
        return None
    pooled = next(score for score in c.scores if score.pooled)
    head = ("arm", "tasks", "runs", "interquartile mean", INTERVAL, "probability of improvement", INTERVAL,
            "better / equivalent / inconclusive / worse")  # fmt: skip
    digits = digits_of(value for row in rows for value in (row.iqm.low, row.iqm.high))
    published = c.captions.published
    note = (f"Better, worse: tasks with that verdict on {c.primary.name}; inconclusive is not equivalent. "
            f"Intervals: bootstrap over runs within each task. {published}")  # fmt: skip
    cells = [_over_tasks_cells(row, row.arm == c.reference, digits) for row in rows]
    return Table(f"Over all tasks: {pooled.name}, {direction(pooled)}", head, [Group(cells)], note.rstrip())


def _over_tasks_cells(row: OverTasks, reference: bool, digits: int) -> Cells:
    gain = row.improvement
    improvement = (number(gain.value, 3), interval_text(gain.low, gain.high, 3)) if gain else (NOTHING, NOTHING)
    judged = row.better + row.equivalent + row.inconclusive + row.worse
    counts = (
        NOTHING if reference or not judged else f"{row.better} / {row.equivalent} / {row.inconclusive} / {row.worse}"
    )
    iqm = number(row.iqm.value, digits), interval_text(row.iqm.low, row.iqm.high, digits)
    return row.arm, str(row.tasks), str(row.runs), *iqm, *improvement, counts


# Tables of everything else

_COSTS = {
    "parameters": "parameters",
    "multiply_adds_per_image": "multiply-adds an image",
    "multiply_adds_per_step": "multiply-adds a step",
    "steps": "training steps",
    "images": "images seen",
    "steps_per_second": "steps a second",
    "seconds": "wall time of training (s)",
    "peak_memory_mb": "peak memory (MiB)",
}


def flattened(document: Mapping[str, Any], joint: str = ": ") -> dict[str, Any]:
    """``{"parameters": {"body": 3}}`` as ``{"parameters: body": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner = flattened(value, joint) if isinstance(value, Mapping) else {}
        flat |= {f"{key}{joint}{name}": item for name, item in inner.items()} if inner else {str(key): value}
    return flat


def costs_of(rows: Iterable[Row]) -> dict[str, float]:
    """Cost -> mean over the complete runs."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for key, value in flattened(row.costs).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(key, []).append(float(value))
    return {key: float(np.mean(values)) for key, values in found.items()}


_BUDGETS = {
    "steps": "Every arm trains for the same number of steps.",
    "macs": "Every arm trains for the same number of multiply-adds: a dearer step means fewer of them.",
    "none": "The arms do not train for the same number of steps.",
}


def costs_table(c: Comparison) -> Table | None:
    """What each arm costs, and how that compares with the reference."""
    groups = []
    names = _COSTS | {"images": c.captions.counted}
    for task in c.tasks:
        costs = [costs_of(c.of(arm, task)) for arm in c.arms]
        keys = list(dict.fromkeys(key for part in costs for key in part))
        order = {name: place for place, name in enumerate(_COSTS)}
        keys.sort(key=lambda key: order.get(key.split(": ")[0], len(order)))
        groups.append(Group([_cost_row(names, key, costs) for key in keys], task))
    ratios = tuple(f"{arm} / {c.reference}" for arm in c.arms[1:])
    note = (f"Means over the complete runs. {_BUDGETS[c.budget]} Times compare only where the runs had the machine "
            "alone, or shared it alike.")  # fmt: skip
    filled = [group for group in groups if group.rows]
    return Table("Costs of an arm", ("cost", *c.arms, *ratios), filled, note) if filled else None


def _cost_row(names: Mapping[str, str], key: str, costs: Sequence[Mapping[str, float]]) -> Cells:
    head, *networks = key.split(": ")
    name = ": ".join([names.get(head, head.replace("_", " ")), *networks])
    reference = costs[0].get(key)
    values = (count_text(part[key]) if key in part else NOTHING for part in costs)
    ratios = (f"{part[key] / reference:.3f}" if reference and key in part else NOTHING for part in costs[1:])
    return name, *values, *ratios


def runs_table(c: Comparison, place: str) -> Table:
    """Every run with its state, its folder below ``place``, its seconds and what went wrong."""
    rows = [_run_cells(row, place) for row in c.rows]
    head = ("run", "state", "seconds", "folder", "error")
    keep = [i for i in range(5) if i != 4 or any(row.error for row in c.rows)]
    kept = [tuple(cells[i] for i in keep) for cells in rows]
    return Table("Every run", tuple(head[i] for i in keep), [Group(kept)], f"Folders are in {place}.", words=True)


def _run_cells(row: Row, place: str) -> Cells:
    seconds, folder = row.costs.get("seconds"), row.folder.as_posix()
    time = count_text(float(seconds)) if isinstance(seconds, int | float) else NOTHING
    state = "failed" if row.error else row.state
    return str(row.cell), state, time, folder.removeprefix(f"{place}/"), row.error or NOTHING


def config_tables(c: Comparison) -> tuple[Table | None, Table | None]:
    """The settings in which arms or tasks differ, and those that all runs share; None where there is none."""
    runs = [row.run for row in c.rows if row.run is not None]
    if not runs:
        return None, None
    helps = {name: field.description or "" for name, field in type(runs[0].config).model_fields.items()}
    names = [name for name in helps if name != "seed"]
    same = {name: len({_setting(run.config, name) for run in runs}) == 1 for name in names}
    differs = [(name, *(_settings(c, arm, name) for arm in c.arms), helps[name]) for name in names if not same[name]]
    shared = [(name, _setting(runs[0].config, name), helps[name]) for name in names if same[name]]
    shared.append(("precision (resolved)", ", ".join(sorted({run.precision for run in runs})), "of the arithmetic"))
    return (
        Table("What differs", ("setting", *c.arms, "meaning"), [Group(differs)], words=True) if differs else None,
        Table("What all runs share, but for the seed", ("setting", "value", "meaning"), [Group(shared)], words=True),
    )


def _setting(config: Any, name: str) -> str:
    value = getattr(config, name)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _settings(c: Comparison, arm: str, name: str) -> str:
    """The arm's value; where its tasks or runs differ, all of them."""
    found: dict[str, list[str]] = {}
    for row in c.rows:
        if row.cell.arm == arm and row.run is not None:
            found.setdefault(_setting(row.run.config, name), []).append(row.cell.task or f"seed {row.cell.seed}")
    if len(found) < 2:
        return next(iter(found), NOTHING)
    return "; ".join(f"{value} ({', '.join(dict.fromkeys(places))})" for value, places in found.items())


def environment_table(c: Comparison) -> Table | None:
    """What the runs were made with; where they differ, which with what."""
    rows = [(row, flattened(row.environment, " ")) for row in c.rows if row.environment]
    names = list(dict.fromkeys(name for _, flat in rows for name in flat))
    cells = []
    for name in names:
        found: dict[str, list[str]] = {}
        for row, flat in rows:
            value = flat.get(name)
            found.setdefault("none" if value is None else str(value), []).append(str(row.cell))
        several = len(found) > 1
        values = [f"{value} ({'; '.join(runs)})" if several else value for value, runs in found.items()]
        cells.append((name.removeprefix("packages "), f"{'differs: ' if several else ''}{'; '.join(values)}"))
    return Table("What the runs were made with", ("what", "value"), [Group(cells)], words=True) if cells else None
