"""Settings and scores of the toy study."""

from pathlib import Path

from pydantic import Field

from sandbox.experiment.config import Config
from sandbox.experiment.spec import Score, StudySpec


class ToyConfig(Config):
    """A toy run."""

    rate: float = Field(0.05, gt=0, le=1, description="learning rate")
    law: str = Field("normal", description="no constraint")
    explode_at: int = Field(0, ge=0, le=100, description="step whose loss is infinite; 0 for none")


SCORES = (
    Score("score/undefined", "higher", "never defined"),
    Score("score/error", "lower", "error on fixed points", primary=True, curve="preview/error"),
)
SPEC = StudySpec(
    "toy",
    "a toy",
    ToyConfig,
    SCORES,
    "toy.study:ToyStudy",
    default=str(Path(__file__).resolve().parents[1] / "toy.yaml"),
)
