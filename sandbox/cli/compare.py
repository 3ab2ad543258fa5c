"""`python -m sandbox.compare CONFIG`: every arm x task x seed of one config, then the report.

    python -m sandbox.compare gan/sort_of_clevr                     # what is not complete yet, then the report
    python -m sandbox.compare gan/sort_of_clevr --seeds 3 --arms conv coord wide
    python -m sandbox.compare gan/sort_of_clevr --report-only       # trains nothing
    python -m sandbox.compare gan/sort_of_clevr --export results/NAME      # its runs as small files, its page's sources
    python -m sandbox.compare gan/sort_of_clevr --from results/NAME        # runs of other machines count as complete
    python -m sandbox.compare vision/classification --sweep         # a grid of settings; see sweep.py

The first arm is the reference that the others are compared with. A run is the one that `python -m sandbox.STUDY` makes
under the same settings: both find and continue each other's.
"""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.base.errors import RunError, UserError, warn
from sandbox.base.guard import resumable
from sandbox.base.locks import hold
from sandbox.cli.compare_parser import parse
from sandbox.experiment.config import SEEDS
from sandbox.launcher.plan import Cell, Plan

if TYPE_CHECKING:
    from rich.table import Table

    from sandbox.report.comparison import Comparison
    from sandbox.report.stats import Summary

CHOOSING = 100  # recipes are chosen on seeds from here on, and these are not reported


def main(arguments: Sequence[str] | None = None) -> Path:
    """Makes what is missing of a comparison and reports.

    Returns:
        The report, an HTML file.

    Raises:
        UserError, RunError, Interrupted, OSError: see `sandbox.base.guard.guarded`, which turns each into a line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    plan = parse(given)
    # Only now what takes seconds to import: --help and mistakes are answered at once.
    from sandbox.launcher.runner import make_runs
    from sandbox.launcher.worker import PATIENCE
    from sandbox.report.gather import gather, settings_of

    failed: dict[Cell, str] = {}
    if plan.options.report_only:  # while another process makes the runs, too
        plan = found_on_disk(plan)
    else:
        with (
            resumable(plan.folder / "comparison"),
            hold(plan.folder, ".comparison.lock", f"{plan.folder} is being compared by another process"),
        ):
            plan = within_budget(plan)
            failed = make_runs(plan)
    with hold(plan.folder, ".report.lock", f"{plan.folder} is being reported by another process", PATIENCE):
        comparison = gather(plan, failed, shlex.join(["python", "-m", "sandbox.compare", *given]))
        report = _report_sweep(comparison, plan) if plan.options.sweep else _report(comparison)
        if plan.options.export is not None:
            from sandbox.report.sources import export

            settings = settings_of(plan, comparison.rows) if plan.options.report_only else []
            print(f"exported:    {export(comparison, plan.options.export, plan.experiment.variants, settings)}")
    if failed:
        (cell, line), count = next(iter(failed.items())), len(plan.cells())
        others = ", the others are complete" if len(failed) < count else ""
        raise RunError(f"{len(failed)} of {count} runs failed{others}; {cell}: {line}")
    return report


def found_on_disk(plan: Plan) -> Plan:
    """The plan narrowed to what its folder holds, for a report alone.

    Seeds on which recipes are chosen, from `CHOOSING` on, are left out and told, unless the file or the command names
    them, or there are no others.

    Raises:
        UserError: no run of these arms, tasks and seeds is there.
    """
    options, folder = plan.options, plan.folder
    places = {plan.place(cell).parent for cell in plan.cells()}
    places |= {shelf for cell in plan.cells() for shelf in plan.shelves(cell)}
    names = {path.name.removesuffix(".json") for place in places for path in place.glob("seed-*")
             if path.suffix == ".json" or (path / "config.yaml").is_file()}  # fmt: skip
    seeds = (re.fullmatch(r"seed-(0|[1-9][0-9]{0,9})", name) for name in names)  # seed-03 is none
    there = sorted(seed for found in seeds if found and (seed := int(found[1])) < SEEDS)
    reported = [seed for seed in there if seed < CHOOSING or seed in plan.seeds] or there
    if not options.named_seeds:
        if pilots := ", ".join(str(seed) for seed in there if seed not in reported):
            warn(f"seeds from {CHOOSING} on choose recipes, so {pilots} in {folder} is left out; --seeds takes it")
        plan = replace(plan, seeds=tuple(reported))
    if not any((plan.place(cell) / "config.yaml").is_file() or plan.exported(cell) for cell in plan.cells()):
        raise UserError(f"{folder} holds no run of {', '.join(plan.arms)}: without --report-only they are made")
    return plan


def within_budget(plan: Plan) -> Plan:
    """The plan with each arm's steps such that it spends the multiply-adds of the reference, if that is the budget."""
    if plan.options.budget == "steps":
        return plan
    from sandbox.launcher.budget import equal_steps

    steps: dict[tuple[str | None, str], int] = {}
    for task in plan.tasks:
        configs = {arm: plan.config(Cell(task, arm, plan.seeds[0])) for arm in plan.arms}
        steps |= {(task, arm): count for arm, count in equal_steps(plan.experiment.study, configs).items()}
    for (task, arm), count in steps.items():
        print(f"{f'{task}, ' if task else ''}{arm}: {count} steps", flush=True)
    return replace(plan, steps=steps)


