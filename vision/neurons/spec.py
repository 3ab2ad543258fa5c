"""Settings and scores of the neurons study. No torch here: `--task neurons --help` reads this module alone."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import Padding
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec
from vision.classify.config import PADDING_HELP, ClassifierConfig
from vision.segment.config import REGIONS

PAPER = "Islam et al. 2021"
RANKINGS = ("overall", "left", "right", "active")  # by which channels are zeroed, and at random


class NeuronsConfig(ClassifierConfig):
    """A segmentation network whose channels are zeroed (Islam et al. 2021, arXiv 2108.07884); the help says our own."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "images", "test_images")
    task_field: ClassVar[str] = "data"

    task: Literal["neurons"] = Field("neurons", description="position neurons of a segmentation network")
    data: Literal["shapes", "rooms"] = Field("shapes", description=f"what is segmented ({PAPER}: Cityscapes)")
    network: Literal["small", "deeplabv3_resnet50"] = Field(
        "small", description=f"small: eight convolutions and a head after DeepLabv3's; or torchvision's own ({PAPER})"
    )
    padding: Padding = Field("zeros", description=f"{PADDING_HELP}; deeplabv3_resnet50: zeros")
    width: int = Field(12, ge=1, le=256, description="channels of the small network's first stage, doubled three times")
    images: int = Field(2048, ge=32, le=10**9, description="training images")
    test_images: int = Field(256, ge=2, le=10**5, description="held-out images; as many of training rank the channels")
    steps: int = Field(800, ge=1, le=10**9, description="training steps")
    points: int = Field(8, ge=2, le=1024, description="steps in which channels are zeroed, from none to all of them")
    cut: float = Field(0.5, gt=0, lt=1, description="share of the channels that is zeroed for the scores")
    draws: int = Field(10, ge=2, le=1000, description="random orders of the channels")

    @model_validator(mode="after")
    def _paddings(self) -> Self:
        if self.network == "deeplabv3_resnet50" and self.padding != "zeros":
            raise ValueError(f"network deeplabv3_resnet50 pads zeros (padding is {self.padding!r}): small has them all")
        return self

    @property
    def size(self) -> int:
        """Pixels along an image's edge."""
        return 64

    @property
    def data_note(self) -> str:
        """Which images."""
        return f"Images: {'shapes on white' if self.data == 'shapes' else 'drawn rooms'}, masks exact."

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network, few channels zeroed."""
        return super().shrunk().model_copy(update={"width": 2, "points": 2, "draws": 2})


_WHERE = {"all": "all columns", "left": "left half", "centre": "middle half", "right": "right half"}
SCORES = (
    Score("score/miou", "higher", "mIoU", primary=True, curve="preview/miou", training="score/train_miou",
          best=1.0, worst=0.0, margin=Margin(0.02, "of an intersection over union from 0 to 1", fresh_from=1)),
    Score("score/train_miou", "higher", "training mIoU"),
    *(Score(f"score/miou_{region}", "higher", f"mIoU, {_WHERE[region]}") for region in REGIONS[1:]),
    Score("score/excess", "higher", "fall of mIoU, top channels zeroed, beyond random ones"),
    *(Score(f"score/fall_{ranking}_{region}", "higher", f"fall of mIoU, {ranking} channels zeroed, {_WHERE[region]}")
      for ranking in (*RANKINGS, "random") for region in REGIONS),
    Score("score/fall_random_sd", "higher", "standard deviation of the fall over random draws"),
    Score("score/mirrored_difference", "higher", "mirrored difference of pooled features (relative)"),
    Score("score/rolled_difference", "higher", "the same, rolled by half the width"),
)  # fmt: skip


def table(scores: Mapping[str, float | None]) -> list[str]:
    """The scores: falls of mIoU as a table, a row for each choice of channels, then all the others."""
    falls = {tag for tag in scores if tag.startswith("score/fall_") and tag.rpartition("_")[2] in REGIONS}
    lines = [f"{'fall of mIoU, zeroed':22}" + "".join(f"{region:>8}" for region in REGIONS)]
    for ranking in (*RANKINGS, "random"):
        cells = [_number(scores.get(f"score/fall_{ranking}_{region}")) for region in REGIONS]
        lines.append(f"{ranking:22}" + "".join(f"{cell:>8}" for cell in cells))
    return [*lines, *(f"{tag:28} {_number(value)}" for tag, value in scores.items() if tag not in falls)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


CAPTIONS = Captions(
    film="Test images that roll to the right, the same in every arm, each beside the network's answer.",
    films={
        "knockout": "More and more channels zeroed before the head. Above: mIoU of all columns and of three regions, "
        "the grey line stands where the pictures below are; band: random draws, mean and standard deviation. Below: "
        "what the network still says, with the first channels by mirrored difference zeroed, and with as many at "
        "random.",
    },
)
SPEC = StudySpec(
    "vision.neurons", "which channels of a segmentation network hold position, and what zeroing them costs",
    NeuronsConfig, SCORES, "vision.neurons.study:NeuronsStudy", CAPTIONS, table=table,
)  # fmt: skip
