"""Settings and scores of the position probe. No torch here."""

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from sandbox.base.errors import nearest
from sandbox.experiment.config import Config, PathText
from sandbox.experiment.run import read_run
from sandbox.experiment.spec import Margin, Score

Data = Literal["rooms", "shapes", "photographs", "folder"]
Resize = Literal["bilinear", "nearest"]
Scale = Literal["one", "channel", "raw"]
Scales = Literal["held_out", "one", "channel", "raw"]
Optimiser = Literal["adam", "sgd"]
Kind = Literal["torchvision", "timm", "function", "run"]
Kernel = Literal["1", "3", "5", "7"]
Depth = Literal["1", "2", "3"]
ProbePadding = Literal["0", "1", "2"]

MAPS = {
    "h": "horizontal ramp", "v": "vertical ramp", "g": "Gaussian", "hs": "horizontal stripes", "vs": "vertical stripes",
}  # fmt: skip
INPUTS = ("natural", "black", "white", "noise")
# torchvision's classifiers made of convolutions, or, as Swin, of stages that halve the map.
MODELS = (
    "alexnet",
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
    *(f"efficientnet_{size}" for size in ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "v2_s", "v2_m", "v2_l")),
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "squeezenet1_0", "squeezenet1_1",
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    *(f"regnet_{kind}_{size}" for kind in "xy" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    *(f"swin_{version}{size}" for version in ("", "v2_") for size in "tsb"),
)  # fmt: skip
TARGETS = "a name of torchvision, timm:NAME, PACKAGE.MODULE:FUNCTION"
LONGEST = 48  # characters of a target in a folder's name
PAPER = "Islam et al. 2020"


def kind_of(target: str) -> Kind:
    """What a target's name is: of torchvision, of timm, a function, or else a run's folder, with a ``/`` in it."""
    if target.startswith("timm:"):
        return "timm"
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", target):
        return "function"
    return "run" if "/" in target else "torchvision"


def run_of(target: str, seed: int) -> Path:
    """The folder of a run that is a target; ``{seed}`` in it stands for this seed, so that pairs probe pairs."""
    return Path(target.replace("{seed}", str(seed)))


def known_target(value: str, own: str) -> str:
    """The name of a target, which is ``own`` or of some kind.

    Raises:
        ValueError: it is none; the message says what is allowed.
    """
    if kind_of(value) == "torchvision" and value not in (own, *MODELS):
        raise ValueError(f"allowed are {own}, a run's folder (with a / in it), {TARGETS}"
                         f"{nearest(value, (own, *MODELS))}")  # fmt: skip
    return value


