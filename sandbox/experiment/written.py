"""What a run writes down and reads back: shapes, checksums, and whose it is."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from sandbox.base.errors import one_line
from sandbox.base.reading import ReadBack, Unreadable, read_text
from sandbox.experiment.config import differences
from sandbox.experiment.document import parsed

SMALL = 2**22  # bytes of a file that is read back; a run's are a few thousand
_SEAL = "# checksum of the lines above: "


class Owned(ReadBack):
    """A file of a run.

    Attributes:
        run: identity of the run that it belongs to, see `sandbox.experiment.run.Run.proof`; of older ones unknown.
    """

    run: dict[str, Any] | None = None


class Result(Owned):
    """What ``result.json`` holds; a study adds costs of its own.

    Attributes:
        scores: tag -> value, None where undefined.
        steps, images: of the training.
        seconds, steps_per_second: of it, by the clock.
        peak_memory_mb: the most it held, None where nothing is known.
        parameters, multiply_adds_per_image: of the networks, by name.
        curves: checksum of ``metrics.jsonl``; of older runs unknown.
    """

    scores: dict[str, float | None]
    steps: int = Field(ge=0)
    images: int = Field(ge=0)
    seconds: float = Field(ge=0)
    steps_per_second: float = Field(ge=0)
    peak_memory_mb: float | None = None
    parameters: dict[str, int | float] = Field(default_factory=dict)
    multiply_adds_per_image: dict[str, int | float] = Field(default_factory=dict)
    note: str = ""
    curves: str | None = None
    run: dict[str, Any] | None = None


def differs(theirs: Mapping[str, Any] | None, ours: Mapping[str, Any], places: Iterable[str] = ()) -> str:
    """What tells the run that a file comes from from ours, in a few words; empty: it is ours, or nothing is known.

    Fields that came or went with a version of the code tell nothing, and neither do ``places``.
    """
    if theirs is None:
        return ""
    settings = theirs.get("config")
    if not isinstance(settings, dict):
        return "its identity cannot be read"
    both = (ours["config"].keys() & settings.keys()) - set(places)
    changed = differences(*({name: part[name] for name in ours["config"] if name in both}
                            for part in (settings, ours["config"])))  # fmt: skip
    heads = [{name: value for name, value in part.items() if name != "config"} for part in (theirs, ours)]
    return one_line("; ".join(changed + differences(*heads)))


def sealed(text: str) -> str:
    """A text with its checksum in a last line, a comment."""
    return f"{text}{_SEAL}{_checksum(text)}\n"


def _checksum(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def read_sealed(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file that `sealed` wrote, or an older version, which wrote no checksum.

    Raises:
        Unreadable: see `sandbox.base.reading.read_text`; it is no YAML, no mapping, or not what was written.
    """
    text = read_text(path, SMALL)
    body, found, written = text.rpartition(_SEAL)
    if found and written.strip() != _checksum(body):
        raise Unreadable(path, "is not what was written (who has changed it on purpose deletes its last line)")
    try:
        document = parsed(text)  # within bounds: aliases may repeat without end
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(path, f"is no YAML ({one_line(error, 80)})") from None
    if not isinstance(document, dict):
        raise Unreadable(path, "is empty" if document is None else "holds no mapping")
    return document
