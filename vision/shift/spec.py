"""Settings and scores of the shift study. No torch here: `python -m sandbox.vision --task shift --help` reads this."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from sandbox.base.types import Padding
from sandbox.experiment.config import PathText
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than
from vision.classify.config import FILM, NETWORK_HELP, PADDING_HELP, ClassifierConfig, Network

PAPER = "Islam et al. 2021"


class ShiftConfig(ClassifierConfig):
    """A classifier that may be asked to say the same of shifted images (after arXiv 2108.07884)."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "images", "test_images", "margin")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root",)

    task: Literal["shift"] = Field("shift", description="a classifier, and whether a shift changes its answer")
    network: Network = Field("small", description=f"{NETWORK_HELP} ({PAPER})")
    padding: Padding = Field("zeros", description=PADDING_HELP)
    width: int = Field(4, ge=1, le=256, description="channels of the small network's first stage, doubled three times")
    invariance: float = Field(
        0.0, ge=0, le=1e6,
        description="weight of the translation-invariance loss: mean squared difference of the pooled features of two "
        "shifts of an image",
    )  # fmt: skip
    shown: Literal["still", "shifted"] = Field(
        "still", description="what the classification loss sees: images as they are, or one shift of each"
    )
    margin: Literal["4", "8", "16"] = Field(
        "8", description="pixels around an image, and the furthest that a shift goes along an axis"
    )
    data: Literal["shapes", "cifar10"] = Field(
        "shapes", description=f"images: Sort-of-CLEVR on a white margin, or CIFAR-10 on a grey one ({PAPER})"
    )
    data_root: PathText = Field("data", description="folder that holds cifar-10-batches-py (data cifar10)")
    images: int = Field(64, ge=32, le=10**9, description="training images; with many, shifts change no class")
    steps: int = Field(150, ge=1, le=10**9, description="training steps")

    @property
    def data_note(self) -> str:
        """Which images."""
        what = "shapes on white" if self.data == "shapes" else "CIFAR-10 on grey"
        return f"Images: {what}, shifted by at most {self.margin} pixels along each axis."

    @property
    def size(self) -> int:
        """Pixels along the edge of an image with its margin."""
        return (64 if self.data == "shapes" else 32) + 2 * int(self.margin)

    @property
    def classes(self) -> int:
        """Red square or disc, blue square or disc; or CIFAR-10's."""
        return 4 if self.data == "shapes" else 10

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network."""
        return super().shrunk().model_copy(update={"width": 2})


SCORES = (
    Score(
        "score/consistency",
        "higher",
        "shift consistency (share)",
        primary=True,
        curve="preview/consistency",
        best=1.0,
        worst=0.0,
        margin=Margin(0.01, "one answer in a hundred", fresh_from=3),
    ),
    Score("score/test_accuracy", "higher", "test accuracy (share)", curve="preview/test_accuracy"),
    Score("score/shifted_accuracy", "higher", "test accuracy, shifted (share)"),
    Score("score/feature_difference", "lower", "difference of pooled features (relative)"),
    Score("score/train_accuracy", "higher", "training accuracy (share)"),
)
SPEC = StudySpec(
    "vision.shift", "how often a shift of an image changes its class, with and without a loss against it",
    ShiftConfig, SCORES, "vision.shift.study:ShiftStudy", Captions(film=FILM),
    failed=no_better_than("score/test_accuracy", lambda config: 1.5 / config.classes, "chance level"),
)  # fmt: skip
