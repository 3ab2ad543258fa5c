"""A finished run in one small file: who it is, what it was made with, what it scored, its thinned curves.

    results/<comparison>/runs/[<task>/]<arm>/seed-<n>.json

No checkpoints and no pictures: some kilobytes, so that runs of several machines come together through a repository.
`python -m sandbox.compare CONFIG --export results/<comparison>` writes them, ``--from`` reads them as if they were run
folders.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sandbox.base.files import write_json
from sandbox.base.reading import ReadBack, read_json, required
from sandbox.experiment.environment import Environment
from sandbox.experiment.run import Run, identified
from sandbox.experiment.written import SMALL, Result

POINTS = 50  # of a curve
AXIS = "images"  # key of the x-axis in metrics.jsonl


class Line(ReadBack):
    """A thinned curve: ``images`` (or what else the study counts), in order, and the value at each."""

    images: list[float]
    values: list[float]


class Exported(ReadBack):
    """What such a file holds.

    Attributes:
        identity: see `sandbox.experiment.run.Run.proof`, and of a user's own data what they were.
        budget: what its comparison gave every arm the same of; ``none``: not known.
        environment: what it was made with; None: not known.
        result: scores and costs.
        curves: tag -> at most `POINTS` of its points.
    """

    identity: dict[str, Any]
    budget: Literal["steps", "macs", "none"] = "none"
    environment: Environment | None = None
    result: Result
    curves: dict[str, Line] = Field(default_factory=dict)

    def points(self) -> list[dict[str, int | float]]:
        """The curves as the points of ``metrics.jsonl``."""
        return [{AXIS: x, tag: y} for tag, line in self.curves.items()
                for x, y in zip(line.images, line.values, strict=False)]  # fmt: skip


def read_exported(path: Path) -> tuple[Run, Exported]:
    """The run that a file holds; its folder is the file.

    Raises:
        UserError: the file is damaged, or its configuration is none of a study that is here.
    """
    with required("delete it, or export the run again"):
        found = read_json(path, Exported, SMALL)
    return identified(found.identity, path, path), found


def write_exported(
    path: Path,
    run: Run,
    environment: Mapping[str, Any],
    result: Mapping[str, Any],
    points: Sequence[Mapping[str, int | float]],
    tags: Iterable[str],
    budget: str = "none",
) -> None:
    """Writes the file of a complete run. Paths of this machine (`Config.PLACES`) stay out.

    Args:
        path: the file; its folder is made.
        run: its identity.
        environment: see `Environment`; empty: not known.
        result: see `Result`.
        points: of its curves, see `sandbox.train.tracking.read_metrics`.
        tags: the curves that are kept.
        budget: see `Exported`.

    Raises:
        OSError: it cannot be written.
    """
    told = {name: value for name, value in environment.items() if name != "platform"}  # a kernel's name tells nothing
    data = {} if run.content is None else {"data": run.content.model_dump()}
    document: dict[str, Any] = {
        "identity": {**run.proof(), **data}, "budget": budget, "environment": told or None,
        "result": {name: value for name, value in result.items() if name not in ("curves", "points")},
        "curves": {tag: line for tag in tags if (line := _thinned(points, tag))},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, document)


def _thinned(points: Sequence[Mapping[str, int | float]], tag: str) -> dict[str, list[int | float]] | None:
    """Points at even distances, the first and the last among them; none is averaged."""
    found = [(point[AXIS], float(f"{point[tag]:.4g}")) for point in points if tag in point and AXIS in point]
    if not found:
        return None
    last = len(found) - 1
    kept = sorted({round(k * last / (POINTS - 1)) for k in range(POINTS)})
    return {AXIS: [found[k][0] for k in kept], "values": [found[k][1] for k in kept]}
