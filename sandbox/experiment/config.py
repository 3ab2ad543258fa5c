"""The settings of a run as a typed model: class defaults, YAML file and command line -> one frozen object.

A study's module ``<study>.config`` holds its own model, derived from `Config`, each field with a help text and its
unit, and its scores (`Score`); it imports no torch, so that ``--help`` is quick. YAML files: `sandbox.experiment.file`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from sandbox.base.errors import UserError, nearest, one_line

STUDIES = {
    "gan": "generators and discriminators on Sort-of-CLEVR, with latent-interpolation GIFs",
    "vae": "beta-VAEs with matched and broadcast decoders on Sort-of-CLEVR, with walks between images",
    "rl": "A2C on Atari games, on ale-py's own emulators; ends with whole games and a film of play",
    "vision": "the paper's coordinate tasks: classification, regression, rendering of one position",
    "vision.position": "how much position a network's features hold: a probe on any network",
    "vision.padding": "where that position comes from: classifiers that differ in their padding, each probed",
    "vision.location": "where on a canvas a tile lies, told from pooled features: GAPNet, PermuteNet, a control",
    "vision.shift": "how often a shift of an image changes its class, with and without a loss against it",
    "vision.red_green": "does a classifier read the order of two squares or their place: the Red-Green control",
    "vision.neurons": "which channels of a segmentation network hold position, and what zeroing them costs",
}  # name -> one line for `python -m sandbox`; DOOR.TASK is a task with a package of its own behind another study's door
# A package of one's own becomes a study through the entry point group "coordconv_sandbox.studies".
STUDIES |= {
    point.name: str(point.dist.metadata["Summary"] if point.dist else point.value)
    for point in entry_points(group="coordconv_sandbox.studies")
    if point.name not in STUDIES
}
COMMAND_LINE = "the command line"
SEEDS = 2**31
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
        training: tag of the same on the training data, if there is one.
        pooled: it compares between tasks, and is reported over all of them together.
    """

    tag: str
    better: Literal["higher", "lower"]
    name: str
    primary: bool = False
    curve: str | None = None
    training: str | None = None
    pooled: bool = False


class Config(BaseModel):
    """What every study has: the fields that identify a run. Frozen; unknown keys are refused.

    Attributes:
        config_field: the field whose flag also chooses the study's YAML file of that name, where --config does not; a
            task with a model of its own (see `tasks_of`) has the same field.
        PLACES: fields that say something of this machine alone, where data lie or how many threads work; no part of a
            run's identity.
        COUNTED: what the x-axis of the curves counts, ``steps`` times ``batch`` of them in a run.
        PUBLISHED: what others reported over all tasks, for the report's table over tasks.
        SAMPLES: what a report says below the arms' pictures.
        FILM_NAME: of the film that ends a run: ``samples/<name>.gif``.
        FILM: what a report says below the arms' films.
        FILMS: the same for what else `sandbox.train.loop.Study.films` makes, by name.
        task_field: what the door calls the flag that names a task of a file with ``tasks:``; a field of that name then
            follows from the task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    DATA: ClassVar[tuple[str, ...]] = ("batch",)  # the fields that decide what a step sees, beside the seed
    PLACES: ClassVar[tuple[str, ...]] = ()
    COUNTED: ClassVar[str] = "images seen"
    PUBLISHED: ClassVar[str] = ""
    SAMPLES: ClassVar[str] = "What each arm makes of fixed inputs of its seed, which never change during a run."
    FILM_NAME: ClassVar[str] = "interpolation"
    FILM: ClassVar[str] = "The arms side by side, each on the same path if it has the same latents."
    FILMS: ClassVar[dict[str, str]] = {}
    config_field: ClassVar[str | None] = None
    task_field: ClassVar[str] = "task"

    seed: int = Field(0, ge=0, lt=SEEDS, description="of weights, data and all that is drawn; the same in both arms")
    coord: bool = Field(True, description="coordinate convolutions; set by the arm")
    steps: int = Field(1000, ge=1, le=10**9, description="training steps")
    batch: int = Field(32, ge=2, le=2**20, description="images in a step")
    precision: Literal["auto", "bf16", "32"] = Field(
        "auto", description="bf16: autocast + channels_last; auto: bf16 where the hardware has it, else 32 (float32)"
    )
    compile: bool = Field(False, description="torch.compile the networks (a GAN's penalty steps stay as they are)")
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
        """Where the x-axis of the curves ends."""
        return float(self.steps * self.batch)

    @property
    def data_note(self) -> str:
        """What the pictures of a report must say about the data; empty where the study's name says it."""
        return ""

    @property
    def task_folder(self) -> str:
        """Names the folder of runs whose task the command line has chosen in place of the file's; empty: the file's."""
        return ""

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


def door_of(study: str) -> str:
    """The door that a study goes through, also the folder of its runs: ``vision`` for ``vision.position``."""
    return study.partition(".")[0]


def command_of(study: str) -> str:
    """The start of a study's command line: ``python -m sandbox.vision --task position``."""
    door, _, task = study.partition(".")
    return f"python -m sandbox.{door}{f' --{study_config(door).config_field} {task}' if task else ''}"


def tasks_of(door: str) -> dict[str, str]:
    """What ``config_field`` can be at a door: task -> the study that has it. Empty where the door has but one."""
    field = study_config(door).config_field
    if field is None:
        return {}
    own = dict.fromkeys(choices(study_config(door).model_fields[field]), door)
    return own | {study.partition(".")[2]: study for study in STUDIES if study.startswith(f"{door}.")}


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


def printed_scores(study: str, scores: Mapping[str, float | None]) -> list[str]:
    """The lines a door prints of a finished run: one a score, or what ``table(scores)`` of the study's config gives."""
    module = _study_module(study)
    if hasattr(module, "table"):
        return list(module.table(scores))
    width = max(map(len, scores), default=0)
    return [f"{tag:{width}}  {'undefined' if value is None else f'{value:.4g}'}" for tag, value in scores.items()]


def _study_module(study: str) -> Any:
    try:
        return import_module(f"{study}.config")
    except ModuleNotFoundError as error:
        package = door_of(study)
        if error.name not in (package, study, f"{study}.config"):
            raise
        if error.name == package:
            raise UserError(f"the study's package {package!r} is not installed") from None
        found = getattr(import_module(package), "__path__", ["?"])[0]
        raise UserError(f"{found} hides the sandbox's own package {package!r}: run from another folder") from None


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
    if field.annotation is str:
        return "text"
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
