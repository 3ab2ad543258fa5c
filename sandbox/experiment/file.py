"""What is compared: a YAML file with one experiment and, outside it, the arms that are compared and their seeds.

    study: gan
    experiment: {steps: 3000, width: 16}
    arms:
      conv: {coord: false}
      coord: {coord: true}
      wide: {coord: false, width: 17}
    compare: [conv, coord]        # the arms `python -m sandbox.compare` runs unless told otherwise; the first is the
    seeds: [0, 1, 2]              # reference. tasks: games, splits: like arms, every arm runs each
    sweep:                        # --sweep makes a run of every combination
      conv: {lr: [0.001, 0.01], width: [16, 32]}

The command line wins over ``--smoke``, that over the arm, the arm over the task, that over the experiment, and that
over the class defaults.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sandbox.base.errors import UserError, nearest, one_line
from sandbox.experiment.config import COMMAND_LINE, SEEDS, Config, folder_name, validated
from sandbox.experiment.names import find_config, study_names
from sandbox.experiment.spec import study_spec

_RESERVED = ("comparison", "logs", "smoke")  # folders beside the arms and tasks
_NO_NAME = ' in "<unicode string>"'  # what YAML calls a text that it was handed
_KEYS = ("study", "experiment", "arms", "compare", "tasks", "seeds", "sweep")


@dataclass(frozen=True)
class Experiment:
    """What a YAML file says.

    Attributes:
        study: the study it belongs to, see `sandbox.experiment.spec.study_spec`.
        name: the file's stem; names the run folder.
        path: the file.
        values: field -> value, over the class defaults.
        arms: arm -> field -> value, over ``values`` and the task's.
        compared: the arms a comparison runs unless told otherwise, the reference first.
        tasks: task -> field -> value, over ``values``; empty where there is but one.
        seeds: the seeds a comparison runs.
        sweep: arm -> field -> the values that ``--sweep`` combines.
        variants: of an expanded sweep (`sandbox.experiment.sweep`): arm -> the arm of the file that it varies.
    """

    study: str
    name: str
    path: Path
    values: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    compared: tuple[str, ...]
    tasks: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    sweep: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)

    def resolve(
        self, arm: str, overrides: Mapping[str, Any] | None = None, *, smoke: bool = False, task: str | None = None
    ) -> Config:
        """The configuration of one arm; ``overrides`` win, over the shrinking of ``smoke`` too.

        Raises:
            UserError: the arm or the task is not in the file; a key is unknown or a value out of range, in any arm.
        """
        self.check_names([arm], [task])
        model = study_spec(self.study).config
        # The file is validated by itself first, so that an error names the place it comes from.
        settings = {} if task is None else self.tasks[task]
        place = f"{self.path} (arm {{}})" if task is None else f"{self.path} (task {task}, arm {{}})"
        configs = {
            name: validated(model, {**self.values, **settings, **self.arms[name]}, place.format(name))
            for name in (
                [arm] if self.variants else self.arms
            )  # a sweep has hundreds, made from arms that were checked
        }
        config = configs[arm].shrunk() if smoke else configs[arm]
        return validated(model, {**config.model_dump(), **(overrides or {})}, COMMAND_LINE)

    def check_names(self, arms: Iterable[str], tasks: Iterable[str | None]) -> None:
        """Raises `UserError` for an arm or a task that the file does not have, with the nearest it has."""
        for what, names, known in (("arm", arms, self.arms), ("task", tasks, self.tasks)):
            for name in names:
                if name is not None and name not in known:
                    has = f"it has {', '.join(known)}{nearest(name, known)}" if known else "it has none"
                    raise UserError(f"no {what} {name!r} in {self.path}: {has}")
        if self.tasks and None in tasks:
            raise UserError(f"{self.path} has several tasks: --task takes one of {', '.join(self.tasks)}")


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; a configuration must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in written]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.YAMLError(f"key {twice!r} stands twice, from line {node.start_mark.line + 1} on")
        return super().construct_mapping(node, deep)


def load_experiment(name: str) -> Experiment:
    """Reads a YAML file given by name or path. Its values are checked when an arm is resolved.

    Raises:
        UserError: no such file, not YAML, a key that does not belong, or no such study.
    """
    path = find_config(name)
    document = _read_yaml(path)
    for key in document:
        if key not in _KEYS:
            raise UserError(f"unknown key {key!r} in {path}: allowed are {', '.join(_KEYS)} (settings such as steps "
                            f"stand under experiment){nearest(str(key), _KEYS)}")  # fmt: skip
    study = document.get("study")
    if not isinstance(study, str):
        said = f"{path} names no study" if study is None else f"{path}: no study {one_line(repr(study), 60)}"
        raise UserError(f"{said}: there are {', '.join(study_names())}")
    try:
        study_spec(study)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    values = document.get("experiment")
    arms = _variants(path, "arm", document.get("arms", {"conv": {"coord": False}, "coord": {"coord": True}}))
    return Experiment(
        study,
        path.stem,
        path,
        _mapping({} if values is None else values, f"{path}: experiment"),
        arms,
        _compared(path, document.get("compare", list(arms)), arms),
        _variants(path, "task", document["tasks"]) if "tasks" in document else {},
        _seeds(path, document.get("seeds")),
        _sweep(path, document.get("sweep", {}), arms),
    )


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # a SafeLoader
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # beside YAMLError, its loader lets ValueError, KeyError and RecursionError through
        raise UserError(f"{path} cannot be read as YAML: {one_line(error).replace(_NO_NAME, '')}") from None
    if not isinstance(document, dict):
        what = "is empty: it" if document is None else f"is no mapping but {one_line(repr(document), 60)}: it"
        raise UserError(f"{path} {what} must hold the keys {', '.join(_KEYS)}")
    return document


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{what} must be a mapping of settings to values, not {one_line(repr(value), 60)}")
    return {str(key): item for key, item in value.items()}


def _variants(path: Path, kind: str, value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: {kind}s must be a mapping of names to overrides, such as conv: {{coord: false}}")
    if taken := [name for name in value if name in _RESERVED]:
        raise UserError(f"{path}: no {kind} can be called {taken[0]!r}: that folder holds something else")
    return {
        folder_name(name, f"{'an' if kind == 'arm' else 'a'} {kind} of {path}"): _mapping(
            {} if over is None else over, f"{path}: {kind} {name}"
        )
        for name, over in value.items()
    }


def _compared(path: Path, value: Any, arms: Mapping[str, Any]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise UserError(f"{path}: compare must be a list of different arms, not {one_line(repr(value), 60)}")
    for arm in value:
        if arm not in arms:
            raise UserError(
                f"{path}: compare names {arm!r}, but the arms are {', '.join(arms)}{nearest(str(arm), arms)}"
            )
    return tuple(value)


def _sweep(path: Path, value: Any, arms: Mapping[str, Any]) -> dict[str, dict[str, tuple[Any, ...]]]:
    grids = _mapping(value, f"{path}: sweep")
    for arm, grid in grids.items():
        if arm not in arms:
            raise UserError(f"{path}: sweep names {arm!r}, but the arms are {', '.join(arms)}{nearest(arm, arms)}")
        for name, values in _mapping(grid, f"{path}: sweep of {arm}").items():
            if not isinstance(values, list) or not values or len(set(map(repr, values))) < len(values):
                raise UserError(f"{path}: sweep of {arm}: {name} must be a list of different values, "
                                f"not {one_line(repr(values), 60)}")  # fmt: skip
    return {arm: {str(name): tuple(values) for name, values in grid.items()} for arm, grid in grids.items()}


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    seeds = [0] if value is None else value
    whole = isinstance(seeds, list) and seeds and all(type(seed) is int and 0 <= seed < SEEDS for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds must be a list of different whole numbers from 0 to {SEEDS - 1}, "
                        f"not {one_line(repr(value), 60)}")  # fmt: skip
    return tuple(seeds)
