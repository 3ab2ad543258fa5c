"""The spec of the position probe; its settings and scores stand in `vision.probe.config`."""

from sandbox.experiment.spec import Captions, StudySpec
from vision.probe.config import FILM, PositionConfig, position_scores, table

SPEC = StudySpec(
    "vision.position", "how much position a network's features hold: a probe on any network",
    PositionConfig, position_scores("preview/spc"), "vision.position.study:PositionStudy", Captions(film=FILM),
    table=table,
)  # fmt: skip
