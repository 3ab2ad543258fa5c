"""Settings and scores of the shift study. No torch here: `python -m sandbox.vision --task shift --help` reads this."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from sandbox.config import Score
from vision.classifier_config import PADDING_HELP, ClassifierConfig, Padding

CLASSES = 4  # red square or disc, blue square or disc


class ShiftConfig(ClassifierConfig):
    """A classifier of shapes that may be asked to say the same of shifted images (after arXiv 2108.07884)."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "images", "test_images", "margin")

    task: Literal["shift"] = Field("shift", description="a classifier, and whether a shift changes its answer")
    padding: Padding = Field("zeros", description=PADDING_HELP)
    width: int = Field(4, ge=1, le=256, description="channels of the first stage, doubled three times")
    invariance: float = Field(
        0.0, ge=0, le=1e6,
        description="weight of the translation-invariance loss: mean squared difference of the pooled features of two "
        "shifts of an image",
    )  # fmt: skip
    shown: Literal["still", "shifted"] = Field(
        "still", description="what the classification loss sees: images as they are, or one shift of each"
    )
    margin: Literal["4", "8", "16"] = Field(
        "8", description="white pixels around a 64x64 image, and the furthest that a shift goes along an axis"
    )
    images: int = Field(64, ge=32, le=10**6, description="training images; with many, shifts change no class")
    steps: int = Field(150, ge=1, le=10**9, description="training steps")

    @property
    def data_note(self) -> str:
        """Which images."""
        return f"Images: shapes on white, shifted by at most {self.margin} pixels along each axis."

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network."""
        return super().shrunk().model_copy(update={"width": 2})


CONFIG = ShiftConfig
SCORES = (
    Score("score/consistency", "higher", "shift consistency (share)", primary=True, curve="preview/consistency"),
    Score("score/test_accuracy", "higher", "test accuracy (share)", curve="preview/test_accuracy"),
    Score("score/shifted_accuracy", "higher", "test accuracy, shifted (share)"),
    Score("score/feature_difference", "lower", "difference of pooled features (relative)"),
    Score("score/train_accuracy", "higher", "training accuracy (share)"),
)
