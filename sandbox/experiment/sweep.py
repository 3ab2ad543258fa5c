"""A sweep: every combination of some settings of an arm, each a run of its own.

    python -m sandbox.compare vision/classification --sweep      # the grids under ``sweep:`` of the file

The combinations become arms of an expanded experiment, so that everything that makes the runs of a comparison makes
them too. What they are reported as: `sandbox.report.sweep_report`.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import yaml

from sandbox.base.errors import UserError, in_words, listed, nearest
from sandbox.experiment.config import Config
from sandbox.experiment.file import Experiment

COMBINATIONS = 1000  # of a sweep, each a run on every task; as many arms as a file can hold, see `as_yaml`
LONGEST = 64  # characters of a folder's name


def expand(experiment: Experiment, arms: Sequence[str] | None, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment whose arms are the combinations, named by the settings that vary: ``conv_lr-0.01_fs-3``.

    Args:
        experiment: a file with ``sweep:``.
        arms: those to sweep; None: all that have a grid.
        overrides: settings of the command line, which must not be among those that vary.

    Raises:
        UserError: no grid for an arm, an override of what is swept, too many combinations, or two that are the same.
    """
    grids = experiment.sweep
    if not grids:
        raise UserError(f"{experiment.path} has no sweep: it would say which values of which settings to combine")
    chosen = list(dict.fromkeys(arms or grids))
    experiment.check_names(chosen, [])
    for arm in chosen:
        if arm not in grids:
            raise UserError(f"no sweep of {arm!r} in {experiment.path}: it has {listed(grids)}{nearest(arm, grids)}")
        if fixed := [name for name in overrides if name in grids[arm]]:
            raise UserError(f"--{fixed[0].replace('_', '-')} goes not with --sweep, which gives {arm} its own values")
    count = sum(math.prod(map(len, grids[arm].values())) for arm in chosen)
    if count > COMBINATIONS:
        raise UserError(f"{experiment.path}: the sweep of {listed(chosen, 100)} has {in_words(count)} combinations: "
                        f"at most {COMBINATIONS} are made")  # fmt: skip
    points = [(arm, point) for arm in chosen for point in _points(grids[arm])]
    named = [(_name(arm, grids[arm], point), arm, point) for arm, point in points]
    values = {name: {**experiment.arms[arm], **point} for name, arm, point in named}
    origin = {name: arm for name, arm, _ in named}
    expanded = replace(experiment, arms=values, compared=tuple(values), variants=origin)
    _refuse_twins(expanded, named)
    return expanded


def _points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _name(arm: str, grid: Mapping[str, Sequence[Any]], point: Mapping[str, Any]) -> str:
    varied = [f"{name}-{_text(point[name])}" for name in grid if len(grid[name]) > 1]
    text = "_".join([arm, *varied])
    name = re.sub(r"[^\w.-]+", "-", text)
    if name == text and len(name.encode()) <= LONGEST:
        return name
    # A path, say, or many settings: told apart by a hash.
    short = name.encode()[: LONGEST - 9].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _text(value: Any) -> str:
    """A value as a part of a folder's name: what is no number or word is not written out, however long it is."""
    if isinstance(value, float):
        return str(value).replace("e+", "e")
    return value if isinstance(value, str) else in_words(value)


def _refuse_twins(expanded: Experiment, named: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """Raises `UserError` where two combinations of an arm are the same settings once they are typed: 1e-3 and 0.001."""
    first: dict[tuple[str, Config], dict[str, Any]] = {}
    task = next(iter(expanded.tasks), None)
    for name, arm, point in named:
        config = expanded.resolve(name, task=task)
        twin = first.setdefault((arm, config), point)
        if twin is not point:
            # Values that are written differently say most; else some value stands there twice.
            unlike = [key for key in point if repr(twin[key]) != repr(point[key])]
            setting = unlike[0] if unlike else _repeated(expanded.sweep[arm])
            pair = f"{in_words(twin[setting])} and {in_words(point[setting])} are the same"
            raise UserError(f"{expanded.path}: sweep of {arm}: {setting} must be a list of different values: {pair}")


def _repeated(grid: Mapping[str, Sequence[Any]]) -> str:
    return next(name for name, values in grid.items() if len(set(map(repr, values))) < len(values))


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
