"""The experiment as a typed model: YAML file + command line -> one frozen object.

A YAML file holds one experiment and, outside it, the arms that are compared and their seeds:

    study: gan
    experiment: {steps: 3000, width: 16}
    arms:
      conv: {coord: false}
      coord: {coord: true}
      wide: {coord: false, width: 17}
    compare: [conv, coord]        # the arms `python -m sandbox.compare` runs unless told otherwise; the first is the
    seeds: [0, 1, 2]              # reference. tasks: games, splits: like arms, every arm runs each

The command line wins over ``--smoke``, that over the arm, the arm over the task, that over the experiment, and that
over the class defaults. A study's module ``<study>.config`` holds its own model, derived from `Config`, each field with
a help text and its unit, and its scores (`Score`); it imports no torch, so that ``--help`` is quick.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from sandbox.errors import UserError, nearest, one_line

STUDIES = {
    "gan": "generators and discriminators on Sort-of-CLEVR, with latent-interpolation GIFs",
    "rl": "A2C on Atari games, on ale-py's own emulators; ends with whole games and a film of play",
    "vision": "the paper's coordinate tasks: classification, regression, rendering of one position",
}  # name -> one line for `python -m sandbox`
# A package of one's own becomes a study through the entry point group "coordconv_sandbox.studies".
STUDIES |= {
    point.name: str(point.dist.metadata["Summary"] if point.dist else point.value)
    for point in entry_points(group="coordconv_sandbox.studies")
    if point.name not in STUDIES
}
COMMAND_LINE = "the command line"
SEEDS = 2**31
_RESERVED = ("comparison", "logs", "smoke")  # folders beside the arms and tasks
_NO_NAME = ' in "<unicode string>"'  # what YAML calls a text that it was handed
_KEYS = ("study", "experiment", "arms", "compare", "tasks", "seeds")
CoordLayers = Literal["first", "all"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Law = Literal["normal", "uniform"]


@dataclass(frozen=True)
class Score:
    """A score that a study's comparison reports; declared before anything is run.

    Attributes:
        tag: key of the scores in ``result.json``; defined in docs/metrics.md.
        better: which direction is.
        name: a few words for tables, with the unit where there is one.
        primary: the one score that a conclusion is drawn from.
        curve: tag of the learning curve that goes with it, if any.
    """

    tag: str
    better: Literal["higher", "lower"]
    name: str
    primary: bool = False
    curve: str | None = None


class Config(BaseModel):
    """What every study has: the fields that identify a run. Frozen; unknown keys are refused.

    Attributes:
        config_field: the field whose flag also chooses the study's YAML file of that name, where --config does not.
        task_field: what the door calls the flag that names a task of a file with ``tasks:``; a field of that name then
            follows from the task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    DATA: ClassVar[tuple[str, ...]] = ("batch",)  # the fields that decide what a step sees, beside the seed
    config_field: ClassVar[str | None] = None
    task_field: ClassVar[str] = "task"

    seed: int = Field(0, ge=0, lt=SEEDS, description="of weights, data order and latents; the same in both arms")
    coord: bool = Field(True, description="coordinate convolutions; set by the arm")
    steps: int = Field(1000, ge=1, le=10**9, description="training steps")
    batch: int = Field(32, ge=2, le=2**20, description="images in a step")
    precision: Literal["auto", "bf16", "32"] = Field(
        "auto", description="bf16: autocast + channels_last; auto: bf16 where the hardware has it, else 32 (float32)"
    )
    compile: bool = Field(False, description="torch.compile the networks; penalty steps stay uncompiled")
    log_every: int = Field(20, ge=1, le=10**9, description="steps between two points of a curve")
    preview_every: int = Field(250, ge=1, le=10**9, description="steps between two sample grids")
    checkpoint_every: int = Field(250, ge=1, le=10**9, description="steps between two checkpoints")

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: Any) -> Any:  # a ValidationInfo, which beartype cannot check
        kind = cls.model_fields[str(info.field_name)].annotation
        if get_origin(kind) is Literal and type(value) is int:
            return str(value)  # YAML reads `precision: 32` as a number
        if kind in (int, float) and isinstance(value, bool):
            # YAML reads `steps: yes` as true, and pydantic true as 1.
            raise ValueError(f"allowed are {allowed(cls.model_fields[str(info.field_name)])}")
        return value

    @property
    def goal(self) -> float:
        """Where the x-axis of the curves ends: images seen (agent steps, for a study that plays)."""
        return float(self.steps * self.batch)

    def sees_the_same(self, other: "Config") -> bool:
        """Whether two arms at one seed see the same data in the same order, and the same latents if there are any."""
        return all(getattr(self, name) == getattr(other, name) for name in self.DATA)

    def differs_by_coordinates_alone(self, other: "Config") -> bool:
        """Whether the two arms share topology and content weights at one seed; else they are paired by data only."""
        return self.model_copy(update={"coord": other.coord}) == other

    @property
    def cycle(self) -> int:
        """Steps after which the work of a step repeats itself: a step in many may cost more than the others."""
        return 1

    def shrunk(self) -> Self:
        """The same recipe in seconds, every part run: what ``--smoke`` runs. Studies shrink their own fields too."""
        return self.model_copy(
            update={"steps": 6, "batch": 4, "log_every": 2, "preview_every": 3, "checkpoint_every": 3}
        )


