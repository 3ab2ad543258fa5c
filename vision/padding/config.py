"""Settings and scores of the padding study. No torch here: `--task padding --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.config import Config, CoordLayers, Score
from vision.position.config import Depth, Kernel, PositionConfig, ProbePadding, position_scores
from vision.position.config import table as position_table

Padding = Literal["zeros", "circular", "reflect", "replicate", "partial", "none"]
table = position_table


class PaddingConfig(Config):
    """A classifier of shapes and the probe of its features. The network and its training are ours, no paper's."""

    config_field: ClassVar[str | None] = "task"
    DATA: ClassVar[tuple[str, ...]] = ("batch", "images", "roll", "probe_images", "probe_batch", "test_images")
    FILM: ClassVar[str] = PositionConfig.FILM

    task: Literal["padding"] = Field("padding", description="a classifier with some padding, then a position probe")
    padding: Padding = Field(
        "zeros", description="of every convolution; partial: zeros, rescaled to the pixels that are there "
        "(arXiv 1811.11718); none: maps scaled up by 2 pixels, then convolved without padding (arXiv 2108.07884)",
    )  # fmt: skip
    coord_layers: CoordLayers = Field("all", description="which convolutions of the coord arms know coordinates")
    with_r: bool = Field(False, description="the radius as a third coordinate")
    width: int = Field(8, ge=1, le=256, description="channels at 64x64; each smaller size has twice as many")
    roll: bool = Field(
        True, description="roll each image around by a random way: neither class nor content says anything of place"
    )
    images: int = Field(4096, ge=32, le=10**6, description="training images of the classifier")
    test_images: int = Field(512, ge=2, le=10**6, description="held-out images that score the classifier")
    steps: int = Field(300, ge=1, le=10**9, description="training steps of the classifier")
    lr: float = Field(3e-3, gt=0, le=1, description="Adam learning rate of the classifier")
    decay: float = Field(0.5, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")
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
        if self.batch > self.images:
            raise ValueError(f"batch ({self.batch}) must not exceed images ({self.images})")
        if self.probe_batch > self.probe_images:
            raise ValueError(f"probe_batch ({self.probe_batch}) must not exceed probe_images ({self.probe_images})")
        if self.grid & (self.grid - 1):
            raise ValueError(f"grid is {self.grid}: allowed are 8, 16, 32, 64")
        return self

    @property
    def data_note(self) -> str:
        """Which images."""
        return f"Images: shapes on white{', rolled around' if self.roll else ''}."

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ, of whatever kind."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_layers", "with_r")}
        return self.model_copy(update=fields) == other

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
        fields = {"width": 2, "images": 32, "test_images": 4, "probe_images": 8, "probe_batch": 4, "probe_steps": 4}
        return super().shrunk().model_copy(update=fields)


CONFIG = PaddingConfig
SCORES = (
    *position_scores(None),
    Score("score/test_accuracy", "higher", "test accuracy (share)", curve="preview/test_accuracy"),
    Score("score/train_accuracy", "higher", "training accuracy (share)"),
)
