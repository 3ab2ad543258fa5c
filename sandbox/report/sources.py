"""The sources of a page of results, which a repository keeps: what a comparison measured, without its run folders.

    results/<comparison>/
      runs/[<task>/]<arm>/seed-<n>.json   each run, see `sandbox.experiment.exported`
      scores.csv                          a row for each run
      comparison.json                     arms, scores, margins, machine, verdicts and figures, see `Sources`
      scores.svg, curves.svg, tasks.svg, films
      text.md                             written by hand

They are read with what they say of one another checked: figures and verdicts are worked out again from ``scores.csv``,
that is compared with ``runs/``, and pictures with their checksums.
"""

import csv
import io
import math
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from sandbox.base.errors import UserError, in_words, one_line
from sandbox.base.files import write_atomically, write_json
from sandbox.base.reading import ReadBack, read_file, read_json, read_text, required
from sandbox.experiment.exported import read_exported, write_exported
from sandbox.experiment.run import Run, State
from sandbox.experiment.spec import Margin, Score
from sandbox.experiment.written import SMALL
from sandbox.film.figures import draw
from sandbox.launcher.plan import Cell
from sandbox.report import plots
from sandbox.report.across import tasks_figure
from sandbox.report.comparison import Budget, Comparison, Recorded, Row
from sandbox.report.page import conclusions, scores_csv
from sandbox.report.placeholders import Tree, plain, tree
from sandbox.report.tables import flattened

_PLACES = ("--root", "--from", "--export", "--jobs", "--cpus", "--gpus", "--device")
_PICTURES = (".svg", ".png", ".gif")


class Declared(ReadBack):
    """A score, see `sandbox.experiment.spec.Score`."""

    tag: str
    better: Literal["higher", "lower"]
    name: str
    primary: bool = False
    curve: str | None = None
    training: str | None = None
    pooled: bool = False
    best: float | None = None
    worst: float | None = None
    detail: bool = False


class Matters(ReadBack):
    """The margin of a task, see `sandbox.experiment.spec.Margin`."""

    task: str | None
    value: float = Field(gt=0)
    reason: str
    fresh_from: int


class Pairing(ReadBack):
    """What an arm has in common with the reference at one seed."""

    task: str | None
    arm: str
    pairing: str


class Sources(ReadBack):
    """What ``comparison.json`` holds.

    Attributes:
        study, experiment, source, command, arms, tasks, seeds, budget: see `sandbox.report.comparison.Comparison`.
        variants: of a sweep: combination -> the arm that it varies.
        contrasts: of several arms, see `sandbox.report.combined`.
        scores: the primary one first.
        margins, failed, pairings: see `sandbox.report.comparison.Recorded`.
        made_with: machine, instruction set, precision, versions.
        transcribed: where what stands here was typed from; empty: all of it was read from runs.
        conclusions: what a report opens with.
        figures: what a text's placeholders are filled from, see `sandbox.report.placeholders`.
        files: picture -> checksum.
    """

    study: str
    experiment: str
    source: str
    command: str
    arms: list[str] = Field(min_length=1)
    tasks: list[str | None] = Field(min_length=1)
    seeds: list[int]
    budget: Budget
    variants: dict[str, str] = Field(default_factory=dict)
    contrasts: dict[str, dict[str, float]] = Field(default_factory=dict)
    scores: list[Declared] = Field(min_length=1)
    margins: list[Matters] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    pairings: list[Pairing] = Field(default_factory=list)
    made_with: dict[str, str] = Field(default_factory=dict)
    transcribed: str = ""
    conclusions: list[dict[str, str]] = Field(default_factory=list)
    figures: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)


def export(c: Comparison, folder: Path, variants: Mapping[str, str], settings: Sequence[str] = ()) -> Path:
    """Writes the sources of a comparison that was just reported; returns their folder.

    Args:
        c: the comparison.
        folder: where to.
        variants: of a sweep, see `Sources`.
        settings: flags that its command lacks, since it made a report alone, see `sandbox.report.gather.settings_of`.

    Raises:
        UserError: no run is complete.
        OSError: the folder cannot be written.
    """
    c = replace(c, rows=tuple(replace(row, error=None) for row in c.rows))  # what went wrong just now names places here
    complete = [row for row in c.rows if row.state == "complete" and row.run is not None]
    if not complete:
        raise UserError(f"{c.root} holds no complete run: there is nothing to export")
    tags = [
        *dict.fromkeys(score.curve for score in c.scores if score.curve),
        *dict.fromkeys(tag for row in complete for point in row.curves for tag in point if tag.startswith("loss/")),
    ]
    for row in complete:
        file = _file(folder, row.cell)
        if row.run is not None and file != row.folder:
            result = {"scores": dict(row.scores), **row.costs}
            write_exported(file, row.run, row.environment, result, row.curves, tags, c.budget)
    for name in _pictures(c):
        if (c.folder / name).is_file():
            shutil.copyfile(c.folder / name, folder / name)
    head = {
        "study": c.study, "experiment": c.experiment, "source": c.source,
        "command": shlex.join([*_command(c.command, complete[0].run), *settings]),
        "arms": c.arms, "tasks": c.tasks, "seeds": c.seeds, "budget": c.budget, "variants": dict(variants),
        "contrasts": {name: dict(weights) for name, weights in c.combinations.items()},
        "scores": [Declared.model_validate({name: getattr(score, name) for name in Declared.model_fields}).model_dump()
                   for score in c.scores],
        "margins": [{"task": task, "value": m.value, "reason": m.reason, "fresh_from": m.fresh_from}
                    for task in c.tasks if (m := c.margin(task))],
        "failed": {str(row.cell): why for row in complete if (why := c.failing(row))},
        "pairings": [{"task": task, "arm": arm, "pairing": c.pairing(arm, task)}
                     for task in c.tasks for arm in c.arms[1:] if not variants],
        "made_with": _made_with(complete), "transcribed": "",
    }  # fmt: skip
    write_atomically(folder / "scores.csv", scores_csv(c))
    _write(c, folder, head)
    return folder


