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
    contrasts:                    # weighted sums of arms' primary scores, the weights of each add up to 0; the first
      twice: {coord: 1, wide: -1} # concludes, in place of the differences from the reference

The command line wins over ``--smoke``, that over the arm, the arm over the task, that over the experiment, and that
over the class defaults.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.base.errors import UserError, in_words, listed, nearest, one_line
from sandbox.experiment.config import COMMAND_LINE, SEEDS, Config, folder_name, validated
from sandbox.experiment.contrasts import read_contrasts
from sandbox.experiment.document import read_document
from sandbox.experiment.names import find_config, study_names
from sandbox.experiment.spec import study_spec

_RESERVED = ("comparison", "logs", "runs", "smoke")  # folders beside the arms and tasks, or in comparison/
_KEYS = ("study", "experiment", "arms", "compare", "tasks", "seeds", "sweep", "contrasts")
MANY_SEEDS = 10_000  # of a comparison; more are a slip
_NO_SEED = "every arm runs on every seed: they stand under seeds, at the top of the file, or in --seeds"
_MANY_ARMS = 2000  # arms x tasks, all of which are checked


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
        contrasts: name -> arm -> weight, see `sandbox.report.combined`; the first is the conclusion.
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
    contrasts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    # (arm, task) -> its configuration, checked once: with thousands of arms each would ask for all others again
    _checked: dict[tuple[str, str | None], Config] = field(init=False, repr=False, compare=False, default_factory=dict)

    def resolve(
        self, arm: str, overrides: Mapping[str, Any] | None = None, *, smoke: bool = False, task: str | None = None
    ) -> Config:
        """The configuration of one arm; ``overrides`` win, over the shrinking of ``smoke`` too.

        Raises:
            UserError: the arm or the task is not in the file; a key is unknown or a value out of range, in any arm.
        """
        self.check_names([arm], [task])
        # The file is validated by itself first, so that an error names the place it comes from. A sweep has hundreds of
        # arms, made from some that were checked.
        if (arm, task) not in self._checked:
            names = [arm] if self.variants else self.arms
            self._checked.update({(name, task): self._of_file(name, task) for name in names})
        model, config, given = study_spec(self.study).config, self._checked[arm, task], dict(overrides or {})
        # What was not set is left out: it may follow from what the overrides set, see `Config.following`.
        values = config.model_dump(exclude_unset=True)
        if smoke and model.following({**values, **given}):
            config = validated(model, {**values, **given}, COMMAND_LINE)  # what shrinks may follow from them, too
        values = config.shrunk().model_dump(exclude_unset=True) if smoke else values
        return validated(model, {**values, **given}, COMMAND_LINE)

    def _of_file(self, arm: str, task: str | None) -> Config:
        settings = {} if task is None else self.tasks[task]
        place = f"{self.path} ({'' if task is None else f'task {task}, '}arm {arm})"
        values = {**self.values, **settings, **self.arms[arm]}
        return validated(study_spec(self.study).config, values, place, given=True)

    def check_names(self, arms: Iterable[str], tasks: Iterable[str | None]) -> None:
        """Raises `UserError` for an arm or a task that the file does not have, with the nearest it has."""
        for what, names, known in (("arm", arms, self.arms), ("task", tasks, self.tasks)):
            for name in names:
                if name is not None and name not in known:
                    has = f"it has {listed(known)}{nearest(name, known)}" if known else "it has none"
                    raise UserError(f"no {what} {in_words(name)} in {self.path}: {has}")
        if self.tasks and None in tasks:
            raise UserError(f"{self.path} has several tasks: --task takes one of {listed(self.tasks)}")


