"""Settings and scores of location classification. No torch here: `--task location --help` reads this module alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from sandbox.base.types import Padding
from sandbox.experiment.config import PathText
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than
from vision.classify.config import NETWORK_HELP, PADDING_HELP, ClassifierConfig, Network

TILE = 32  # pixels along a tile's edge
Asks = Literal["location", "recognition"]
Head = Literal["gap", "permute", "linear"]
PAPER = "Islam et al. 2021"


class LocationConfig(ClassifierConfig):
    """A tile on an empty canvas (Islam et al. 2021, arXiv 2108.07884); the help says where we differ."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "asks", "objects", "grid", "data", "images", "test_images")
    PLACES: ClassVar[tuple[str, ...]] = ("data_root",)
    task_field: ClassVar[str] = "asks"

    task: Literal["location"] = Field("location", description="where on a canvas a tile lies, or what it shows")
    asks: Asks = Field("location", description="the class: the tile's cell, or what it shows")
    objects: Literal["1", "2"] = Field(
        "2", description="of how many recognition tells square from disc (data shapes): both, four classes, or the "
        "blue one, two",
    )  # fmt: skip
    grid: Literal["3", "5", "7"] = Field("3", description=f"cells along the canvas's edge, {TILE} pixels each")
    head: Head = Field(
        "gap", description="gap: 3x3 convolution to the classes, global mean (GAPNet); permute: global mean, channels "
        "in an order drawn anew at every forward pass, dense layer (PermuteNet); linear: the same without permutation",
    )  # fmt: skip
    network: Network = Field("small", description=f"{NETWORK_HELP} ({PAPER})")
    padding: Padding = Field("zeros", description=PADDING_HELP)
    width: int = Field(8, ge=1, le=256, description="channels of the small network's first stage, doubled three times")
    data: Literal["shapes", "cifar10"] = Field(
        "shapes", description=f"tiles: Sort-of-CLEVR at half its size, or CIFAR-10 ({PAPER})"
    )
    data_root: PathText = Field("data", description="folder that holds cifar-10-batches-py (data cifar10)")
    images: int = Field(4608, ge=32, le=10**9, description="training tiles, one canvas each, in one cell after another")
    test_images: int = Field(32, ge=2, le=10**4, description="held-out tiles, each shown in every cell")
    steps: int = Field(300, ge=1, le=10**9, description=f"training steps ({PAPER}: 20 epochs)")
    batch: int = Field(32, ge=2, le=2**20, description=f"images in a step ({PAPER}: 48)")
    lr: float = Field(3e-3, gt=0, le=1, description=f"Adam learning rate ({PAPER}: 1e-3; recognition .01)")
    beta1: float = Field(0.9, ge=0, lt=1, description=f"Adam's decay of the mean gradient ({PAPER}: 0.5)")

    @property
    def size(self) -> int:
        """Pixels along the canvas's edge."""
        return TILE * int(self.grid)

    @property
    def cells(self) -> int:
        """Of the canvas."""
        return int(self.grid) ** 2

    @property
    def classes(self) -> int:
        """What is told apart: cells, kinds of tiles (one object or two, square or disc each) or CIFAR-10's classes."""
        if self.asks == "location":
            return self.cells
        return 2 ** int(self.objects) if self.data == "shapes" else 10

    @property
    def data_note(self) -> str:
        """Which tiles."""
        return f"Tiles: {'shapes on white' if self.data == 'shapes' else 'CIFAR-10'}, on a canvas of zeros."

    def shrunk(self) -> Self:
        """The recipe in seconds: a thin network."""
        return super().shrunk().model_copy(update={"width": 2})


SCORES = (
    Score("score/test_accuracy", "higher", "test accuracy (share)", primary=True, curve="preview/test_accuracy",
          best=1.0, worst=0.0, margin=Margin(0.01, "one image in a hundred", fresh_from=1),
          training="score/train_accuracy"),
    Score("score/train_accuracy", "higher", "training accuracy (share)"),
)  # fmt: skip
CAPTIONS = Captions(film="A canvas that rolls around, the same in every arm, beside the shares of its classes.")
SPEC = StudySpec(
    "vision.location", "where on a canvas a tile lies, told from pooled features: GAPNet, PermuteNet, a control",
    LocationConfig, SCORES, "vision.location.study:LocationStudy", CAPTIONS,
    failed=no_better_than("score/test_accuracy", lambda config: 1.5 / config.classes, "chance level"),
)  # fmt: skip
