"""A whole study in three files: where a beacon lies. This one: its settings and scores, without torch."""

from pydantic import Field

from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config
from sandbox.experiment.spec import Score, StudySpec


class BeaconConfig(Config):
    """A run."""

    lr: float = Field(0.01, gt=0, le=1, description="Adam learning rate")
    coord_layers: CoordLayers = Field("all", description="which convolutions know coordinates")
    workers: int = Field(2, ge=0, le=64, description="processes that load images ahead")


SCORES = (Score("score/error", "lower", "error (pixels)", primary=True, curve="preview/error"),)
SPEC = StudySpec("beacon", "where a beacon lies", BeaconConfig, SCORES, "beacon.study:BeaconStudy")
