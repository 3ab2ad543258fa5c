"""What a comparison's runs hold, read back from their folders or from exported files.

Only ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``result.json`` and the pictures are read, so every study
compares alike, and so does a folder of runs copied from a cluster.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.base.errors import UserError, warn
from sandbox.base.reading import Unreadable, read_file
from sandbox.experiment.config import differences
from sandbox.experiment.exported import read_exported
from sandbox.experiment.names import config_title
from sandbox.experiment.run import Run, read_run, refuse_mixed_data, refuse_mixed_precision
from sandbox.experiment.written import SMALL
from sandbox.launcher.plan import Cell, Plan
from sandbox.launcher.worker import read_order
from sandbox.report.comparison import Budget, Comparison, Row
from sandbox.train.tracking import read_metrics


def gather(plan: Plan, failed: Mapping[Cell, str], command: str) -> Comparison:
    """Reads the runs of a plan back.

    Args:
        plan: which runs.
        failed: what those that failed just now said.
        command: what makes the report again.

    Raises:
        UserError: a run is not what its folder says, or runs that differ in more than the arms would be paired.
    """
    rows = tuple(_row(plan, cell, failed.get(cell)) for cell in plan.cells())
    check_places(rows, plan)
    refuse_mixed_precision([row.run for row in rows if row.run])
    refuse_mixed_data([row.run for row in rows if row.run])
    contrasts = {} if plan.options.sweep else plan.experiment.contrasts
    kept = {name: weights for name, weights in contrasts.items() if weights.keys() <= set(plan.arms)}
    combinations = kept if list(kept)[:1] == list(contrasts)[:1] else {}  # a file's first contrast alone may conclude
    return Comparison(plan.experiment.study, plan.name, plan.folder, config_title(plan.experiment.path), command,
                      plan.arms, plan.tasks, plan.seeds, plan.scores(), _budget(plan, rows), rows,
                      combinations=combinations)  # fmt: skip


def settings_of(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Flags of the settings in which all runs differ from the file alike: what a command that makes them must say."""
    other: list[dict[str, Any]] = []
    for row in rows:
        if row.run is not None:
            file, own = plan.config(row.cell).model_dump(mode="json"), row.run.config.model_dump(mode="json")
            other.append({key: own[key] for key in own if own[key] != file[key] and key not in row.run.config.PLACES})
    words: list[str] = []
    for key, value in (other[0] if other else {}).items():
        if all(key in one and one[key] == value for one in other):
            flag = key.replace("_", "-")
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def _budget(plan: Plan, rows: Sequence[Row]) -> Budget:
    """What the arms had the same of: told by the runs, not by this command line."""
    spent = {(row.cell.task, row.run.config.steps, row.run.config.batch) for row in rows if row.run}
    if len(spent) == len({task for task, *_ in spent}):
        return "steps"
    older = plan.folder / "comparison" / "budget"  # of a comparison that was made before runs had order files
    with suppress(Unreadable):
        if older.exists() and read_file(older, SMALL) == b"macs":
            return "macs"
    return "macs" if {_told(plan, row) for row in rows} - {"none"} == {"macs"} else "none"


def _row(plan: Plan, cell: Cell, error: str | None) -> Row:
    exported = plan.exported(cell)
    return read_row(cell, plan.place(cell), error) if exported is None else read_exported_row(cell, exported)


def read_exported_row(cell: Cell, path: Path) -> Row:
    """Reads one exported run; of a damaged one the error says why."""
    try:
        run, found = read_exported(path)
    except UserError as wrong:
        return Row(cell, path, "interrupted", None, {}, {}, {}, [], str(wrong))
    costs = found.result.model_dump(exclude={"run"}, exclude_unset=True)
    made_with = found.environment.model_dump(exclude={"run"}) if found.environment else {}
    return Row(cell, path, "complete", run, costs.pop("scores"), costs, made_with, found.points(), None, found.budget)


def _told(plan: Plan, row: Row) -> str:
    """The budget that a run was made under; a report needs no order file, so that one may be lost or damaged."""
    if row.exported:
        return row.budget
    try:
        return str(read_order(plan.order(row.cell))["budget"])
    except UserError:
        return "none"


def read_row(cell: Cell, folder: Path, error: str | None = None) -> Row:
    """Reads one run's folder; a new one is empty. A damaged one counts as interrupted, its error says why."""
    if not (folder / "config.yaml").is_file():
        if folder.is_symlink() or (folder.is_dir() and any(path.name != ".lock" for path in folder.iterdir())):
            error = error or f"{folder} has no config.yaml: what run that was is not known, and it is left out"
        return Row(cell, folder, "new", None, {}, {}, {}, [], error)
    try:
        run = read_run(folder)
    except UserError as wrong:
        return Row(cell, folder, "interrupted", None, {}, {}, {}, [], error or str(wrong))
    state, costs = run.state(), dict[str, Any]()
    try:
        costs = run.result() if state == "complete" else costs
    except UserError as wrong:
        state, error = "interrupted", error or str(wrong)
    scores = costs.pop("scores", {})
    costs.pop("points", None)  # of an older run
    there = (folder / "metrics.jsonl").exists() or state == "complete"
    curves = read_metrics(folder, costs.pop("curves", None)) if there else []
    return Row(cell, folder, state, run, scores, costs, _environment(run), curves, error)


def _environment(run: Run) -> dict[str, Any]:
    try:
        return run.environment()
    except UserError as error:
        warn(str(error))
        return {}


def check_places(rows: Sequence[Row], plan: Plan) -> None:
    """Refuses runs that are not what their folders say, or differ within an arm in more than the seed.

    Raises:
        UserError: names the folder and what is different.
    """
    first: dict[tuple[str | None, str], Row] = {}
    for row in rows:
        if row.run is None:
            continue
        cell, run = row.cell, row.run
        told = (plan.experiment.study, plan.name, cell.task, cell.arm, cell.seed)
        says = (run.study, run.experiment, run.task, run.arm, run.config.seed)
        if changed := [f"{a!r}, not {b!r}" for a, b in zip(says, told, strict=True) if a != b]:
            raise UserError(f"{row.folder} holds another run than its name says: {'; '.join(changed)}")
        other = first.setdefault((cell.task, cell.arm), row)
        assert other.run is not None
        ours, theirs = (one.config.model_dump(exclude={"seed", *run.config.PLACES}) for one in (other.run, run))
        if changed := differences(ours, theirs):
            found = f"{'; '.join(changed)} from {other.folder} to {row.folder}"
            raise UserError(f"runs of one arm must not differ but in the seed: {found}")
