"""Settings and scores of the instances study. No torch here: `--task instances --help` reads this module alone."""

from dataclasses import replace
from math import lcm
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config, PathText
from sandbox.experiment.spec import Captions, Margin, Score, Scored, StudySpec, no_better_than
from vision.classify.config import ClassifierConfig

STRIDE = 8  # of the U-Net: three max-pools of 2
BORDER = 38  # pixels on each side of the canvas that a valid U-Net sees: it loses 37, and sizes are multiples of 8
RADIUS = 5  # of the discs of a grid (the toy of arXiv 2101.05846)
_LEAST = 96  # pixels along the edge of a canvas, at least
_SIZES = {"scattered": 96, "six": 80}


class InstancesConfig(ClassifierConfig):
    """Instance segmentation of objects that look the same. Sources: `configs/vision/instances.yaml`."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "spacing", "edge", "images", "test_images")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "annotations")
    task_field: ClassVar[str] = "scenes"

    task: Literal["instances"] = Field("instances", description="instance segmentation of objects that look the same")
    data: Literal["grid", "scattered", "six", "coco"] = Field(
        "grid", description="identical discs on a grid; discs and squares of varied size; Sort-of-CLEVR's six objects; "
        "pictures and masks of your own, whatever their categories",
    )  # fmt: skip
    data_root: PathText = Field("data", description="the folder of pictures (data coco)")
    annotations: PathText = Field("", description="a file of masks in COCO's JSON format (data coco)")
    edge: int = Field(128, ge=32, le=1024, description="pixels along an image's edge, a multiple of 8 (data coco)")
    spacing: int = Field(16, ge=2 * RADIUS + 2, le=32, description="pixels from disc to disc (data grid)")
    padding: Literal["zeros", "circular", "valid"] = Field(
        "zeros", description="of every 3x3 convolution; valid: none, the network sees more of the scene than it answers"
    )
    skips: bool = Field(True, description="skip connections of the U-Net")
    coord_layers: CoordLayers = Field(
        "first", description="which convolutions of the coord arms know coordinates: first, all, or names of layers, "
        "head.masks.0.conv the first of SOLO's mask branch",
    )  # fmt: skip
    head: Literal["embedding", "semiconv", "solo"] = Field(
        "embedding", description="embedding: a vector a pixel; semiconv: the pixel's coordinates added to its first "
        "two numbers (arXiv 1807.10712); solo: categories and masks on a grid of cells (arXiv 1912.04488)",
    )  # fmt: skip
    loss: Literal["discriminative", "distance"] = Field(
        "discriminative", description="of embeddings: pull and push with margins (arXiv 1708.02551), or the distance "
        "of an object's pixels to their mean alone, the semi-convolution's own (arXiv 1807.10712)",
    )  # fmt: skip
    pull_margin: float = Field(0.5, ge=0, le=100, description="distance to the mean that costs nothing")
    push_margin: float = Field(1.5, gt=0, le=100, description="half the distance of two means that costs nothing; also "
                               "the bandwidth of mean shift")  # fmt: skip
    dimensions: int = Field(8, ge=2, le=256, description="numbers of a pixel's embedding")
    cells: int = Field(12, ge=2, le=64, description="SOLO's grid: cells along an edge")
    width: int = Field(8, ge=1, le=256, description="channels of the U-Net's first level, doubled three times")
    images: int = Field(256, ge=32, le=10**9, description="training images")
    test_images: int = Field(8, ge=2, le=10**5, description="held-out images, all of which are clustered and scored")
    steps: int = Field(300, ge=1, le=10**9, description="training steps")
    batch: int = Field(2, ge=2, le=2**20, description="images in a step")
    lr: float = Field(0.01, gt=0, le=1, description="Adam learning rate")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.head == "solo" and self.padding == "valid":
            raise ValueError("padding is 'valid': the head solo takes zeros, circular")
        if self.head != "semiconv" and self.loss == "distance":
            raise ValueError(f"loss is 'distance': the head {self.head} takes discriminative, since equal embeddings "
                             "would cost nothing; semiconv takes both")  # fmt: skip
        if self.data == "coco" and not self.annotations:
            raise ValueError("data is coco: --annotations must name its JSON file, --data-root its folder of pictures")
        if self.edge % STRIDE:
            raise ValueError(f"edge is {self.edge}: allowed are multiples of {STRIDE}")
        if self.cells > self.size:
            raise ValueError(f"cells is {self.cells}: allowed are 2 to {self.size}, the canvas's edge")
        return self

    @property
    def size(self) -> int:
        """Pixels along a canvas's edge; of a grid a common multiple of spacing and total stride, 96 or more."""
        return {**_SIZES, "coco": self.edge}.get(self.data) or grid_size(self.spacing)

    @property
    def border(self) -> int:
        """Pixels on each side of the canvas that the network sees."""
        return BORDER if self.padding == "valid" else 0

    @property
    def data_note(self) -> str:
        """Which images."""
        canvas = f"{self.size}x{self.size}"
        return {
            "grid": f"Images: identical discs every {self.spacing} pixels, no noise, on a canvas of {canvas}.",
            "scattered": "Images: discs and squares of varied size, black on white.",
            "six": "Images: Sort-of-CLEVR's six objects.",
            "coco": f"Images: pictures of COCO's format, scaled down to {canvas}.",
        }[self.data]

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ, at the input, in a branch or added to the output."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_layers", "with_r")}
        heads = {self.head, getattr(other, "head", "")}
        if heads == {"embedding", "semiconv"}:
            fields["head"] = getattr(other, "head")  # noqa: B009  # of this study, as the two heads say
        return self.model_copy(update=fields) == other

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network."""
        return super().shrunk().model_copy(update={"width": 2})


def grid_size(spacing: int) -> int:
    """Pixels along the canvas of a grid: the smallest common multiple of spacing and total stride from 96 on."""
    step = lcm(spacing, STRIDE)
    return step * -(-_LEAST // step)


_PAIRS = Score("score/pairs", "higher", "pairs told apart (share)", curve="preview/pairs", best=1.0, worst=0.0)
_SBD = Score("score/sbd", "higher", "symmetric best Dice", curve="preview/sbd", best=1.0, worst=0.0)
_MARGINS = {
    "score/pairs": Margin(0.05, "one pair of objects in twenty"),
    "score/sbd": Margin(0.02, "of a Dice from 0 to 1"),
}
_OTHERS = (
    Score("score/count_error", "lower", "difference in count (objects)"),
    Score("score/ap50", "higher", "AP at IoU .5"),
    Score("score/ap", "higher", "AP at IoU .5 to .95"),
)
_OF_EMBEDDINGS = (
    Score("score/pairs_kmeans", "higher", "pairs told apart, k-means with the true number"),
    Score("score/sbd_kmeans", "higher", "symmetric best Dice, k-means with the true number"),
    Score("score/distinct", "higher", "pairs whose embeddings differ at all (share)"),
    Score("score/distinct_untrained", "higher", "pairs whose embeddings differ before training (share)"),
)


def scores(config: InstancesConfig) -> tuple[Score, ...]:
    """Of a grid the pairs told apart decide, elsewhere symmetric best Dice."""
    primary = "score/pairs" if config.data == "grid" else "score/sbd"
    both = (replace(each, primary=True, margin=_MARGINS[primary]) if each.tag == primary else each
            for each in (_PAIRS, _SBD))  # fmt: skip
    return (*both, *_OTHERS, *(() if config.head == "solo" else _OF_EMBEDDINGS))


def failed(config: InstancesConfig, scores: Scored) -> str:
    """Scattered scenes that are not segmented. On a grid it is what symmetry may ask for."""
    return "" if config.data == "grid" else _FAILS(config, scores)


_FAILS = no_better_than("score/sbd", 0.3, "objects are not found")
CAPTIONS = Captions(
    samples="Test images, each beside its objects, what is found, and the embedding's first two numbers as colours "
    "(SOLO: the cells, the surer the darker). What is found has the colour of the object that it overlaps most, a "
    "second one of that object a paler one; grey: it overlaps none.",
    film="A test image that rolls around, the same in every arm, beside what is found, in the colours of the objects.",
    across="scenes: discs every so many pixels", beside=("score/distinct_untrained",),
)  # fmt: skip
SPEC = StudySpec(
    "vision.instances", "which of several objects that look the same a pixel belongs to: instance segmentation",
    InstancesConfig, scores, "vision.instances.study:InstancesStudy", CAPTIONS, failed=failed,
)  # fmt: skip