def _pictures(c: Comparison) -> list[str]:
    """Of the report's files those that a page may show; it draws its plots itself, but for a sweep's."""
    kinds = {c.captions.film_name: "gif", **dict.fromkeys(c.captions.pictures, "png")}
    tasks = ["", *(f"-{task}" for task in c.tasks if task)]
    return [*(f"{name}{task}.{kind}" for name, kind in kinds.items() for task in tasks), "sweep.svg"]


def work_out(folder: Path) -> None:
    """Writes figures, verdicts and the picture of the scores anew, from ``scores.csv`` and the head of the JSON.

    Raises:
        UserError: the sources cannot be read.
    """
    sources = _read(folder)
    head = sources.model_dump(exclude={"conclusions", "figures", "files"})
    _write(_comparison(folder, sources), folder, head)


def _write(c: Comparison, folder: Path, head: Mapping[str, Any]) -> None:
    variants = head["variants"]
    primary = [] if variants else c.primary_contrasts()
    drawn = {} if variants else {"scores.svg": draw(lambda: plots.scores_figure(c, primary)),
                                 "curves.svg": draw(lambda: plots.curves_figure(c)),
                                 "tasks.svg": draw(lambda: tasks_figure(c))}  # fmt: skip
    for name, pictures in drawn.items():
        if pictures is not None:  # what is there stays where there are no curves
            write_atomically(folder / name, pictures["svg"])
    files = {path.name: _checksum(path) for path in sorted(folder.iterdir()) if path.suffix in _PICTURES}
    concluded = [] if variants else conclusions(c, primary)
    figures = plain(tree(c, variants))
    write_json(folder / "comparison.json", {**head, "conclusions": concluded, "figures": figures, "files": files})


def _command(line: str, run: Run | None) -> list[str]:
    """The words of a command without what says where and how fast its runs were made."""
    own = {f"--{field.replace('_', '-')}": field.upper() for field in (run.config.PLACES if run else ())}
    words, kept = shlex.split(line), []
    while words:
        word = words.pop(0)
        if word in _PLACES and words:
            words.pop(0)
        elif word == "--ray":
            words = words[bool(words and not words[0].startswith("-")) :]  # its address may be left out
        elif (flag := word.partition("=")[0]) in own:
            kept += [flag, own[flag]]
            words = words[flag == word :]
        elif word != "--report-only" and word.partition("=")[0] not in (*_PLACES, "--ray"):
            kept.append(word)
    return kept


def _made_with(rows: list[Row]) -> dict[str, str]:
    """What the runs were made with; where they differ, all of it."""
    told: dict[str, dict[str, None]] = {}
    for row in rows:
        e = row.environment
        parts = {"machine": e.get("processor"), "instruction set": e.get("instructions"),
                 "device": e.get("device"), "accelerator": e.get("accelerator"),
                 "precision": row.run and row.run.precision, "threads a run": e.get("threads"),
                 "python": e.get("python"), **(e.get("packages") or {}), "commit": e.get("commit")}  # fmt: skip
        for name, value in parts.items():
            if value is not None:
                told.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in told.items()}


def _file(folder: Path, cell: Cell) -> Path:
    return folder.joinpath("runs", *cell.parts, f"seed-{cell.seed}.json")


def _checksum(path: Path) -> str:
    return sha256(read_file(path)).hexdigest()[:16]