@dataclass(frozen=True)
class Experiment:
    """What a YAML file says.

    Attributes:
        study: the study it belongs to, a key of `STUDIES`.
        name: the file's stem; names the run folder.
        path: the file.
        values: field -> value, over the class defaults.
        arms: arm -> field -> value, over ``values`` and the task's.
        compared: the arms a comparison runs unless told otherwise, the reference first.
        tasks: task -> field -> value, over ``values``; empty where there is but one.
        seeds: the seeds a comparison runs.
    """

    study: str
    name: str
    path: Path
    values: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    compared: tuple[str, ...]
    tasks: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]

    def resolve(
        self, arm: str, overrides: Mapping[str, Any] | None = None, *, smoke: bool = False, task: str | None = None
    ) -> Config:
        """The configuration of one arm; ``overrides`` win, over the shrinking of ``smoke`` too.

        Raises:
            UserError: the arm or the task is not in the file; a key is unknown or a value out of range, in any arm.
        """
        self.check_names([arm], [task])
        model = study_config(self.study)
        # The file is validated by itself first, so that an error names the place it comes from.
        settings = {} if task is None else self.tasks[task]
        place = f"{self.path} (arm {{}})" if task is None else f"{self.path} (task {task}, arm {{}})"
        configs = {
            name: validated(model, {**self.values, **settings, **values}, place.format(name))
            for name, values in self.arms.items()
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


def config_folder() -> Path:
    """Where the configs lie: beside the package in a checkout, inside it in an installed wheel.

    Raises:
        UserError: neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise UserError(f"no folder of configs in {package} or beside it; give --config a path")


def config_title(path: Path) -> str:
    """What ``--config`` takes for a file: its name if it is one of ours, else its path."""
    try:
        return path.resolve().relative_to(config_folder()).with_suffix("").as_posix()
    except (ValueError, UserError):
        return str(path)


def config_names() -> list[str]:
    """Names that ``--config`` takes: ``gan/sort_of_clevr`` and so on, sorted."""
    folder = config_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))


def find_config(name: str) -> Path:
    """The file of a configuration given by name (``gan/sort_of_clevr``) or by path, from any working directory.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir() and name not in config_names():
        raise UserError(f"--config: {name!r} is a folder, not a YAML file{_nearest_config(name)}")
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"--config: no file {name!r}{_nearest_config(name.removesuffix(path.suffix))}")
    if name in config_names():
        return config_folder() / f"{name}.yaml"
    raise UserError(f"--config: no config {name!r}: there are {', '.join(config_names())}{_nearest_config(name)}")


def _nearest_config(name: str) -> str:
    # `--config sort_of_clevr`: the study is left out more often than a letter is wrong.
    same = [known for known in config_names() if known.split("/")[1] == name]
    return f"; did you mean {same[0]!r}?" if same else nearest(name, config_names())


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
    if not isinstance(study, str) or study not in STUDIES:
        known = f"there are {', '.join(STUDIES)}{nearest(str(study), STUDIES)}"
        raise UserError(
            f"{path} names no study: {known}" if study is None else f"no study {study!r} in {path}: {known}"
        )
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


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    seeds = [0] if value is None else value
    whole = isinstance(seeds, list) and seeds and all(type(seed) is int and 0 <= seed < SEEDS for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds must be a list of different whole numbers from 0 to {SEEDS - 1}, "
                        f"not {one_line(repr(value), 60)}")  # fmt: skip
    return tuple(seeds)


