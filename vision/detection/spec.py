"""Settings and scores of the detection study. No torch here: `--task detection --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config, PathText
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec

Borders = Literal["valid", "zeros", "circular"]
Data = Literal["canvas64", "crop120", "coco"]
PAPER = "Liu et al. 2018"


class DetectionConfig(Config):
    """A detector of scattered digits (Liu et al. 2018, arXiv 1807.03247, and its released code)."""

    config_field: ClassVar[str | None] = "task"
    task_field: ClassVar[str] = "data"
    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "digits", "images", "test_images")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "annotations")

    task: Literal["detection"] = Field("detection", description="boxes around scattered digits")
    data: Data = Field("canvas64", description="canvas64: all digits in view; crop120: the middle of a canvas of "
                       "120x120, as released")  # fmt: skip
    digits: Literal["sklearn", "mnist"] = Field("sklearn", description="which digits are scattered")
    data_root: PathText = Field("data", description="the folder that holds MNIST/raw")
    annotations: PathText = Field("", description="COCO JSON")
    network: Literal["paper", "frcnn"] = Field("paper", description="paper: the released region-proposal network")
    coord_layers: CoordLayers = Field(
        "image,rpn,mover", description="where the coord arms know coordinates: image, rpn, mover, or all"
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    borders: Borders = Field("valid", description="of the convolutions")
    hidden: int = Field(32, ge=1, le=1024, description="channels")
    images: int = Field(9000, ge=32, le=10**9, description="training scenes")
    test_images: int = Field(1000, ge=2, le=10**6, description="held-out scenes")
    steps: int = Field(800, ge=1, le=10**9, description="training steps")
    batch: int = Field(16, ge=2, le=2**20, description="images in a step")
    optimiser: Literal["sgd", "adam"] = Field("adam", description="x")
    lr: float = Field(1e-3, gt=0, le=1, description="learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    l2: float = Field(0.0, ge=0, le=1, description="weight decay")
    decay: float = Field(0.5, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")


SCORES = (Score("score/best_iou", "higher", "IoU of the best proposal per digit", primary=True, best=1.0),)
SPEC = StudySpec(
    "vision.detection", "boxes around scattered digits: a region-proposal network and Faster R-CNN",
    DetectionConfig, SCORES, "vision.detection.study:DetectionStudy",
)  # fmt: skip
