"""Settings and scores of the depth study. No torch here: `--task depth --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import Padding
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than
from vision.classify.config import PADDING_HELP, ClassifierConfig

CONDITIONS = ("both", "position", "size", "tilt")


class DepthConfig(ClassifierConfig):
    """A network that estimates depth in drawn rooms (after van Dijk and de Croon 2019, arXiv 1905.07005)."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "images", "test_images")

    task: Literal["depth"] = Field("depth", description="depth of every pixel, and what it is read from")
    padding: Padding = Field("zeros", description=PADDING_HELP)
    rows_only: bool = Field(False, description="of the coordinates only the row, how far down; coord arms")
    width: int = Field(12, ge=1, le=256, description="channels of the network at full size")
    images: int = Field(2048, ge=32, le=10**9, description="training rooms, each with a box on its floor")
    test_images: int = Field(128, ge=2, le=10**5, description="held-out rooms; each is shown under every condition")
    levels: int = Field(5, ge=2, le=64, description="relative distances of a box, from 1 to 3")
    box_weight: float = Field(
        1.0, ge=0, le=1000, description="weight of the loss on the boxes' fronts beside that on all pixels, of which "
        "they are few: without it the network draws the room and leaves the box out",
    )  # fmt: skip
    lr: float = Field(4e-3, gt=0, le=1, description="Adam learning rate")
    steps: int = Field(800, ge=1, le=10**9, description="training steps")
    batch: int = Field(16, ge=2, le=2**20, description="images in a step")

    @model_validator(mode="after")
    def _rows(self) -> Self:
        if self.rows_only and not self.coord:
            raise ValueError("rows_only is for coord arms: this one has no coordinates (coord is False)")
        return self

    @property
    def size(self) -> int:
        """Pixels along an image's edge."""
        return 64

    @property
    def data_note(self) -> str:
        """Which images."""
        return "Images: drawn rooms without furniture, a box on the floor; depths exact."

    def differs_by_coordinates_alone(self, other: "ClassifierConfig") -> bool:  # type: ignore[override]
        """Whether only coordinates differ, of whatever kind."""
        if not isinstance(other, DepthConfig):
            return False
        return super().differs_by_coordinates_alone(other.model_copy(update={"rows_only": self.rows_only}))

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network, two distances."""
        return super().shrunk().model_copy(update={"width": 2, "levels": 2})


_NAMES = {
    "both": "position and size",
    "position": "position only",
    "size": "size only",
    "tilt": "the camera's tilt only",
}
SCORES = (
    Score("score/slope_position", "higher", "slope of estimated against true relative depth, position only",
          primary=True, curve="preview/slope_position",
          margin=Margin(0.1, "of a slope of 1 where depth is read from the position alone", fresh_from=0)),
    Score("score/slope_both", "higher", f"the same slope, {_NAMES['both']}"),
    *(Score(f"score/slope_{name}", "lower", f"the same slope, {_NAMES[name]}") for name in ("size", "tilt")),
    Score("score/relative_error", "lower", "relative error of depth, held-out rooms", training="score/train_error"),
    Score("score/train_error", "lower", "relative error of depth, training rooms"),
    Score("score/box_error", "lower", "relative error of depth, the boxes' fronts"),
)  # fmt: skip
CAPTIONS = Captions(
    samples="Held-out rooms, each beside its depth and what the network estimates: light is near.",
    film="A box that moves away, in the same rooms in every arm, beside the depth that the network estimates.",
    pictures={
        "depth": "Estimated against true relative depth of a box under each condition, and a held-out room under each: "
        "at relative distance 1, 2 and 3, beside the estimate.",
    },
)
SPEC = StudySpec(
    "vision.depth", "depth in drawn rooms: read from where a box stands, or from how large it looks?",
    DepthConfig, SCORES, "vision.depth.study:DepthStudy", CAPTIONS,
    failed=no_better_than("score/relative_error", 0.15, "no better than one depth map for all rooms", "lower"),
)  # fmt: skip
