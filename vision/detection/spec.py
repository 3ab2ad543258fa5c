"""Settings and scores of the detection study. No torch here: `--task detection --help` reads this module alone."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from sandbox.base.errors import nearest
from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config, PathText
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than

Borders = Literal["valid", "zeros", "circular"]
Data = Literal["digits", "coco"]
Layout = Literal["canvas64", "crop120"]
WHERE = ("image", "rpn", "mover")  # where coordinates can be
DIGITS = 5  # of a scene
PAPER = "Liu et al. 2018"


class DetectionConfig(Config):
    """A detector of scattered digits (Liu et al. 2018, arXiv 1807.03247, section 5, and its released code).

    Network, sampling, losses and numbers of images are the released code's; optimiser, batch and steps are ours.
    """

    config_field: ClassVar[str | None] = "task"
    task_field: ClassVar[str] = "layout"
    DATA: ClassVar[tuple[str, ...]] = (
        "batch", "data", "layout", "digits", "images", "test_images", "size", "scales",
    )  # fmt: skip
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "annotations", "workers")

    task: Literal["detection"] = Field("detection", description="boxes around scattered digits, or objects of COCO")
    data: Data = Field("digits", description="digits: scattered ones; coco: pictures and boxes of your own")
    layout: Layout = Field(
        "canvas64", description="canvas64: five digits, all in view; crop120: the middle of a canvas of 120x120, as "
        "released, where 3 boxes in 10 lie wholly outside (data digits)",
    )  # fmt: skip
    digits: Literal["sklearn", "mnist"] = Field("sklearn", description=f"which digits ({PAPER}: MNIST)")
    data_root: PathText = Field(
        "data", description="the folder that holds MNIST/raw (digits mnist), or the pictures (data coco)"
    )
    annotations: PathText = Field("", description="a file of boxes in COCO's JSON format (data coco)")
    workers: int = Field(2, ge=0, le=64, description="processes that decode pictures (data coco)")
    size: int = Field(64, ge=32, le=1024, description="pixels along an image's edge (data coco; digits: 64)")
    network: Literal["paper", "frcnn"] = Field(
        "paper", description="paper: the released region-proposal network; frcnn: torchvision's Faster R-CNN behind "
        "convolutions like it, with classes",
    )  # fmt: skip
    coord_layers: CoordLayers = Field(
        "image,rpn,mover", description="where the coord arms know coordinates: any of image, rpn (before its 3x3 "
        "convolution), mover (before its last 1x1), a comma between; or first, all",
    )  # fmt: skip
    with_r: bool = Field(False, description="the radius as a third coordinate")
    borders: Borders = Field(
        "valid", description="valid: 5x5 convolutions pad nothing, 3x3 ones zeros; zeros and circular: all pad"
    )
    hidden: int = Field(32, ge=1, le=1024, description="channels of the region-proposal network's 3x3 convolutions")
    images: int = Field(9000, ge=32, le=10**9, description="training images")
    test_images: int = Field(1000, ge=2, le=10**6, description="held-out images")
    scales: float = Field(
        1.0, ge=1, le=4, description="each step's images are larger or smaller by up to this factor, drawn anew"
    )
    steps: int = Field(1600, ge=1, le=10**9, description=f"training steps (released: 45,000 of one image; {PAPER}: ?)")
    batch: int = Field(8, ge=2, le=2**20, description="images in a step")
    lr: float = Field(2e-3, gt=0, le=1, description="Adam learning rate (released: SGD, .001)")
    rise: float = Field(0.02, ge=0, le=1, description="first share of the steps over which the rate rises")
    decay: float = Field(0.5, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")
    l2: float = Field(0.0, ge=0, le=1, description="weight of the L2 penalty, as Adam's weight_decay")

    @field_validator("coord_layers")
    @classmethod
    def _places(cls, value: str) -> str:
        if value not in ("all", "first"):
            for name in value.split(","):
                if name not in WHERE:
                    raise ValueError(f"no place is called {name!r}: allowed are first, all, or any of image, rpn, "
                                     f"mover, a comma between{nearest(name, WHERE)}")  # fmt: skip
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch > self.images:
            raise ValueError(f"batch ({self.batch}) must not exceed images ({self.images})")
        if self.network == "frcnn" and self.borders == "valid":
            raise ValueError(
                "network frcnn pads all its convolutions (borders is 'valid'): allowed are zeros, circular"
            )
        if self.data == "coco" and not self.annotations:
            raise ValueError("data is coco: --annotations must name its JSON file, --data-root its folder of pictures")
        if self.data != "coco" and self.size != 64:
            raise ValueError(f"size is {self.size}: scenes of digits have 64 pixels, data coco has any size")
        return self

    @classmethod
    def placed(cls, given: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, str | None]:
        """Pictures of the user's own get a run folder of their own."""
        return None, "detection_coco" if given.get("data") == "coco" else None

    @property
    def data_note(self) -> str:
        """Which images."""
        if self.data == "coco":
            return "Images: pictures of COCO's format, scaled down."
        cut = "all in view" if self.layout == "canvas64" else "of a larger canvas, 3 in 10 wholly outside"
        return f"Images: {DIGITS} digits of {'MNIST' if self.digits == 'mnist' else 'scikit-learn'}, {cut}."

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ, of whatever kind."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_layers", "with_r")}
        return self.model_copy(update=fields) == other

    def shrunk(self) -> Self:
        """The recipe in seconds: few images."""
        return super().shrunk().model_copy(update={"images": 32, "test_images": 4, "workers": 0})


