"""Settings and scores of the image folder study. No torch here: `--task imagenet --help` reads this module alone."""

import re
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from sandbox.base.errors import nearest
from sandbox.experiment.config import Config, PathText
from sandbox.experiment.spec import Margin, Score, StudySpec, no_better_than
from vision.probe.config import MODELS

GOYAL = "Goyal et al. 2017"
# torchvision's but for two that return more than logits in training, googlenet and inception_v3.
CLASSIFIERS = (*MODELS, *(f"vit_{size}" for size in ("b_16", "b_32", "l_16", "l_32", "h_14")), "maxvit_t",
               *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")))  # fmt: skip


class ImagenetConfig(Config):
    """A classifier of torchvision or timm on folders of classes. Defaults: ResNet-50's usual recipe for ImageNet.

    That recipe is Goyal et al. 2017, arXiv 1706.02677; what Liu et al. 2018 trained with, they do not say.
    """

    config_field: ClassVar[str | None] = "task"
    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "size", "crop_least", "flip")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "workers", "megapixels")

    task: Literal["imagenet"] = Field("imagenet", description="a classifier on folders of classes")
    data: Literal["folders", "digits"] = Field(
        "folders", description="folders: train/ and val/ below data_root; digits: 1797 handwritten ones of scikit-learn"
    )
    data_root: PathText = Field(
        "data/imagenet", description="folder that holds train/ and val/, each with a folder for every class"
    )
    model: str = Field("resnet50", description="a torchvision name, or timm:NAME (extra: timm)")
    weights: PathText = Field(
        "random", description="where training starts: random, a file of weights (its last layer may be of other "
        "classes), or download (fetches the library's)",
    )  # fmt: skip
    front: int = Field(
        0, ge=0, le=64, description="channels of a 1x1 convolution before the network, which is then the one that "
        "knows coordinates (the paper: 8); 0: none, and the network's own first convolution does",
    )  # fmt: skip
    with_r: bool = Field(True, description="the radius as a third coordinate, as in the paper")
    size: int = Field(224, ge=16, le=1024, description="pixels along the edge of what the network sees")
    crop_least: float = Field(0.08, gt=0, le=1, description="smallest share of a picture's area in a random crop")
    flip: bool = Field(True, description="mirror half of the training pictures")
    steps: int = Field(450_360, ge=1, le=10**9, description=f"training steps ({GOYAL}: 90 epochs)")
    batch: int = Field(256, ge=2, le=2**20, description="images in a step, over all processes")
    lr: float = Field(0.1, gt=0, le=10, description=f"SGD learning rate ({GOYAL}: 0.1 for 256 images)")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    l2: float = Field(1e-4, ge=0, le=1, description="weight decay, of all parameters")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing (Szegedy et al. 2016)")
    rise: float = Field(0.056, ge=0, le=1, description="first share of the steps over which the rate rises (5 epochs)")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay a step of the running mean of the weights that is scored; 0: the weights"
    )
    sync_batch_norm: bool = Field(
        False, description="batch statistics over all processes (GPUs only); else each process has its own"
    )
    test_images: int = Field(
        0, ge=0, le=10**9, description="pictures of val/ that are scored, spread evenly; 0: all of them"
    )
    workers: int = Field(4, ge=0, le=256, description="processes that decode ahead; 0: none")
    megapixels: int = Field(64, ge=1, le=178, description="pictures that are larger are left out")
    preview_every: int = Field(5000, ge=1, le=10**9, description="steps between two sample grids")
    checkpoint_every: int = Field(1000, ge=1, le=10**9, description="steps between two checkpoints")

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if not re.fullmatch(r"timm:\w[\w.-]*", value) and value not in CLASSIFIERS:
            raise ValueError(f"allowed are a classifier of torchvision or timm:NAME{nearest(value, CLASSIFIERS)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0 < self.front < 3:
            raise ValueError(f"front is {self.front}: allowed are 0, or 3 and more, which keep the three colours")
        return self

    @property
    def data_note(self) -> str:
        """Which images."""
        if self.data == "digits":
            return "Images: scikit-learn's handwritten digits."
        return "Images: the user's own, in folders of classes."

    def shrunk(self) -> Self:
        """The recipe in seconds: small pictures, the smallest ResNet, few pictures scored."""
        fields: dict[str, int | str] = {"size": 32, "test_images": 16, "workers": 0}
        if not self.model.startswith("timm:"):
            fields["model"] = "resnet18"
        return super().shrunk().model_copy(update=fields)


SCORES = (
    # Top-5, which the paper reports, is at its ceiling where there are few classes.
    Score("score/top1", "higher", "top-1 accuracy (share)", primary=True, curve="preview/top1", best=1.0, worst=0.0,
          margin=Margin(0.01, "one image in a hundred", fresh_from=0), training="score/train_top1"),
    Score("score/top5", "higher", "top-5 accuracy (share)"),
    Score("score/loss", "lower", "cross-entropy, held-out (nats)"),
    Score("score/train_top1", "higher", "top-1 accuracy on training images (share)"),
)  # fmt: skip
SPEC = StudySpec(
    "vision.imagenet", "folders of images, ImageNet's among them: any classifier, coordinates in one convolution",
    ImagenetConfig, SCORES, "vision.imagenet.study:ImagenetStudy",
    failed=no_better_than("score/top1", lambda config: 0.15 if config.data == "digits" else 0.002, "chance level"),
)  # fmt: skip
