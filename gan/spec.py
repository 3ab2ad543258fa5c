"""Settings and scores of the GAN study. No torch here: `python -m sandbox.gan --help` reads this module alone."""

from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import CoordLayers, Law, PaddingMode
from sandbox.data.shapes import FEW, Separation
from sandbox.experiment.config import Config, PathText
from sandbox.experiment.spec import Margin, Score, StudySpec, no_better_than

Loss = Literal["nonsaturating", "relativistic", "hinge", "paper"]
Stem = Literal["dense", "tiled"]
Head = Literal["dense", "pooled"]
Data = Literal["shapes", "rooms", "lsun"]
Category = Literal[
    "bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room",
    "restaurant", "tower", "drawn_bedroom",
]  # fmt: skip


class GanConfig(Config):
    """A GAN run. Defaults are the paper's where it states them; the YAML files say where they leave it, and why."""

    DATA: ClassVar[tuple[str, ...]] = (
        "batch", "g_steps", "latent", "latent_law", "images", "separation", "data", "category", "size",
    )  # fmt: skip
    PLACES: ClassVar[tuple[str, ...]] = ("data_root", "data_cache", "fid_weights", "megapixels")

    architecture: Literal["matched", "paper"] = Field(
        "matched", description="matched: one topology in both arms; paper: the two published networks"
    )
    coord_in: Literal["g", "d", "gd"] = Field("gd", description="which networks of the coord arm know coordinates")
    coord_layers: CoordLayers = Field(
        "all", description="which of their convolutions do: first, all, or names of layers (matched only)"
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    before_tanh: bool = Field(
        False, description="the discriminator sees the published coordinate generator's output before tanh, as released"
    )
    padding_mode: PaddingMode = Field("zeros", description="padding of every convolution (not of transposed ones)")
    width: int = Field(16, ge=1, le=512, description="generator channels at the image's size (matched only)")
    d_width: int = Field(32, ge=1, le=512, description="discriminator channels at half the size (matched only)")
    stem: Stem = Field(
        "dense", description="generator's start; tiled: one vector on all of 4x4, which has no place (matched only)"
    )
    head: Head = Field(
        "dense", description="discriminator's end; pooled: the mean over 4x4, which has no place (matched only)"
    )
    latent: int = Field(256, ge=1, le=4096, description="size of the latent vector")
    latent_law: Law = Field("uniform", description="prior of the latents: normal, or uniform in (-1, 1)")
    loss: Loss = Field("nonsaturating", description="hinge brings spectral norm, relativistic is R3GAN's")
    gamma: float = Field(1.0, ge=0, le=1e4, description="weight of the gradient penalty, times a half")
    penalty_every: int = Field(8, ge=1, le=1000, description="steps between two penalties, each weighted as many times")
    g_steps: int = Field(1, ge=1, le=10, description="generator updates a step, beside one of the discriminator")
    lr_g: float = Field(5e-4, gt=0, le=1, description="Adam learning rate of the generator")
    lr_d: float = Field(1e-4, gt=0, le=1, description="Adam learning rate of the discriminator")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of the squared gradient")
    decay: float = Field(0.0, ge=0, le=1, description="last share of the steps over which the rates fall to 0 (cosine)")
    ema: float = Field(0.995, ge=0, lt=1, description="decay a step of the averaged generator, which makes the samples")
    images: int = Field(50_000, ge=32, le=10**9, description="training images; image i is always the same")
    copies: Literal["allowed", "excluded"] = Field(
        "allowed",
        description="excluded: valid samples that repeat a training image do not count (shapes, few images)",
    )
    separation: Separation = Field(
        "clear", description="clear: objects never touch; paper: centres at least 20 px apart (shapes)"
    )
    data: Data = Field("shapes", description="shapes: Sort-of-CLEVR; rooms: drawn bedrooms; lsun: photographs on disk")
    size: int = Field(64, ge=16, le=512, description="pixels along an image's edge, a power of two (shapes: 64)")
    data_root: PathText = Field(
        "data/lsun", description="folder of CATEGORY_train_lmdb, or of images (lsun)",
    )  # fmt: skip
    data_cache: PathText = Field(
        "", description="folder for the resized images; nothing: beside the data (lsun)",
    )  # fmt: skip
    fid_weights: PathText = Field(
        "", description="file of Inception weights: FID and KID are scored too (rooms, lsun); see the README",
    )  # fmt: skip
    megapixels: int = Field(64, ge=1, le=178, description="pictures that are larger are left out (lsun)")
    category: Category = Field("bedroom", description="which of LSUN's scenes; drawn_bedroom: the stand-in (lsun)")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch > self.images:
            raise ValueError(f"batch ({self.batch}) must not exceed images ({self.images})")
        if self.size & (self.size - 1):
            raise ValueError(f"size is {self.size}: allowed are 16, 32, 64, 128, 256, 512")
        if self.size != 64 and (self.data == "shapes" or self.architecture == "paper"):
            raise ValueError(f"size is {self.size}: data shapes and architecture paper know 64 alone")
        if self.fid_weights and self.data == "shapes":
            raise ValueError("fid_weights is for data rooms and lsun: in shapes the objects themselves are read")
        if self.copies == "excluded" and (self.data != "shapes" or self.images > FEW):
            raise ValueError(f"copies excluded is for data shapes and at most {FEW} images, here are {self.images}")
        if self.architecture == "paper" and self.coord_layers not in ("first", "all"):
            raise ValueError("coord_layers names layers: that is for architecture matched, not paper")
        if self.architecture == "paper" and (self.stem, self.head) != ("dense", "dense"):
            raise ValueError("stem tiled and head pooled are for architecture matched, not paper")
        if self.before_tanh and not (self.architecture == "paper" and self.coord and "g" in self.coord_in):
            raise ValueError(
                "before_tanh is for architecture paper with coordinates in the generator; --no-before-tanh puts it off"
            )
        return self

    @property
    def data_note(self) -> str:
        """Which scenes: nobody must take drawn rooms for LSUN, nor any folder for it; a run tells its content."""
        stand_in = self.category == "drawn_bedroom"
        notes = {
            "rooms": "Data: drawn rooms, a stand-in for LSUN.",
            "lsun": "Data: drawn rooms in LSUN's format, a stand-in for it." if stand_in
            else f"Data: images on the disk under the name {self.category}.",
        }  # fmt: skip
        return notes.get(self.data, "")

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ; the published networks differ in far more."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_in", "coord_layers", "with_r")}
        return self.architecture == "matched" and self.model_copy(update=fields) == other

    @property
    def cycle(self) -> int:
        """Every so many steps the discriminator takes its penalty."""
        return self.penalty_every

    def shrunk(self) -> Self:
        """The recipe in seconds: thin networks, a penalty within the few steps."""
        return super().shrunk().model_copy(update={"width": 2, "d_width": 2, "images": 64, "penalty_every": 2})