def _report(comparison: "Comparison") -> Path:
    from sandbox.report.board import write_board
    from sandbox.report.page import write_report

    report = write_report(comparison)
    write_board(comparison)
    _table(comparison)
    print(f"\nreport:      {report}\nTensorBoard: {_tensorboard(comparison)}")
    return report


def _report_sweep(comparison: "Comparison", plan: Plan) -> Path:
    from rich.console import Console

    from sandbox.report.sweep_report import spread_table, write_sweep

    report = write_sweep(comparison, plan.experiment)
    spread = spread_table(comparison, plan.experiment.variants)
    for group in spread.groups:
        title = f"{comparison.experiment}{f', {group.title}' if group.title else ''}: {spread.caption}"
        Console().print(_rich(title, spread.head, group.rows))
    print(f"report:      {report}\nTensorBoard: {_tensorboard(comparison)}")
    return report


def _tensorboard(comparison: "Comparison") -> str:
    return f"{Path(sys.executable).parent / 'tensorboard'} --logdir {comparison.root}"


def _rich(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Its figures are never broken into lines; the names of rows and columns may be."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table, cells = Table(title=Text(title), box=SIMPLE, title_justify="left"), [*rows]
    for place, name in enumerate(head):
        width = max(map(len, (*name.split(), *(row[place] for row in cells)))) if place else None
        table.add_column(Text(name), justify="right" if place else "left", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _scores(comparison: "Comparison", task: str | None) -> "Iterator[Table]":
    """A column an arm where they fit the terminal; else a row an arm, as many scores at a time as fit."""
    from rich.console import Console

    console = Console()
    title = f"{comparison.experiment}{f', {task}' if task else ''}: mean ± sd (seeds)"
    means = {f"{score.name}, {score.better} is better{' (primary)' if score.primary else ''}":
             {arm: _mean(comparison.summary(score, arm, task)) for arm in comparison.arms}
             for score in comparison.scores}  # fmt: skip

    def rows(names: Sequence[str]) -> "Table":
        return _rich(title, ("arm", *names), [(arm, *(means[name][arm] for name in names)) for arm in comparison.arms])

    def fits(table: "Table") -> bool:
        boundless = console.options.update(width=10_000)  # else nothing is wider than the terminal
        return console.measure(table, options=boundless).minimum <= console.width

    columns = _rich(title, ("score", *comparison.arms), [(name, *part.values()) for name, part in means.items()])
    left = list(means)
    if fits(columns):
        yield columns
        left = []
    while left:
        count = next((n for n in range(len(left), 1, -1) if fits(rows(left[:n]))), 1)
        yield rows(left[:count])
        left = left[count:]


def _table(comparison: "Comparison") -> None:
    from rich.console import Console

    from sandbox.report.combined import combined, formula

    for task in comparison.tasks:
        for table in _scores(comparison, task):
            Console().print(table)
    for item in combined(comparison):
        if item.verdict is not None:
            task = f"{item.task}, " if item.task else ""
            print(f"{task}{item.arm}, {formula(comparison.combinations[item.arm])}: {item.verdict.words} "
                  f"({item.verdict.reason})")  # fmt: skip
    for contrast in comparison.contrasts():
        if contrast.verdict is not None:
            task = f"{contrast.task}, " if contrast.task else ""
            print(f"{task}{contrast.arm} against {comparison.reference}: {contrast.verdict.words} "
                  f"({contrast.verdict.reason})")  # fmt: skip


def _mean(summary: "Summary") -> str:
    spread = f" ± {summary.sd:.2g}" if len(summary.values) > 1 else ""
    return f"{summary.mean:.3g}{spread} ({len(summary.values)})" if summary.values else "-"