def load_experiment(name: str) -> Experiment:
    """Reads a YAML file given by name or path. Its values are checked when an arm is resolved.

    Raises:
        UserError: no such file, not YAML, a key that does not belong, or no such study.
    """
    path = find_config(name)
    document = read_document(path, ", ".join(_KEYS))
    for key in document:
        if key not in _KEYS:
            raise UserError(f"unknown key {in_words(key)} in {path}: allowed are {', '.join(_KEYS)} (settings such as "
                            f"steps stand under experiment){nearest(str(key), _KEYS)}")  # fmt: skip
    study = document.get("study")
    if not isinstance(study, str):
        said = f"{path} names no study" if study is None else f"{path}: no study {in_words(study)}"
        raise UserError(f"{said}: there are {listed(study_names())}")
    try:
        study_spec(study)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    values = document.get("experiment")
    arms = _variants(path, "arm", document.get("arms", {"conv": {"coord": False}, "coord": {"coord": True}}))
    tasks = _variants(path, "task", document["tasks"]) if "tasks" in document else {}
    if len(arms) * max(len(tasks), 1) > _MANY_ARMS:
        of_tasks = f" of {len(tasks)} tasks" if tasks else ""
        raise UserError(f"{path}: {len(arms)} arms{of_tasks} are more than the {_MANY_ARMS} that a file may hold")
    return Experiment(
        study,
        path.stem,
        path,
        _mapping({} if values is None else values, f"{path}: experiment"),
        arms,
        _compared(path, document.get("compare", list(arms)), arms),
        tasks,
        _seeds(path, document.get("seeds"), values),
        _sweep(path, document.get("sweep", {}), arms),
        read_contrasts(path, document.get("contrasts", {}), arms),
    )


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{what} must be a mapping of settings to values, not {in_words(value)}")
    return {str(key): item for key, item in value.items()}


def _variants(path: Path, kind: str, value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: {kind}s must be a mapping of names to overrides, such as conv: {{coord: false}}")
    if taken := [name for name in value if name in _RESERVED]:
        raise UserError(f"{path}: no {kind} can be called {taken[0]!r}: that folder holds something else")
    for name, over in value.items():
        if isinstance(over, dict) and "seed" in over:
            raise UserError(f"{path}: {kind} {in_words(name)}: {_NO_SEED}")
    return {
        folder_name(name, f"{'an' if kind == 'arm' else 'a'} {kind} of {path}"): _mapping(
            {} if over is None else over, f"{path}: {kind} {name}"
        )
        for name, over in value.items()
    }


def _compared(path: Path, value: Any, arms: Mapping[str, Any]) -> tuple[str, ...]:
    named = isinstance(value, list) and value and all(isinstance(arm, str) for arm in value)
    if not named or len(set(value)) < len(value):
        raise UserError(f"{path}: compare must be a list of different arms, such as [{listed(list(arms)[:2])}], "
                        f"not {in_words(value)}")  # fmt: skip
    for arm in value:
        if arm not in arms:
            raise UserError(f"{path}: compare names {in_words(arm)}, but the arms are {listed(arms)}"
                            f"{nearest(arm, arms)}")  # fmt: skip
    return tuple(value)


def _sweep(path: Path, value: Any, arms: Mapping[str, Any]) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The grids; whether their values are different is known once they are typed, see `sandbox.experiment.sweep`."""
    grids = {arm: _mapping(grid, f"{path}: sweep of {one_line(arm, 60)}")
             for arm, grid in _mapping(value, f"{path}: sweep").items()}  # fmt: skip
    for arm, grid in grids.items():
        if arm not in arms:
            raise UserError(f"{path}: sweep names {in_words(arm)}, but the arms are {listed(arms)}{nearest(arm, arms)}")
        for name, values in grid.items():
            if name == "seed":
                raise UserError(f"{path}: sweep of {arm}: {_NO_SEED}")
            if not isinstance(values, list) or not values:
                raise UserError(f"{path}: sweep of {arm}: {one_line(name, 60)} must be a list of different values, "
                                f"not {in_words(values)}")  # fmt: skip
    return {arm: {name: tuple(values) for name, values in grid.items()} for arm, grid in grids.items()}


def _seeds(path: Path, value: Any, settings: Any) -> tuple[int, ...]:
    own = settings.get("seed") if isinstance(settings, dict) else None
    seeds = [own if type(own) is int else 0] if value is None else value
    if isinstance(seeds, list) and len(seeds) > MANY_SEEDS:
        raise UserError(f"{path}: {len(seeds)} seeds are more than {MANY_SEEDS}")
    whole = isinstance(seeds, list) and seeds and all(type(seed) is int and 0 <= seed < SEEDS for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds must be a list of different whole numbers from 0 to {SEEDS - 1}, "
                        f"not {in_words(value)}")  # fmt: skip
    return tuple(seeds)