_SHAPES = (
    Score(
        "score/valid",
        "higher",
        "valid images (share)",
        primary=True,
        curve="preview/valid",
        best=1.0,
        worst=0.0,
        margin=Margin(0.1, "one image in ten: less is not seen in a grid of 64", fresh_from=8),
    ),
    Score("score/position_divergence", "lower", "position divergence (nats)"),
    Score("score/coherence", "higher", "coherence of paths (share)"),
    Score("score/located", "higher", "located images (share)"),
)
_NEW = (
    replace(_SHAPES[0], tag="score/new_valid", name="valid images that repeat none of training (share)",
            curve="preview/new_valid", margin=Margin(0.1, "one image in ten: less is not seen in a grid of 64")),
    Score("score/copies", "lower", "valid images that repeat one of training (share of them)"),
    Score("score/nearest_training", "higher", "distance of valid images to the nearest of training (pixels, median)"),
    replace(_SHAPES[0], primary=False, margin=None),
    *_SHAPES[1:],
)  # fmt: skip
# None of these needs downloaded weights; docs/metrics.md says what each can and cannot tell.
_SCENES = (
    Score("score/room_kid", "lower", "own-feature distance (room_kid)", primary=True, curve="preview/room_kid"),
    Score("score/warp_coherence", "higher", "coherence of paths by warp (share)"),
    Score("score/brightness_distance", "lower", "distance of brightness (grey levels)"),
    Score("score/contrast_distance", "lower", "distance of contrast (grey levels)"),
    Score("score/edges_distance", "lower", "distance of edges (grey levels)"),
)
_INCEPTION = (
    Score("score/fid", "lower", "FID (Inception)"),
    Score("score/kid", "lower", "KID (Inception)"),
)


def scores(config: GanConfig) -> tuple[Score, ...]:
    """The scores of a run's data: what objects are where, or distances of scenes."""
    if config.data == "shapes":
        return _SHAPES if config.copies == "allowed" else _NEW
    return _SCENES + _INCEPTION if config.fid_weights else _SCENES


SPEC = StudySpec(
    "gan", "generators and discriminators on Sort-of-CLEVR, rooms or LSUN, with latent-interpolation GIFs",
    GanConfig, scores, "gan.study:GanStudy", default="gan/sort_of_clevr",
    failed=no_better_than("score/valid", 0.02, "a collapse: hardly an image has two objects"),
)  # fmt: skip
