"""What the bench knows of a study before it imports torch: its settings, its scores, its captions, where it stands.

    SPEC = StudySpec("toy", "a line through noise", ToyConfig, SCORES, study="toy.study:ToyStudy")      # in toy/spec.py

``study: toy`` in a YAML file imports ``toy.spec``, of a package anywhere on Python's path. A study of an installed
package may go by another name, through an entry point, ``name = toy.spec:SPEC``, of `sandbox.experiment.names.GROUP`.
"""

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from sandbox.base.errors import UserError, in_words, listed, nearest, one_line
from sandbox.experiment.config import Config, choices
from sandbox.experiment.names import installed_studies, study_names

if TYPE_CHECKING:
    from sandbox.train.study import Study

_LONGEST = 200  # characters of a study's name
C = TypeVar("C", bound=Config)
Scored = Mapping[str, float | None]  # tag -> value, None where undefined


@dataclass(frozen=True)
class Margin:
    """The smallest difference of a score that would matter, named before the runs that it judges.

    Attributes:
        value: in the score's unit, above 0.
        reason: why this much, in a few words.
        fresh_from: the first seed whose runs were not seen before the margin was set; equivalence is claimed from such
            seeds alone.
    """

    value: float
    reason: str
    fresh_from: int = 0


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
        margin: of a primary score, what would matter, or a function of a configuration that says it; None: the study
            names none, and nothing is called equivalent.
        best, worst: the values that nothing can beat or undercut: where both arms come close to one of them, the score
            cannot tell them apart.
        detail: one of many of a kind: every run and ``scores.csv`` have it, no table of a report does.
    """

    tag: str
    better: Literal["higher", "lower"]
    name: str
    primary: bool = False
    curve: str | None = None
    training: str | None = None
    pooled: bool = False
    margin: Margin | Callable[[Any], Margin | None] | None = None
    best: float | None = None
    worst: float | None = None
    detail: bool = False

    def margin_of(self, config: Any) -> Margin | None:
        """The margin for runs of a configuration."""
        return self.margin(config) if callable(self.margin) else self.margin


@dataclass(frozen=True)
class Captions:
    """What a report says of a study's pictures and curves.

    Attributes:
        counted: what the x-axis of the curves counts; see `Config.seen`.
        samples: below the arms' pictures.
        film: below the arms' films.
        film_name: of the film that ends a run: ``samples/<name>.gif``.
        films: the same for what else `sandbox.train.study.Study.films` makes, by name.
        pictures: the same for pictures among `sandbox.train.study.Study.files`: NAME for ``NAME.png``.
        published: what others reported over all tasks, for the report's table over tasks.
        across: what differs from task to task where they are steps of one quantity; the report then draws the primary
            score over them, a line an arm.
        beside: tags of further scores that are drawn there.
    """

    counted: str = "images seen"
    samples: str = "What each arm makes of fixed inputs of its seed, which never change during a run."
    film: str = "The arms side by side, each on the same path if it has the same latents."
    film_name: str = "interpolation"
    films: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    published: str = ""
    across: str = ""
    beside: tuple[str, ...] = ()


def lines(scores: Scored) -> list[str]:
    """A finished run's scores as a command prints them, one a line."""
    width = max(map(len, scores), default=0)
    return [f"{tag:{width}}  {'undefined' if value is None else f'{value:.4g}'}" for tag, value in scores.items()]


def no_better_than(
    tag: str, level: float | Callable[[Any], float], what: str, better: Literal["higher", "lower"] = "higher"
) -> Callable[[Any, Scored], str]:
    """A `StudySpec.failed`: a score that is not better than a level.

    Args:
        tag: of the score.
        level: that of chance or of a collapse; a function of a configuration where it depends on that.
        what: it is called.
        better: which direction is.
    """

    def failed(config: Any, scores: Scored) -> str:
        value, least = scores.get(tag), level(config) if callable(level) else level
        if value is None or (value > least if better == "higher" else value < least):
            return ""
        return f"{tag.removeprefix('score/')} {value:.3g}, {what}"

    return failed


