"""The settings of a run as a typed model: class defaults, YAML file and command line -> one frozen object.

A study's spec holds its own model, derived from `Config`, each field with a help text and its unit. YAML files:
`sandbox.experiment.file`; what else the bench knows of a study: `sandbox.experiment.spec`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from sandbox.base.errors import UserError, in_words, listed, nearest, one_line
from sandbox.base.paths import LONGEST, at_home

COMMAND_LINE = "the command line"
SEEDS = 2**31
_GIVEN = "given"  # pydantic's context of values that a user wrote, rather than a program
_ROOM = 420  # characters of all complaints about one configuration
_EXPONENT = re.compile(r"[-+]?\d{1,20}(\.\d{0,20})?[eE]\+?\d{1,2}")


def _path(value: str, info: Any) -> str:  # a ValidationInfo, which beartype cannot check
    # Nothing at all is the default of many, and stands in every run's file; a user who gives it has made a slip.
    return at_home(value) if value or info.context == _GIVEN else value


# A setting that is a path, ``~`` the home folder. ``data: PathText = Field("", description="nothing: none")``.
PathText = Annotated[str, Field(coerce_numbers_to_str=True), AfterValidator(_path)]


class Config(BaseModel):
    """What every study has: the fields that identify a run. Frozen; unknown keys are refused.

    Attributes:
        DATA: the fields that decide what a step sees, beside the seed.
        PLACES: fields that say something of this machine alone, where data lie or how many threads work; no part of a
            run's identity.
        config_field: the field whose flag also chooses the study's YAML file of that name, where --config does not; a
            task with a model of its own (see `sandbox.experiment.spec.tasks_of`) has the same field.
        task_field: what the command line calls the flag that names a task of a file with ``tasks:``; a field of that
            name then follows from the task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    DATA: ClassVar[tuple[str, ...]] = ("batch",)
    PLACES: ClassVar[tuple[str, ...]] = ()
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

    @classmethod
    def following(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults that follow from other settings, over those of the class: field -> value.

        A study whose published recipe depends on a choice has them in one table. Whatever is given wins; what follows
        is written into the run's file like all else.

        Args:
            values: what was given, as it was written; it may be wrong, which is for others to say.
        """
        return {}

    @model_validator(mode="wrap")
    @classmethod
    def _followed(cls, data: Any, handler: Any) -> Any:
        if not isinstance(data, dict) or not (more := cls.following(data)):
            return handler(data)
        found = handler({**more, **data})
        # What only follows counts as not set: given other choices it is found anew.
        found.__pydantic_fields_set__.difference_update(more.keys() - data.keys())
        return found

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: Any) -> Any:  # a ValidationInfo, which beartype cannot check
        kind = cls.model_fields[str(info.field_name)].annotation
        if get_origin(kind) is Literal and type(value) is int:
            return str(value)  # YAML reads `precision: 32` as a number
        if kind in (int, float) and isinstance(value, bool):
            # YAML reads `steps: yes` as true, and pydantic true as 1.
            raise ValueError(f"allowed are {allowed(cls.model_fields[str(info.field_name)])}")
        if isinstance(value, str) and len(value) > LONGEST:
            raise ValueError(f"it has {len(value)} characters, a setting at most {LONGEST}")
        if isinstance(value, str) and not value.isascii() and value != value.encode(errors="replace").decode():
            raise ValueError("it is no UTF-8, which a run's file could not hold: give a link to it by another name")
        if kind is int and isinstance(value, str) and _EXPONENT.fullmatch(value.strip()):
            # 1e3: a text to YAML 1.1, a number to everybody else.
            return float(value) if float(value).is_integer() else value
        return value

    @field_validator("coord_layers", check_fields=False)
    @classmethod
    def _layers(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.*?\[\]!-]+(,[\w.*?\[\]!-]+)*", value):
            raise ValueError("allowed are first, all, or names and patterns of layers: blocks.0.conv,to_*")
        if value.isalpha() and value not in ("first", "all") and (close := nearest(value, ("first", "all"))):
            raise ValueError(f"allowed are first, all, or names and patterns of layers{close}")
        return value

    def seen(self, step: int) -> int:
        """Where a step stands on the x-axis of the curves: images (agent steps) that training has seen by then."""
        return step * self.batch

    @property
    def goal(self) -> float:
        """Where the x-axis of the curves ends."""
        return float(self.seen(self.steps))

    @property
    def data_note(self) -> str:
        """What the pictures of a report must say about the data; empty where the study's name says it."""
        return ""

    @property
    def task_folder(self) -> str:
        """Names the folder of runs whose task the command line has chosen in place of the file's; empty: the file's."""
        return ""

    @classmethod
    def task_name(cls, text: str) -> str:
        """The name of a task as the files have it, of what a command line calls it.

        Raises:
            UserError: there can be no such task.
        """
        return text

    @classmethod
    def placed(cls, given: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, str | None]:
        """The arm and the folder's name that settings of a command line mean where it names neither; None: the file's.

        Args:
            given: the settings.
            arms: of the file.

        Raises:
            UserError: a setting names what is not there.
        """
        return None, None

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
    fits = isinstance(name, str) and re.fullmatch(r"\w[\w.-]{0,63}", name) and len(name.encode()) < 256
    if not isinstance(name, str) or not fits:
        allowed = "letters, digits, '-', '_' and '.', at most 64, the first no '-' or '.'"
        quote = " (in YAML, no, on and numbers want quotes)" if not isinstance(name, str) else ""
        raise UserError(f"{what} is {in_words(name, 80)}{quote}, but names a folder: allowed are {allowed}")
    return name


def validated(model: type[Config], values: Mapping[str, Any], source: str, *, given: bool = False) -> Config:
    """``model(**values)``, its complaints turned into one line.

    Args:
        model: the study's.
        values: field -> value.
        source: where they come from, for the message.
        given: a user wrote them all, so that none may be an empty path.

    Raises:
        UserError: names the source, the value, what is allowed and the nearest name.
    """
    try:
        return model.model_validate(dict(values), context=_GIVEN if given else None)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        said = ""
        for k, item in enumerate(problems):
            complaint = _complaint(model, item, source)
            if said and len(said) + len(complaint) > _ROOM:
                said += f"; and {len(problems) - k} more"
                break
            said += f"; {complaint}" if said else complaint
        raise UserError(said) from None


def _complaint(model: type[Config], item: Any, source: str) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {in_words(name)} in {source}{nearest(name, model.model_fields)} (--help lists all)"
    if name not in model.model_fields:
        return f"{source}: {one_line(item['msg'].removeprefix('Value error, '))}"
    field, value = model.model_fields[name], item["input"]
    what = f"--{name.replace('_', '-')}" if source == COMMAND_LINE else f"{name} in {source}"
    rule = f"allowed are {allowed(field)}"
    if item["type"] == "value_error":  # a study's own check
        rule = one_line(item["msg"].removeprefix("Value error, "))
    elif value is None and is_path(field):
        rule = 'YAML reads ~ alone as nothing: "~", in quotes, is the home folder'
    else:
        rule += nearest(value if isinstance(value, str) else in_words(value), choices(field))
    return f"{what} is {in_words(value)}: {rule}"


def is_path(field: FieldInfo) -> bool:
    """Whether a field is a `PathText`."""
    return any(isinstance(item, AfterValidator) and item.func is _path for item in field.metadata)


def choices(field: FieldInfo) -> Sequence[str]:
    """The names a field can take; empty for a number."""
    if field.annotation is bool:
        return "true", "false"
    return tuple(map(str, get_args(field.annotation)))


def allowed(field: FieldInfo) -> str:
    """What a field can be, in words: ``whole numbers from 1 to 10``, ``numbers above 0, up to 1``, ``a, b``."""
    if names := choices(field):
        return listed(names)
    if field.annotation is str:
        return "paths" if is_path(field) else "text"
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
    return [
        f"{key}: {in_words(old.get(key), 80)} -> {in_words(new.get(key), 80)}"
        for key in keys
        if old.get(key) != new.get(key)
    ]
