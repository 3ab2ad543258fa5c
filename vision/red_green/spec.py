"""Settings and scores of the Red-Green control. No torch here: `--task red_green --help` reads this module alone."""

from typing import Literal, Self

from pydantic import Field

from sandbox.base.types import AnyPadding
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than
from vision.classify.config import FILM, PADDING_HELP, ClassifierConfig

SIZE = 32  # pixels of an image's edge


class RedGreenConfig(ClassifierConfig):
    """Kayhan and van Gemert 2020 (arXiv 2003.07064); values as in their released code unless noted."""

    task: Literal["red_green"] = Field("red_green", description="is the red square left or right of the green one?")
    padding: AnyPadding = Field("zeros", description=f"{PADDING_HELP}; valid: none at all; full: two zeros all around")
    width: int = Field(32, ge=1, le=256, description="channels of the first two convolutions, half of the others'")
    batch: int = Field(200, ge=2, le=2**20, description="images in a step")
    images: int = Field(2000, ge=32, le=10**9, description="training images")
    test_images: int = Field(1000, ge=2, le=10**9, description="held-out images, each also with its rows swapped")
    steps: int = Field(500, ge=1, le=10**9, description="training steps (50 epochs; the paper's stop early)")
    lr: float = Field(1.0, gt=0, le=10, description="Adadelta learning rate")
    l2: float = Field(5e-5, ge=0, le=1, description="weight of the L2 penalty, as Adadelta's weight_decay")
    decay: float = Field(0.0, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")

    @property
    def size(self) -> int:
        """Pixels along an image's edge."""
        return SIZE

    @property
    def data_note(self) -> str:
        """Which images."""
        return "Images: a red and a green square on black; red is left in the upper half, green in the lower one."

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network."""
        return super().shrunk().model_copy(update={"width": 2})


SCORES = (
    Score("score/dissimilar_accuracy", "higher", "accuracy, rows swapped (share)", primary=True, best=1.0, worst=0.0,
          margin=Margin(0.01, "one image in a hundred", fresh_from=1),
          curve="preview/dissimilar_accuracy", training="score/train_accuracy"),
    Score("score/similar_accuracy", "higher", "accuracy, rows as in training (share)",
          curve="preview/similar_accuracy"),
    Score("score/train_accuracy", "higher", "training accuracy (share)"),
)  # fmt: skip
SPEC = StudySpec(
    "vision.red_green", "does a classifier read the order of two squares or their place: the Red-Green control",
    RedGreenConfig, SCORES, "vision.red_green.study:RedGreenStudy", Captions(film=FILM),
    failed=no_better_than("score/train_accuracy", 0.6, "chance level in training"),
)  # fmt: skip
