"""What there is to run: the configs, and the studies that they and installed packages name. Nothing is imported here.

The bench holds no list of studies: a study is known by a YAML file in ``configs/`` that names it, by an entry point of
the group ``coordconv_sandbox.studies``, or by the YAML file that a command line gives.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from sandbox.base.errors import UserError, in_words, listed, nearest
from sandbox.base.paths import at_home

GROUP = "coordconv_sandbox.studies"
_PATH = 240  # characters of a path in a line: cut off, it would name nothing


def config_folder() -> Path:
    """Where the configs lie: beside the package in a checkout, inside it in an installed wheel.

    Raises:
        UserError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise UserError(f"no folder of configs in {package} or beside it; give --config a path")


def config_names() -> list[str]:
    """Names that ``--config`` takes: ``gan/sort_of_clevr`` and so on, sorted."""
    folder = config_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))


def config_title(path: Path) -> str:
    """What ``--config`` takes for a file: its name if it is one of ours, else its path."""
    try:
        return path.resolve().relative_to(config_folder()).with_suffix("").as_posix()
    except (ValueError, UserError):
        return str(path)


def find_config(name: str) -> Path:
    """The file of a configuration given by name (``gan/sort_of_clevr``) or by path, from any working directory.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    try:
        path = Path(at_home(name))
        if path.is_file():
            return path
        folder = path.is_dir() and name not in config_names()
    except ValueError as error:
        raise UserError(f"--config: {error}") from None
    except OSError as error:  # a name that is too long, a folder that must not be entered
        folder = False
        if name not in config_names():
            raise UserError(f"--config: {in_words(name, _PATH)} cannot be read ({error.strerror})") from None
    if folder:
        raise UserError(f"--config: {in_words(name, _PATH)} is a folder, not a YAML file{_nearest_config(name)}")
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"--config: no file {in_words(name, _PATH)}{_nearest_config(name.removesuffix(path.suffix))}")
    if name in config_names():
        return config_folder() / f"{name}.yaml"
    known = _by_study(config_names())
    raise UserError(f"--config: no config {in_words(name)}: there are {known}{_nearest_config(name)}")


def _by_study(names: Iterable[str]) -> str:
    """``gan/{a, b}, vae/{c}``: every name once in full would be no line any more."""
    found: dict[str, list[str]] = {}
    for name in names:
        study, _, rest = name.partition("/")
        found.setdefault(study, []).append(rest)
    return ", ".join(f"{study}/{{{listed(rest, 360 // len(found))}}}" for study, rest in found.items())


def _nearest_config(name: str) -> str:
    # `--config sort_of_clevr`: the study is left out more often than a letter is wrong.
    same = [known for known in config_names() if known.split("/")[1] == name]
    return f"; did you mean {same[0]!r}?" if same else nearest(name, config_names())


@lru_cache(maxsize=1)
def installed_studies() -> dict[str, EntryPoint]:
    """The studies of installed packages: name -> entry point, whose object is a `sandbox.experiment.spec.StudySpec`."""
    return {point.name: point for point in entry_points(group=GROUP)}


@lru_cache(maxsize=1)
def study_names() -> tuple[str, ...]:
    """Every study that a config in ``configs/`` or an installed package names: ``gan``, ``vision.position``."""
    named = (re.search(r"^study:\s*([\w.]+)", find_config(name).read_text(encoding="utf-8", errors="replace"), re.M)
             for name in config_names())  # fmt: skip
    return tuple(sorted({found[1] for found in named if found} | installed_studies().keys()))
