"""Settings and scores of the padding study. No torch here: `--task padding --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import Padding
from sandbox.data.held_out import TEST_FROM
from sandbox.experiment.spec import Captions, StudySpec
from vision.classify.config import ACCURACIES, PADDING_HELP, ClassifierConfig
from vision.probe.config import FILM, Depth, Kernel, PositionConfig, ProbePadding, position_scores, table


class PaddingConfig(ClassifierConfig):
    """A classifier of shapes and the probe of its features. The network and its training are ours, no paper's."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "images", "roll", "probe_images", "probe_batch", "test_images")

    task: Literal["padding"] = Field("padding", description="a classifier with some padding, then a position probe")
    padding: Padding = Field("zeros", description=PADDING_HELP)
    width: int = Field(8, ge=1, le=256, description="channels at 64x64; each smaller size has twice as many")
    roll: bool = Field(
        True, description="roll each image around by a random way: neither class nor content says anything of place"
    )
    kernel: Kernel = Field("3", description="of the probe's convolutions")
    depth: Depth = Field("1", description="convolutions of the probe")
    probe_padding: ProbePadding = Field("0", description="zeros around the probe's inputs")
    probe_images: int = Field(96, ge=2, le=10**6, description="training images of the probe")
    probe_steps: int = Field(300, ge=1, le=10**6, description="training steps of the probe")
    probe_batch: int = Field(8, ge=2, le=10**6, description="images in a step of the probe")
    grid: int = Field(32, ge=8, le=64, description="places along an edge of features and maps; levels come to it by "
                      "nearest pixels, which with 8, 16, 32 and 64 moves none")  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.probe_batch > self.probe_images:
            raise ValueError(f"probe_batch ({self.probe_batch}) must not exceed probe_images ({self.probe_images})")
        if self.images > TEST_FROM:
            raise ValueError(f"images is {self.images}: the probe's test images are those from {TEST_FROM} on")
        if self.grid & (self.grid - 1):
            raise ValueError(f"grid is {self.grid}: allowed are 8, 16, 32, 64")
        return self

    @property
    def size(self) -> int:
        """Pixels along an image's edge."""
        return 64

    @property
    def data_note(self) -> str:
        """Which images."""
        return f"Images: shapes on white{', rolled around' if self.roll else ''}."

    def probe(self) -> PositionConfig:
        """The probe of the trained classifier."""
        own = ("seed", "roll", "grid", "kernel", "depth", "probe_padding")
        fields = {
            "images": self.probe_images, "test_images": min(64, self.test_images), "steps": self.probe_steps,
            "batch": self.probe_batch, "data": "shapes", "resize": "nearest", "size": 64,
        }  # fmt: skip
        return PositionConfig.model_validate({**fields, **{name: getattr(self, name) for name in own}})

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network, few images."""
        fields = {"width": 2, "probe_images": 8, "probe_batch": 4, "probe_steps": 4}
        return super().shrunk().model_copy(update=fields)


SCORES = (*position_scores(None), *ACCURACIES)
SPEC = StudySpec(
    "vision.padding", "where that position comes from: classifiers that differ in their padding, each probed",
    PaddingConfig, SCORES, "vision.padding.study:PaddingStudy", Captions(film=FILM), table=table,
)  # fmt: skip