_MARGIN = Margin(0.02, "as far as a box of 20 pixels falls when it is moved by a fifth of a pixel", fresh_from=0)
_OVERLAPS = (
    Score("score/best_iou", "higher", "IoU of the best of ten proposals, mean over objects", primary=True,
          best=1.0, worst=0.0, curve="preview/best_iou", training="score/train_best_iou", margin=_MARGIN),
    Score("score/best_iou_in_view", "higher", "the same, objects at least half in view", best=1.0),
    Score("score/train_best_iou", "higher", "the same as the first, training images", best=1.0),
    Score("score/proposal_iou", "higher", "IoU of each proposal with its best object", best=1.0),
    Score("score/pair_iou", "higher", "IoU of all pairs of proposal and object"),
)  # fmt: skip
_SAMPLED = Score("score/sampled_iou", "higher", "IoU of positives as training samples them", best=1.0)
_PRECISION = (
    Score("score/ap", "higher", "AP (IoU .5 to .95)", best=1.0),
    Score("score/ap50", "higher", "AP at IoU .5", best=1.0),
    Score("score/ap75", "higher", "AP at IoU .75", best=1.0),
    Score("score/ar10", "higher", "AR, ten proposals an image", best=1.0),
)
_CLASSES = (
    Score("score/map", "higher", "mAP over classes (IoU .5 to .95)", best=1.0),
    Score("score/map50", "higher", "mAP over classes at IoU .5", best=1.0),
    Score("score/class_accuracy", "higher", "classes right, of found objects (share)", best=1.0),
)


def scores_of(config: DetectionConfig) -> tuple[Score, ...]:
    """What a run reports: only Faster R-CNN tells classes, only the paper's network samples on its own."""
    return (*_OVERLAPS, *((_SAMPLED, *_PRECISION) if config.network == "paper" else (*_PRECISION, *_CLASSES)))


CAPTIONS = Captions(
    samples="Held-out images, the same in every run. Orange: true boxes. Blue: of the ten proposals those that fit one "
    "of them best. Grey: the others.",
    film="Held-out images that roll around, the same in every arm, with the proposals of each, as above; true boxes "
    "that cross the border are not shown.",
)
SPEC = StudySpec(
    "vision.detection", "boxes around scattered digits: the paper's region-proposal network, or a whole Faster R-CNN",
    DetectionConfig, scores_of, "vision.detection.study:DetectionStudy", CAPTIONS,
    failed=no_better_than("score/best_iou", 0.3, "no better than untrained"),
)  # fmt: skip