def read_sources(folder: Path) -> tuple[Sources, Comparison, Tree]:
    """The sources in a folder, checked against one another, and the comparison's figures.

    Raises:
        UserError: a file is missing or damaged, or two of them disagree; in one line.
    """
    sources = _read(folder)
    c = _comparison(folder, sources)
    again = f"(python -m sandbox.results --work-out {folder} does it again)"
    figures = tree(c, sources.variants)
    if changed := next(_differences(sources.figures, plain(figures)), None):
        raise UserError(f"{folder}/comparison.json is not what scores.csv gives: {changed} {again}")
    primary = [] if sources.variants else c.primary_contrasts()
    if not sources.variants and sources.conclusions != conclusions(c, primary):
        raise UserError(f"{folder}/comparison.json concludes something else than scores.csv gives {again}")
    with required():
        found = {path.name: _checksum(path) for path in sorted(folder.iterdir()) if path.suffix in _PICTURES}
    if changed := next(_differences(sources.files, found), None):
        raise UserError(f"{folder}: its pictures are not those of comparison.json: {changed} {again}")
    _check_runs(folder, c)
    return sources, c, figures


def _check_runs(folder: Path, c: Comparison) -> None:
    """Refuses exported runs, where there are any, that are not the rows of the table."""
    if not (folder / "runs").is_dir():
        return
    rows = {_file(folder, row.cell): row for row in c.rows if row.state == "complete"}
    there = {
        file for task in c.tasks for arm in c.arms for file in _file(folder, Cell(task, arm, 0)).parent.glob("seed-*")
    }
    for file in sorted(rows.keys() ^ there):
        what = "is not there, but scores.csv has its run" if file in rows else "is no run of scores.csv"
        raise UserError(f"{file} {what}: export the comparison again")
    for file, row in rows.items():
        result = read_exported(file)[1].result.model_dump(exclude={"run"}, exclude_unset=True)
        scores, costs = result.pop("scores"), flattened(row.costs, ".")
        theirs = {name: _number(str(value)) for name, value in flattened(result, ".").items() if name in costs}
        if changed := next(_differences({k: v for k, v in (*scores.items(), *theirs.items()) if v is not None},
                                        {k: v for k, v in (*row.scores.items(), *costs.items()) if v is not None}),
                           None):  # fmt: skip
            raise UserError(f"{file} is not what scores.csv says: {changed}: export the comparison again")


def _differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """``place: old -> new`` for each leaf in which two documents differ by more than rounding."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(name), new.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(old, int | float) and isinstance(new, int | float):
        if not math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{place} {old:.6g} -> {new:.6g}"
    elif old != new:
        yield f"{place} {in_words(old)} -> {in_words(new)}"


def _read(folder: Path) -> Sources:
    with required(f"python -m sandbox.compare CONFIG --export {folder} writes it"):
        return read_json(folder / "comparison.json", Sources, SMALL)


def _comparison(folder: Path, s: Sources) -> Comparison:
    margins = {m.task: Margin(m.value, m.reason, m.fresh_from) for m in s.margins}
    pairings = {(item.arm, item.task): item.pairing for item in s.pairings}
    scores = tuple(Score(**{name: getattr(score, name) for name in Declared.model_fields}) for score in s.scores)
    if not scores[0].primary or any(score.primary for score in scores[1:]):
        raise UserError(f"{folder}/comparison.json: the first of its scores, and no other, must be primary")
    return Comparison(s.study, s.experiment, folder, s.source, s.command, tuple(s.arms), tuple(s.tasks),
                      tuple(s.seeds), scores, s.budget, tuple(_rows(folder, s)),
                      Recorded(margins, s.failed, pairings), s.contrasts)  # fmt: skip


def _rows(folder: Path, s: Sources) -> list[Row]:
    path = folder / "scores.csv"
    with required():
        text = read_text(path, SMALL)
    try:
        found = [_row(folder, line) for line in csv.DictReader(io.StringIO(text))]
    except (KeyError, ValueError, TypeError, StopIteration, csv.Error) as error:
        raise UserError(f"{path} is no table of runs ({one_line(error, 80)})") from None
    rows = {row.cell: row for row in found}
    if twice := next((row.cell for row in found if rows[row.cell] is not row), None):
        raise UserError(f"{path} has {twice} twice")
    cells = [Cell(task, arm, seed) for task in s.tasks for seed in s.seeds for arm in s.arms]
    for cell in (*(cell for cell in cells if cell not in rows), *(cell for cell in rows if cell not in set(cells))):
        raise UserError(f"{path} and comparison.json have different runs: {cell} stands in one of them alone")
    return [rows[cell] for cell in cells]


def _row(folder: Path, line: Mapping[str, str]) -> Row:
    cell = Cell(line["task"] or None, line["arm"], int(line["seed"]))
    state = next(state for state in get_args(State) if state == line["state"])
    scores: dict[str, float | None] = {}
    costs: dict[str, Any] = {}
    for name, text in list(line.items())[4:]:
        if "/" in name:
            scores[name] = float(text) if text else None
        elif text:
            head, _, inner = name.partition(".")
            place = costs.setdefault(head, {}) if inner else costs
            place[inner or head] = _number(text)
    if infinite := [name for name, value in scores.items() if value is not None and not math.isfinite(value)]:
        raise ValueError(f"{infinite[0]} of {cell} is no finite number")
    return Row(cell, folder, state, None, scores if state == "complete" else {}, costs, {}, [])


def _number(text: str) -> int | float | str:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text
