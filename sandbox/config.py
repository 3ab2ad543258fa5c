"""The experiment as a typed model: YAML file + command line -> one frozen object.

A YAML file holds one experiment and, outside it, the arms that are compared and their seeds:

    study: gan
    experiment: {steps: 3000, width: 16}
    arms:
      conv: {coord: false}
      coord: {coord: true}
    seeds: [0, 1, 2]

The command line wins over the arm, the arm over the experiment, the experiment over the class defaults. A study derives
its own model from `Config`; each field has a help text with its unit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.errors import UserError, nearest

STUDIES = {
    "gan": "generators and discriminators on Sort-of-CLEVR, with latent-interpolation GIFs",
}  # name -> one line for `python -m sandbox`


class Config(BaseModel):
    """What every study has: the fields that identify a run. Frozen; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, lt=2**31, description="of weights, data order and latents; the same in both arms")
    coord: bool = Field(True, description="coordinate convolutions; set by the arm")
    steps: int = Field(1000, ge=1, description="training steps")
    batch: int = Field(32, ge=2, description="images in a step")
    precision: Literal["auto", "bf16", "32"] = Field(
        "auto", description="bf16: autocast + channels_last; auto: bf16 where the hardware has it, else 32 (float32)"
    )
    compile: bool = Field(False, description="torch.compile the networks; penalty steps stay uncompiled")
    log_every: int = Field(20, ge=1, description="steps between two points of a curve")
    preview_every: int = Field(250, ge=1, description="steps between two sample grids")
    checkpoint_every: int = Field(250, ge=1, description="steps between two checkpoints")

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
        arms: arm -> field -> value, over ``values``.
        seeds: the seeds a comparison runs.
    """

    study: str
    name: str
    path: Path
    values: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]

    def resolve(self, arm: str, overrides: Mapping[str, Any] | None = None) -> Config:
        """The configuration of one arm.

        Raises:
            UserError: the arm is not in the file; a key is unknown or a value out of range.
        """
        if arm not in self.arms:
            raise UserError(f"no arm {arm!r} in {self.path}: it has {', '.join(self.arms)}{nearest(arm, self.arms)}")
        model = study_config(self.study)
        # The file is validated by itself first, so that an error names the place it comes from.
        from_file = {**self.values, **self.arms[arm]}
        validated(model, from_file, str(self.path))
        return validated(model, {**from_file, **(overrides or {})}, "the command line")


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; a configuration must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.YAMLError(f"key {twice!r} stands twice")
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


def config_names() -> list[str]:
    """Names that ``--config`` takes: ``gan/sort_of_clevr`` and so on, sorted."""
    folder = config_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))


def find_config(name: str) -> Path:
    """The file of a configuration given by name (``gan/sort_of_clevr``) or by path, from any working directory.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        if Path(name).is_file():
            return Path(name)
        raise UserError(f"no config file {name}")
    if name in config_names():
        return config_folder() / f"{name}.yaml"
    raise UserError(f"no config {name!r}: there are {', '.join(config_names())}{nearest(name, config_names())}")


def load_experiment(name: str) -> Experiment:
    """Reads a YAML file given by name or path. Its values are checked when an arm is resolved.

    Raises:
        UserError: no such file, not YAML, a key that does not belong, or no such study.
    """
    path = find_config(name)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    keys = ("study", "experiment", "arms", "seeds")
    if not isinstance(document, dict):
        raise UserError(f"{path} must hold the keys {', '.join(keys)}")
    for key in document:
        if key not in keys:
            raise UserError(f"unknown key {key!r} in {path}: allowed are {', '.join(keys)}{nearest(str(key), keys)}")
    study = document.get("study")
    if study not in STUDIES:
        raise UserError(
            f"unknown study {study!r} in {path}: there are {', '.join(STUDIES)}{nearest(str(study), STUDIES)}"
        )
    values, arms = (
        document.get("experiment") or {},
        document.get("arms") or {"conv": {"coord": False}, "coord": {"coord": True}},
    )
    seeds = document.get("seeds") or [0]
    if not isinstance(values, dict) or not isinstance(arms, dict) or not isinstance(seeds, list):
        raise UserError(f"{path}: experiment and arms are mappings, seeds a list")
    if not all(isinstance(arm, dict | None) for arm in arms.values()):
        raise UserError(f"{path}: each arm is a mapping of its overrides")
    if not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise UserError(f"{path}: seeds are whole numbers from 0 on, not {seeds}")
    return Experiment(study, path.stem, path, values, {str(k): v or {} for k, v in arms.items()}, tuple(seeds))


def study_config(study: str) -> type[Config]:
    """The configuration model of a study; imports ``<study>.study``."""
    model: type[Config] = import_module(f"{study}.study").CONFIG
    return model


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
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {field!r} in {source}{nearest(field, model.model_fields)}"
    value = item.get("input")
    message = item["msg"].removeprefix("Value error, ")
    if not field:
        return f"{source}: {message}"
    allowed = (
        [str(option) for option in get_args(model.model_fields[field].annotation)]
        if field in model.model_fields
        else []
    )
    if item["type"] == "literal_error":
        return f"{field} is {value!r} in {source}: allowed are {', '.join(allowed)}{nearest(str(value), allowed)}"
    return f"{field} is {value!r} in {source}: {message[0].lower()}{message[1:]}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for each key whose values differ."""
    keys: Iterator[str] = iter(dict.fromkeys([*old, *new]))
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]
