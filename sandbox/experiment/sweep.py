"""A sweep: every combination of some settings of an arm, each a run of its own.

    python -m sandbox.compare vision/classification --sweep      # the grids under ``sweep:`` of the file

The combinations become arms of an expanded experiment, so that everything that makes the runs of a comparison makes
them too. What they are reported as: `sandbox.report.sweep_report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import yaml

from sandbox.base.errors import UserError, nearest
from sandbox.experiment.file import Experiment


def expand(experiment: Experiment, arms: Sequence[str] | None, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment whose arms are the combinations, named by the settings that vary: ``conv_lr-0.01_fs-3``.

    Args:
        experiment: a file with ``sweep:``.
        arms: those to sweep; None: all that have a grid.
        overrides: settings of the command line, which must not be among those that vary.

    Raises:
        UserError: no grid for an arm, or an override of what is swept.
    """
    grids = experiment.sweep
    if not grids:
        raise UserError(f"{experiment.path} has no sweep: it would say which values of which settings to combine")
    chosen = list(dict.fromkeys(arms or grids))
    experiment.check_names(chosen, [])
    for arm in chosen:
        if arm not in grids:
            raise UserError(f"no sweep of {arm!r} in {experiment.path}: it has {', '.join(grids)}{nearest(arm, grids)}")
        if fixed := [name for name in overrides if name in grids[arm]]:
            raise UserError(f"--{fixed[0].replace('_', '-')} goes not with --sweep, which gives {arm} its own values")
    variants = {_name(arm, grids[arm], point): (arm, point) for arm in chosen for point in _points(grids[arm])}
    values = {name: {**experiment.arms[arm], **point} for name, (arm, point) in variants.items()}
    origin = {name: arm for name, (arm, _) in variants.items()}
    return replace(experiment, arms=values, compared=tuple(values), variants=origin)


def _points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _name(arm: str, grid: Mapping[str, Sequence[Any]], point: Mapping[str, Any]) -> str:
    varied = [f"{name}-{point[name]}" for name in grid if len(grid[name]) > 1]
    return "_".join([arm, *varied])


def swept(experiment: Experiment) -> tuple[str, ...]:
    """The settings that vary in an expanded sweep, in the file's order."""
    grids = [experiment.sweep[arm] for arm in dict.fromkeys(experiment.variants.values())]
    return tuple(dict.fromkeys(name for grid in grids for name, values in grid.items() if len(values) > 1))


def as_yaml(experiment: Experiment) -> bytes:
    """An expanded experiment as a file that makes the same runs."""
    document = {
        "study": experiment.study,
        "experiment": dict(experiment.values),
        "arms": {name: dict(values) for name, values in experiment.arms.items()},
        "seeds": list(experiment.seeds),
    }
    if experiment.tasks:
        document["tasks"] = {name: dict(values) for name, values in experiment.tasks.items()}
    head = f"# The sweep of {experiment.path.name}, every combination an arm\n"
    return (head + yaml.safe_dump(document, sort_keys=False)).encode()