class PositionConfig(Config):
    """A probe of one network. Where the paper states a value and this is another, the help says so."""

    config_field: ClassVar[str | None] = "task"
    DATA: ClassVar[tuple[str, ...]] = ("batch", "data", "images", "test_images", "roll")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "test_root", "megapixels")

    task: Literal["position"] = Field("position", description="the position probe")
    target: PathText = Field(
        "image", description="what is probed: image (no encoder), a torchvision name such as vgg16, timm:NAME, "
        "PACKAGE.MODULE:FUNCTION (is called and returns a network: your own code runs), or a run's folder, {seed} in "
        "it this run's own seed",
    )  # fmt: skip
    target_module: str = Field("", description="which network of a run; nothing: the one that sees images, if any")
    weights: PathText = Field(
        "auto", description="of a target that is no run: a file (the convolutions alone will do), random, auto "
        "(those in torch's hub cache, else random; of an own target as it comes), or download (fetches ImageNet's)",
    )  # fmt: skip
    stages: str = Field(
        "all", coerce_numbers_to_str=True, min_length=1,
        description="which levels of the target, counted from 1: all, 2, or 1,3",
    )  # fmt: skip
    strip_padding: bool = Field(False, description="remove the padding of the target's convolutions")
    data: Data = Field(
        "rooms", description="natural images: drawn rooms, shapes, squares of photographs (scikit-image's fifteen), or "
        "a folder of images",
    )  # fmt: skip
    data_root: PathText = Field(
        "data/DUTS", description="folder of images, or of DUTS-TR and DUTS-TE or of PASCAL-S (data folder)",
    )  # fmt: skip
    test_root: PathText = Field(
        "", description="the same for testing, of DUTS its DUTS-TE; nothing: data_root's DUTS-TE, else its last images "
        "(data folder)",
    )  # fmt: skip
    megapixels: int = Field(64, ge=1, le=178, description="pictures that are larger are left out (data folder)")
    size: int = Field(
        0, ge=0, le=1024, description=f"pixels along an image's edge; 0: a run's own, else 112 ({PAPER}: 224)"
    )
    batch: int = Field(8, ge=2, le=2**20, description=f"images in a step, each with all its places ({PAPER}: 32)")
    images: int = Field(96, ge=2, le=10**6, description="training images, kept as features in memory (float32)")
    test_images: int = Field(32, ge=1, le=10**6, description="natural images that score, and as many of noise")
    roll: bool = Field(
        True, description=f"roll each image around by a random way: its content says nothing of its place ({PAPER}: no)"
    )
    shuffle: bool = Field(False, description="control: give each image's features to its places anew, at random")
    grid: int = Field(28, ge=4, le=256, description=f"places along an edge of features and maps ({PAPER})")
    resize: Resize = Field("bilinear", description=f"how levels come to the grid ({PAPER}: bilinear)")
    kernel: Kernel = Field("3", description=f"of the probe's convolutions ({PAPER}: 3; also 1, 5, 7)")
    depth: Depth = Field("1", description=f"convolutions of the probe, ReLU between them ({PAPER}: 1; also 2, 3)")
    probe_padding: ProbePadding = Field("0", description=f"zeros around the probe's inputs ({PAPER}: 0; also 1, 2)")
    hidden: int = Field(16, ge=1, le=1024, description="channels between the probe's convolutions, for each map")
    steps: int = Field(300, ge=1, le=10**9, description=f"training steps of the probe ({PAPER}: 15 epochs of DUT-S)")
    scale: Scales = Field(
        "held_out", description="features are divided by one number, each channel by its own, whichever suits held-out "
        f"images better, or not at all: raw ({PAPER}: raw)",
    )  # fmt: skip
    optimiser: Optimiser = Field("adam", description=f"of the probe ({PAPER}: sgd, with momentum .9)")
    lr: float = Field(2e-3, gt=0, le=1, description=f"learning rate ({PAPER}: .1, over the last third .01)")
    l2: float = Field(1e-3, ge=0, le=1, description=f"weight of the L2 penalty, as weight_decay ({PAPER}: 1e-4)")
    decay: float = Field(
        0.5, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine; adam)"
    )

    @field_validator("target")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_target(value, "image")

    @field_validator("stages")
    @classmethod
    def _levels(cls, value: str) -> str:
        if value != "all" and not re.fullmatch(r"[1-9]\d?(,[1-9]\d?)*", value):
            raise ValueError("allowed are all, or levels counted from 1 such as 2 or 1,3")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch > self.images:
            raise ValueError(f"batch ({self.batch}) must not exceed images ({self.images})")
        if self.strip_padding and self.target == "image":
            raise ValueError("strip_padding removes an encoder's padding: target image has none")
        return self

    @classmethod
    def placed(cls, given: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, str | None]:
        """A target that is no arm of the file gets a run folder of its own, in the arm ``probe``.

        ``--target vgg16`` means ``--arm vgg16``, and ``--target runs/gan/x/coord/seed-0``
        ``--arm probe --name position_gan-x-coord-seed-0``.

        Raises:
            UserError: the target is to be a run, but there is none.
        """
        target = given.get("target")
        if target is None:
            return None, None
        if kind_of(target) == "run":
            read_run(run_of(target, int(given.get("seed", 0))))  # before anything is written
        if arms.get(target, {}).get("target") == target:
            return target, None
        return "probe", f"position_{_slug(target, given.get('target_module'))}"

    @property
    def data_note(self) -> str:
        """Which images stand for natural ones."""
        notes = {
            "rooms": "drawn rooms", "shapes": "shapes on white", "folder": f"those of {self.data_root}",
            "photographs": "squares of scikit-image's photographs",
        }  # fmt: skip
        return f"Natural images: {notes[self.data]}{', rolled' if self.roll else ''}."

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Never: what differs lies in what is probed."""
        return False

    def shrunk(self) -> Self:
        """The recipe in seconds: few and small images."""
        size = self.size or (0 if kind_of(self.target) == "run" else 64)
        return super().shrunk().model_copy(update={"images": 8, "test_images": 2, "size": size, "hidden": 2})


def _slug(target: str, module: str | None) -> str:
    """A target as part of a folder's name; of a path the last parts, told apart by a hash where it is long."""
    parts = [part for part in Path(target).parts if part not in ("/", "..", "runs")]
    text = re.sub(r"[^\w.-]", "-", "-".join([*parts, *([module] if module else [])]))
    if len(text) <= LONGEST:
        return text
    return f"{text[-LONGEST + 7 :].lstrip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def held_out(images: int) -> int:
    """How many of the training images, the last ones, no probe learns from: they choose how features are scaled."""
    return max(1, images // 8)


FILM = (
    "Left an image that is rolled around, then what the probe says of the horizontal and the vertical ramp: what stays "
    "comes from position, what travels along from the content."
)


def position_scores(curve: str | None) -> tuple[Score, ...]:
    """What every probe reports; the primary score is the mean over the two ramps on natural images."""
    measures: tuple[tuple[str, Literal["higher", "lower"]], ...] = (("spc", "higher"), ("mae", "lower"))
    each = [
        Score(f"score/{measure}_{name}_{shown}", better, f"{measure.upper()} {name.upper()}, {shown}", detail=True)
        for measure, better in measures
        for name in MAPS
        for shown in INPUTS
    ]
    return (
        Score(
            "score/spc",
            "higher",
            "SPC of H and V, natural images",
            primary=True,
            curve=curve,
            best=1.0,
            margin=Margin(0.05, "of a rank correlation from 0 to 1; paddings differ by tenths", fresh_from=1),
        ),
        Score("score/mae", "lower", "MAE of H and V, natural images"),
        *each,
    )


def table(scores: Mapping[str, float | None]) -> list[str]:
    """The scores as the paper's Table 1 lays them out: a row a map, SPC and MAE on each kind of image."""
    head = "".join(f"{shown:>9}" for shown in INPUTS)
    lines = [f"{'':6}{'SPC':38}MAE", f"{'':4}{head}  {head}"]
    for name in MAPS:
        parts = [[scores.get(f"score/{measure}_{name}_{shown}") for shown in INPUTS] for measure in ("spc", "mae")]
        cells = ["".join(f"{_number(value):>9}" for value in part) for part in parts]
        lines.append(f"{name.upper():4}{cells[0]}  {cells[1]}")
    rest = {tag: value for tag, value in scores.items() if not re.fullmatch(r"score/(spc|mae)_[a-z]+_[a-z]+", tag)}
    return [*lines, *(f"{tag:28} {_number(value)}" for tag, value in rest.items())]


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
