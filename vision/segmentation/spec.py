"""Settings and scores of the segmentation study. No torch: `--task segmentation --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.experiment.config import PathText
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than
from vision.classify.config import PADDING_HELP, ClassifierConfig

PAPER = "Islam et al. 2020"
Border = Literal["zeros", "circular", "reflect", "replicate", "partial", "none", "valid", "valid_cropped"]
LEAST = 48  # pixels of an image's edge: without padding the small network leaves 34 fewer
BANDS = ((0, 2), (2, 4), (4, 8), (8, 16), (16, 10**9))  # pixels from the border, from and below


class SegmentationConfig(ClassifierConfig):
    """A segmentation network under some padding. Network, data and recipe are ours, no paper's."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "images", "test_images", "size")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root",)

    task: Literal["segmentation"] = Field("segmentation", description="the class of every pixel")
    data: Literal["rooms", "shapes", "voc"] = Field(
        "rooms", description="drawn rooms, or Sort-of-CLEVR's two objects, masks exact; voc: a folder of your own"
    )
    data_root: PathText = Field(
        "data/VOCdevkit/VOC2012", description="folder that holds JPEGImages, SegmentationClass and "
        "ImageSets/Segmentation/train.txt and val.txt (data voc)",
    )  # fmt: skip
    network: Literal["small", "fcn_resnet50", "deeplabv3_resnet50"] = Field(
        "small", description="small: a U-Net with two max-pools; or torchvision's own, without weights"
    )
    padding: Border = Field(
        "zeros", description=f"{PADDING_HELP}; valid: no padding, the smaller answer scaled up to the image (as "
        f"{PAPER} are understood); valid_cropped: no padding, trained and scored on the middle that such a network "
        "answers; fcn_resnet50, deeplabv3_resnet50: zeros",
    )  # fmt: skip
    width: int = Field(12, ge=1, le=256, description="channels of the small network at full size")
    size: int = Field(64, ge=LEAST, le=1024, description="pixels along an image's edge, a multiple of 8 (data voc)")
    classes: int = Field(21, ge=2, le=255, description="classes of the masks (data voc); 255 is ignored")
    images: int = Field(4096, ge=32, le=10**9, description="training images; voc: at most, the first of its list")
    test_images: int = Field(256, ge=2, le=10**5, description="held-out images; voc: at most")
    steps: int = Field(800, ge=1, le=10**9, description="training steps")
    batch: int = Field(16, ge=2, le=2**20, description="images in a step")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.network != "small" and self.padding != "zeros":
            raise ValueError(f"network {self.network} pads zeros (padding is {self.padding!r}): small has all paddings")
        if self.size % 8:
            raise ValueError(f"size is {self.size}: allowed are multiples of 8 from {LEAST} on")
        if self.data != "voc" and self.size != 64:
            raise ValueError(f"size is {self.size}: {self.data} have 64 pixels, data voc has any size")
        return self

    @property
    def data_note(self) -> str:
        """Which images."""
        names = {"rooms": "drawn rooms", "shapes": "shapes on white", "voc": "the user's own"}
        return f"Images: {names[self.data]}{'' if self.data == 'voc' else ', masks exact'}."

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network."""
        return super().shrunk().model_copy(update={"width": 2})


SCORES = (
    Score("score/miou", "higher", "mIoU of all pixels", primary=True, curve="preview/miou",
          training="score/train_miou", best=1.0, worst=0.0,
          margin=Margin(0.02, "of an intersection over union from 0 to 1", fresh_from=0)),
    Score("score/train_miou", "higher", "training mIoU"),
    Score("score/miou_middle", "higher", "mIoU of the middle, which a network without padding answers",
          curve="preview/miou_middle"),
    *(Score(f"score/miou_{low}", "higher",
            f"mIoU {f'{low} to {high - 1} pixels' if high < 10**9 else f'{low} pixels and more'} from the border")
      for low, high in BANDS),
)  # fmt: skip
CAPTIONS = Captions(
    samples="Held-out images, each beside its mask and what the network says; grey where it says nothing.",
    film="Held-out images that roll to the right, the same in every arm, each beside the network's answer.",
    pictures={
        "errors": "Where each network errs: the share of held-out images that are wrong at a pixel, from none, white, "
        "to half of them and more, black; pale blue where it answers nothing.",
    },
)
SPEC = StudySpec(
    "vision.segmentation", "the class of every pixel under eight paddings, by distance to the border",
    SegmentationConfig, SCORES, "vision.segmentation.study:SegmentationStudy", CAPTIONS,
    failed=no_better_than("score/miou_middle", 0.1, "little more than the most frequent class everywhere"),
)  # fmt: skip