def folder_name(name: object, what: str) -> str:
    """``name`` where it can name a folder; ``what`` tells the user what it is.

    Raises:
        UserError: it cannot: a slash, a leading dot, nothing at all.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,63}", name):
        allowed = "letters, digits, '-', '_' and '.', at most 64, the first no '-' or '.'"
        quote = " (in YAML, no, on and numbers want quotes)" if not isinstance(name, str) else ""
        raise UserError(f"{what} is {one_line(repr(name), 80)}{quote}, but names a folder: allowed are {allowed}")
    return name


def study_config(study: str) -> type[Config]:
    """The configuration model of a study; imports ``<study>.config``.

    Raises:
        UserError: another package of that name stands before ours on Python's path.
    """
    model: type[Config] = _study_module(study).CONFIG
    return model


def study_scores(study: str, config: Config) -> tuple[Score, ...]:
    """The scores a study declares for a run, the primary one first: its ``SCORES``, or its ``scores(config)``.

    Raises:
        UserError: as `study_config`.
        ValueError: not exactly one is primary.
    """
    module = _study_module(study)
    scores: tuple[Score, ...] = module.scores(config) if hasattr(module, "scores") else module.SCORES
    if sum(score.primary for score in scores) != 1:
        raise ValueError(f"{study}.config must declare exactly one primary score")
    return tuple(sorted(scores, key=lambda score: not score.primary))


def _study_module(study: str) -> Any:
    try:
        return import_module(f"{study}.config")
    except ModuleNotFoundError as error:
        if error.name not in (study, f"{study}.config"):
            raise
        if error.name == study:
            raise UserError(f"the study's package {study!r} is not installed") from None
        found = getattr(import_module(study), "__path__", ["?"])[0]
        raise UserError(f"{found} hides the sandbox's own package {study!r}: run from another folder") from None


def validated(model: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """``model(**values)``, its complaints turned into one line.

    Raises:
        UserError: names the source, the value, what is allowed and the nearest name.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UserError("; ".join(_complaint(model, item, source) for item in error.errors())) from None


def _complaint(model: type[Config], item: Any, source: str) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r} in {source}{nearest(name, model.model_fields)} (--help lists all)"
    if name not in model.model_fields:
        return f"{source}: {one_line(item['msg'].removeprefix('Value error, '))}"
    options, value = choices(model.model_fields[name]), item["input"]
    what = f"--{name.replace('_', '-')}" if source == COMMAND_LINE else f"{name} in {source}"
    rule = f"allowed are {allowed(model.model_fields[name])}{nearest(str(value), options)}"
    if item["type"] == "value_error":  # a study's own check
        rule = one_line(item["msg"].removeprefix("Value error, "))
    return f"{what} is {one_line(repr(value), 60)}: {rule}"


def choices(field: FieldInfo) -> Sequence[str]:
    """The names a field can take; empty for a number."""
    if field.annotation is bool:
        return "true", "false"
    return tuple(map(str, get_args(field.annotation)))


def allowed(field: FieldInfo) -> str:
    """What a field can be, in words: ``whole numbers from 1 to 10``, ``numbers above 0, up to 1``, ``a, b``."""
    if names := choices(field):
        return ", ".join(names)
    bounds = {name: getattr(item, name) for item in field.metadata for name in ("gt", "ge", "lt", "le")
              if hasattr(item, name)}  # fmt: skip
    if field.annotation is int and "lt" in bounds:
        bounds["le"] = bounds.pop("lt") - 1
    whole = "whole " if field.annotation is int else ""
    if bounds.keys() == {"ge", "le"}:
        return f"{whole}numbers from {bounds['ge']:.10g} to {bounds['le']:.10g}"
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}
    return (
        f"{whole}numbers {', '.join(f'{words[name]} {bounds[name]:.10g}' for name in words if name in bounds)}".strip()
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for each key whose values differ."""
    keys = dict.fromkeys([*old, *new])
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]
