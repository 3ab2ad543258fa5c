"""What every task that trains a classifier of images has: settings and scores. No torch here."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config
from sandbox.experiment.spec import Score

Network = Literal["small", "resnet18"]
NETWORK_HELP = "small: eight convolutions; resnet18: torchvision's, 7x7 stem of stride 2, without its max-pool"
PADDING_HELP = (
    "of every convolution; partial: zeros, rescaled to the pixels that are there (arXiv 1811.11718); none: maps scaled "
    "up, bilinear, by what a kernel takes away, then convolved without padding (arXiv 2108.07884)"
)


class ClassifierConfig(Config):
    """A classifier that has its data in memory and learns it with cross-entropy."""

    config_field: ClassVar[str | None] = "task"
    DATA: ClassVar[tuple[str, ...]] = ("batch", "images", "test_images")

    coord_layers: CoordLayers = Field(
        "all", description="which convolutions of the coord arms know coordinates: first, all, or names of layers"
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    images: int = Field(4096, ge=32, le=10**9, description="training images of the classifier")
    test_images: int = Field(512, ge=2, le=10**9, description="held-out images that score the classifier")
    steps: int = Field(300, ge=1, le=10**9, description="training steps of the classifier")
    lr: float = Field(3e-3, gt=0, le=1, description="Adam learning rate of the classifier")
    decay: float = Field(0.5, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")

    if TYPE_CHECKING:  # of some tasks a property, of others a field, which pydantic allows where there is none above

        @property
        def size(self) -> int:
            """Pixels along an image's edge."""

    @model_validator(mode="after")
    def _enough_images(self) -> Self:
        if self.batch > self.images:
            raise ValueError(f"batch ({self.batch}) must not exceed images ({self.images})")
        return self

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ, of whatever kind."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_layers", "with_r")}
        return self.model_copy(update=fields) == other

    def shrunk(self) -> Self:
        """The recipe in seconds: few images."""
        return super().shrunk().model_copy(update={"images": 32, "test_images": 4})


FILM = "Test images that roll around, the same in every arm, each beside the shares of its classes."
ACCURACIES = (
    Score("score/test_accuracy", "higher", "test accuracy (share)", curve="preview/test_accuracy"),
    Score("score/train_accuracy", "higher", "training accuracy (share)"),
)
