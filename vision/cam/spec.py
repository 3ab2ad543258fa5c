"""Settings and scores of the class activation study. No torch here: `--task cam --help` reads this module alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from sandbox.base.types import Padding
from sandbox.data.shapes import PAIRS
from sandbox.experiment.config import PathText
from sandbox.experiment.spec import Captions, Margin, Score, Scored, StudySpec, no_better_than
from vision.classify.config import ACCURACIES, PADDING_HELP, ClassifierConfig
from vision.probe.config import Data, PositionConfig, known_target

OWN = "own"
SCENE = 64  # pixels along the edge of a scene on its canvas
STRIDE = 8  # of the small VGG: the sizes that it takes


class CamConfig(ClassifierConfig):
    """Class activation maps of images and of their crops: of a classifier trained within the run, or of a target."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "images", "test_images", "measured", "size", "data")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "test_root", "megapixels")

    task: Literal["cam"] = Field("cam", description="class activation maps of images and of their crops")
    target: PathText = Field(
        OWN, description="whose maps: own (a small VGG, trained within the run), a torchvision name such as vgg16, "
        "timm:NAME, PACKAGE.MODULE:FUNCTION, or the folder of a classifier's run, {seed} in it this run's own seed; "
        "of a target nothing is trained",
    )  # fmt: skip
    target_module: str = Field("", description="which network of a run; nothing: the one that sees images")
    weights: PathText = Field(
        "auto", description="of a target that is no run: a file, random, auto (those in torch's hub cache, else "
        "random; of an own target as it comes), or download (fetches ImageNet's)",
    )  # fmt: skip
    padding: Padding = Field("zeros", description=f"{PADDING_HELP}; own classifier")
    width: int = Field(4, ge=1, le=256, description="channels of the own classifier's first stage, doubled three times")
    size: int = Field(
        192, ge=32, le=2048, description="pixels along an image's edge; of the own classifier's canvas a multiple of 8 "
        "from 64 on. Half of it should hold a receptive field, 68 pixels of the small VGG",
    )  # fmt: skip
    measured: int = Field(32, ge=1, le=10**5, description="held-out images whose maps are measured, each 16 times")
    images: int = Field(4096, ge=32, le=10**9, description="training images of the own classifier")
    test_images: int = Field(256, ge=4, le=10**9, description="held-out images that score the own classifier")
    steps: int = Field(150, ge=1, le=10**9, description="training steps of the own classifier; a target needs 1")
    batch: int = Field(16, ge=2, le=2**20, description="images in a step")
    data: Data = Field("rooms", description="images of a target: rooms, shapes, photographs or folder")
    data_root: PathText = Field("data/DUTS", description="folder of images (data folder); as of --task position")
    test_root: PathText = Field(
        "", description="the same for the images that are measured; nothing: data_root's last ones (data folder)"
    )
    megapixels: int = Field(64, ge=1, le=178, description="pictures that are larger are left out (data folder)")

    @field_validator("target")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_target(value, OWN)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.target == OWN and (self.size % STRIDE or self.size < SCENE):
            raise ValueError(f"size is {self.size}: allowed are multiples of {STRIDE} from {SCENE} on")
        if self.target == OWN and self.measured > self.test_images:
            raise ValueError(f"measured ({self.measured}) must not exceed test_images ({self.test_images})")
        return self

    @classmethod
    def placed(cls, given: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, str | None]:
        """A target that is no arm of the file gets a run folder of its own, in the arm ``target``.

        Raises:
            UserError: the target is to be a run, but there is none.
        """
        if given.get("target") in (None, OWN):
            return None, None
        arm, name = PositionConfig.placed(given, arms)
        return (arm, None) if name is None else ("target", name.replace("position_", "cam_", 1))

    @property
    def data_note(self) -> str:
        """Which images."""
        if self.target == OWN:
            return "Images: a scene of shapes on a white canvas, rolled around."
        return self.probed().data_note.replace("Natural images", "Images")

    def probed(self) -> PositionConfig:
        """The target and its images, as the position probe names them."""
        own = ("seed", "target", "target_module", "weights", "data", "data_root", "test_root", "megapixels", "size")
        fields = {"images": 2, "batch": 2, "test_images": self.measured, "roll": False}
        return PositionConfig.model_validate({**fields, **{name: getattr(self, name) for name in own}})

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network, two images; a target's are small."""
        fields: dict[str, Any] = {"width": 2, "measured": 2}
        if self.target != OWN:
            fields |= {"size": 64, "steps": 1}
        return super().shrunk().model_copy(update=fields)


_MARGIN = Margin(1.0, "pixel of the image: an eighth of a cell of the own classifiers' maps", fresh_from=0)
_WHERE = {"": "receptive fields inside", "_all": "all shared cells"}
_HOW = {"": "crops", "control_": "control, same size"}


def _three(how: str, where: str) -> tuple[Score, ...]:
    """The measures of a comparison on a set of cells."""
    of = f"{_HOW[how]}, {_WHERE[where]}"
    return (
        Score(f"score/{how}displacement{where}", "lower", f"displacement (pixels), {of}"),
        Score(f"score/{how}correlation{where}", "higher", f"correlation, {of}"),
        Score(f"score/{how}measurable{where}", "higher", f"share measurable, {of}"),
    )


MEASURES = (
    replace(_three("", "")[0], primary=True, curve="preview/displacement", best=0.0, margin=_MARGIN),
    Score("score/displacement_median", "lower", "its median over images and crops (pixels)"),
    *_three("", "")[1:],
    *(score for how, where in (("", "_all"), ("control_", ""), ("control_", "_all")) for score in _three(how, where)),
)


def scores_of(config: CamConfig) -> tuple[Score, ...]:
    """What a run reports; a target's classes are nobody's here, so that it has no accuracy."""
    return (*MEASURES, *ACCURACIES) if config.target == OWN else MEASURES


def table(scores: Scored) -> list[str]:
    """The measures as a table, a row for each comparison and set of cells; then all other scores."""
    names = ("displacement", "correlation", "measurable")
    lines = [f"{'':46}" + "".join(f"{name:>14}" for name in names)]
    shown = set()
    for how, word in _HOW.items():
        for where, cells in _WHERE.items():
            tags = [f"score/{how}{name}{where}" for name in names]
            shown |= set(tags)
            lines.append(f"{f'{word}, {cells}':46}" + "".join(f"{_number(scores.get(tag)):>14}" for tag in tags))
    return [*lines, *(f"{tag:46}{_number(value):>14}" for tag, value in scores.items() if tag not in shown)]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


CAPTIONS = Captions(
    samples="An image, its class activation map (orange, full colour: the map's maximum), its crop, left where it was "
    "cut, and the crop's map, of the class that the network gives the whole image. Dashed: the cells whose receptive "
    "fields lie inside both. Ring and cross: where the image's and the crop's regions lie among these; right, by how "
    "much they differ. Where the network goes by content alone, the maps agree there. After Figure 1 of Islam, Jia and "
    "Bruce 2020 (arXiv 2001.08248).",
    film="Images that roll around, the same in every arm, each beside its class activation map (orange) of the class "
    "that the network gives the image at the start.",
)  # fmt: skip
SPEC = StudySpec(
    "vision.cam", "how far the region moves that says a class when an image is cropped: class activation maps",
    CamConfig, scores_of, "vision.cam.study:CamStudy", CAPTIONS, table=table,
    failed=no_better_than("score/test_accuracy", 1.5 / PAIRS, "chance level"),
)  # fmt: skip
