"""Settings and scores of the vision study. No torch here: `python -m sandbox.vision --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import CoordLayers, PaddingMode
from sandbox.experiment.config import Config
from sandbox.experiment.spec import Captions, Margin, Score, Scored, StudySpec, no_better_than

Task = Literal["classification", "regression", "rendering"]
SplitName = Literal["uniform", "quadrant"]
Stem = Literal["dense", "tiled"]
Pooling = Literal["max", "mean", "dense"]
Downsampling = Literal["none", "pool", "stride"]
SMALLEST_TRAINING_SET = 2407  # of the quadrant split; the uniform one has 2509


class VisionConfig(Config):
    """A run of a coordinate task. Defaults are the paper's where it states them.

    Fields that a task or an architecture has no use for change nothing there; the help says whose they are.
    """

    config_field: ClassVar[str | None] = "task"
    task_field: ClassVar[str] = "split"
    DATA: ClassVar[tuple[str, ...]] = ("batch", "task", "split")

    task: Task = Field("classification", description="what is learned; without --config it also chooses the YAML file")
    split: SplitName = Field("uniform", description="uniform: a random fifth tests; quadrant: an unseen quarter does")
    architecture: Literal["matched", "paper"] = Field(
        "paper", description="matched: one topology in both arms; paper: the two published networks"
    )
    coord_layers: CoordLayers = Field(
        "all", description="which convolutions know coordinates: first, all, or names of layers (matched only)"
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    padding_mode: PaddingMode = Field("zeros", description="padding of convolutions (not of transposed ones)")
    fs: int = Field(3, ge=1, le=9, description="kernel of the published plain networks (transposed: 2 to 4 were tried)")
    c: int = Field(1, ge=1, le=16, description="channel multiplier of the published networks")
    width: int = Field(16, ge=1, le=256, description="channels of the matched networks at 64x64")
    stem: Stem = Field(
        "dense", description="start of a matched painter; tiled: one vector on all of 4x4, which has no place"
    )
    pooling: Pooling = Field("max", description="end of a regression network: global max or mean, or dense layers")
    relu: bool = Field(False, description="ReLU between the convolutions of a regression network")
    downsampling: Downsampling = Field(
        "none", description="of a regression network: max-pools or strides of 2 in its first three layers"
    )
    centre_weight: float = Field(
        0.0, ge=0, le=1000,
        description="weight of the classification loss on the softmax inside the published rendering network",
    )  # fmt: skip
    gain: float = Field(
        0.577, gt=0, le=10, description="of the initial weights; 0.577: torch's own law; 1.414 keeps a ReLU's variance"
    )
    brush_gain: float = Field(
        1.414, gt=0, le=10, description="gain of the layers behind the softmax of the published rendering network"
    )
    lr: float = Field(5e-3, gt=0, le=1, description="Adam learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of the squared gradient")
    l2: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of the L2 penalty, as Adam's weight_decay (published renderer: before its softmax only)",
    )
    decay: float = Field(0.0, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")
    score_every: int = Field(
        25, ge=1, le=10**9, description="steps between two looks whether every test position is right (classification)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.architecture == "paper" and self.coord_layers not in ("first", "all"):
            raise ValueError("coord_layers names layers: that is for architecture matched, not paper")
        if self.batch > SMALLEST_TRAINING_SET:
            raise ValueError(f"batch ({self.batch}) must not exceed the training set ({SMALLEST_TRAINING_SET} images)")
        return self

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ; the published networks of the two arms differ in far more."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_layers", "with_r")}
        return self.architecture == "matched" and self.model_copy(update=fields) == other

    def shrunk(self) -> Self:
        """The recipe in seconds: thin networks."""
        return super().shrunk().model_copy(update={"width": 2, "c": 1, "score_every": 2})


_SCORES: dict[Task, tuple[Score, ...]] = {
    "classification": (
        Score(
            "score/test_accuracy",
            "higher",
            "test accuracy (share)",
            primary=True,
            curve="preview/test_accuracy",
            training="score/train_accuracy",
            best=1.0,
            worst=0.0,
            margin=Margin(0.01, "one position in a hundred", fresh_from=10),
        ),
        Score("score/train_accuracy", "higher", "training accuracy (share)"),
        Score("score/test_distance", "lower", "distance of the guess, test (pixels)"),
        Score("score/train_distance", "lower", "distance of the guess, training (pixels)"),
        Score("score/seconds_to_perfect", "lower", "seconds to 100 % test accuracy"),
        Score("score/steps_to_perfect", "lower", "steps to 100 % test accuracy"),
    ),
    "regression": (
        Score(
            "score/test_error",
            "lower",
            "test error (pixels)",
            primary=True,
            curve="preview/test_error",
            training="score/train_error",
            best=0.0,
            margin=Margin(0.05, "a twentieth of a pixel", fresh_from=6),
        ),
        Score("score/train_error", "lower", "training error (pixels)"),
        Score("score/test_error_worst", "lower", "worst test error (pixels)"),
        Score("score/train_error_worst", "lower", "worst training error (pixels)"),
    ),
    "rendering": (
        Score(
            "score/test_iou", "higher", "test IoU", primary=True, curve="preview/test_iou", training="score/train_iou",
            best=1.0, worst=0.0, margin=Margin(0.02, "of an intersection over union from 0 to 1", fresh_from=5),
        ),
        Score("score/train_iou", "higher", "training IoU"),
        Score("score/test_iou_worst", "higher", "worst test IoU"),
        Score("score/train_iou_worst", "higher", "worst training IoU"),
    ),
}  # fmt: skip


def scores(config: VisionConfig) -> tuple[Score, ...]:
    """The scores of a run's task."""
    return _SCORES[config.task]


_FAILS = {
    "classification": no_better_than("score/test_accuracy", 0.01, "chance level is .0007"),
    "regression": no_better_than("score/test_error", 20.0, "the guess of the middle misses by 21", "lower"),
    "rendering": no_better_than("score/test_iou", 0.05, "nothing is drawn where it belongs"),
}


def failed(config: VisionConfig, scores: Scored) -> str:
    """What is wrong with a run that has learned nothing."""
    return _FAILS[config.task](config, scores)


CAPTIONS = Captions(film="The arms side by side on the same walks: orange what is asked for, blue what is said.")
SPEC = StudySpec(
    "vision", "the paper's coordinate tasks: classification, regression, rendering of one position",
    VisionConfig, scores, "vision.coordinates.study:VisionStudy", CAPTIONS, default="vision/classification",
    failed=failed,
)  # fmt: skip