@dataclass(frozen=True)
class StudySpec(Generic[C]):
    """A study as the bench sees it. ``<name>.spec`` holds one, called ``SPEC``, without torch: ``--help`` is quick.

    Attributes:
        name: what ``study:`` says in a YAML file; ``a.b`` is a task of the command ``python -m sandbox.a``.
        summary: one line for `python -m sandbox`.
        config: the model of its settings.
        scores: those that its comparison reports, or a function of a configuration that gives them.
        study: where the study's class stands, ``module:class``.
        captions: what a report says of its pictures.
        default: the config that its command runs where none is named.
        table: a finished run's scores as its command prints them.
        failed: what is wrong with a finished run that has learned nothing (collapse, chance level), in a few words;
            empty: nothing. Arms with failed runs are never called equivalent.
    """

    name: str
    summary: str
    config: type[C]
    scores: tuple[Score, ...] | Callable[[C], tuple[Score, ...]]
    study: str
    captions: Captions = field(default_factory=Captions)
    default: str | None = None
    table: Callable[[Scored], list[str]] = lines
    failed: Callable[[C, Scored], str] = lambda config, scores: ""

    def scores_of(self, config: Any) -> tuple[Score, ...]:
        """The scores of a run, the primary one first.

        Raises:
            ValueError: not exactly one is primary.
        """
        scores = self.scores(config) if callable(self.scores) else self.scores
        if sum(score.primary for score in scores) != 1:
            raise ValueError(f"the study {self.name} must declare exactly one primary score")
        return tuple(sorted(scores, key=lambda score: not score.primary))

    def primary(self, config: Any) -> Score:
        """The one score of a run that a conclusion is drawn from."""
        return self.scores_of(config)[0]

    def load(self) -> "type[Study[C]]":
        """The study's class; imports its module, and with it torch: seconds.

        Raises:
            UserError: there is no such class, or its module imports what is not there.
        """
        module, _, name = self.study.partition(":")
        study: type[Study[C]] = _imported(
            self.name, lambda: getattr(import_module(module), name), (ImportError, SyntaxError, AttributeError)
        )
        return study

    @property
    def folder(self) -> str:
        """The folder of its runs, and its command where it is a task of one: ``vision`` for ``vision.position``."""
        return folder_of(self.name)

    @cached_property
    def command(self) -> str:
        """The start of its command line: ``python -m sandbox.vision --task position``."""
        _, _, task = self.name.partition(".")
        if not (Path(__file__).parents[1] / f"{self.folder}.py").is_file():
            return "python -m sandbox train CONFIG"
        choice = f" --{study_spec(self.folder).config.config_field} {task}" if task else ""
        return f"python -m sandbox.{self.folder}{choice}"


def folder_of(study: str) -> str:
    """The folder of a study's runs: ``vision`` for ``vision.position``."""
    return study.partition(".")[0]


@lru_cache(maxsize=128)
def study_spec(name: str) -> StudySpec[Any]:
    """The spec of a study: the object of an entry point of that name, else ``SPEC`` of ``<name>.spec``.

    Raises:
        UserError: there is no such study, it cannot be imported, or another package of that name stands before ours on
            Python's path.
    """
    if _can_name(name):
        _refuse_hidden(folder_of(name))
    if name in installed_studies():
        found = _imported(name, installed_studies()[name].load)
    elif _has_spec(name):
        found = getattr(_imported(name, lambda: import_module(f"{name}.spec")), "SPEC", None)
    else:
        raise UserError(_unknown(name))
    if not isinstance(found, StudySpec):
        raise UserError(f"the study {in_words(name)} has no StudySpec called SPEC in {name}.spec")
    return found


def _imported(
    name: str, load: Callable[[], Any], problems: tuple[type[BaseException], ...] = (Exception, SystemExit)
) -> Any:
    try:
        return load()
    except problems as error:  # whatever somebody's module raises
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {one_line(error)} ({place.filename}, line {place.lineno})"
        raise UserError(f"the study {name!r} cannot be imported: {said}") from None


def _can_name(name: str) -> bool:
    return len(name) <= _LONGEST and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) is not None


def _has_spec(name: str) -> bool:
    """Whether ``<name>/spec.py`` is on Python's path; nothing is imported, since a YAML file may name anything."""
    if not _can_name(name):
        return False
    top, *rest = name.split(".")
    return any(Path(place, *rest, "spec.py").is_file() for place in _places(top))


def _places(package: str) -> list[str]:
    """Where Python finds a package: its folder, several of one without ``__init__.py``, or a module's file."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError):  # ``__main__``, say
        found = None
    if found is None:
        return []
    return list(found.submodule_search_locations or []) or (
        [found.origin] if found.has_location and found.origin else []
    )


def _refuse_hidden(package: str) -> None:
    """Raises `UserError` where Python finds another package, or a file, by the name of one of the sandbox's own."""
    ours = Path(__file__).resolve().parents[2] / package
    if not (Path(__file__).parents[1] / f"{package}.py").is_file() or not (ours / "spec.py").is_file():
        return
    places = _places(package)
    if places and Path(places[0]).resolve() != ours:
        raise UserError(f"{places[0]} hides the sandbox's own package {package!r}: run from another folder")


def _unknown(name: str) -> str:
    if name in study_names():
        return f"the study's package {folder_of(name)!r} is not installed"
    return f"no study {in_words(name)}: there are {listed(study_names())}{nearest(name, study_names())}"


def tasks_of(command: str) -> dict[str, str]:
    """What ``config_field`` can be at a command: task -> its study. Empty where the command has but one study."""
    model = study_spec(command).config
    if model.config_field is None:
        return {}
    own = dict.fromkeys(choices(model.model_fields[model.config_field]), command)
    return own | {name.partition(".")[2]: name for name in study_names() if name.startswith(f"{command}.")}
