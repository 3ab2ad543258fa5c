"""Settings and scores of the VAE study. No torch here: `python -m sandbox.vae --help` reads this module alone."""

from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sandbox.base.types import CoordLayers, PaddingMode
from sandbox.data.shapes import FEW, Separation
from sandbox.experiment.config import Config
from sandbox.experiment.spec import Captions, Margin, Score, StudySpec, no_better_than

Decoder = Literal["matched", "broadcast"]
CoordIn = Literal["encoder", "decoder", "both"]
LikelihoodName = Literal["bernoulli", "gaussian", "gaussian_learned"]
Stem = Literal["dense", "tiled"]
Head = Literal["dense", "pooled"]
Split = Literal["uniform", "quadrant"]


class VaeConfig(Config):
    """A VAE run. Liu et al. 2018 publish neither architecture nor settings of theirs: all of these are ours."""

    DATA: ClassVar[tuple[str, ...]] = ("batch", "latent", "images", "separation", "split")

    decoder: Decoder = Field(
        "matched", description="matched: upsampling blocks; broadcast: the latent on every pixel (arXiv 1901.07017)"
    )
    coord_in: CoordIn = Field("both", description="which networks of the coord arm know coordinates")
    coord_layers: CoordLayers = Field(
        "all",
        description="which of their convolutions do: first, all, or names of layers (broadcast decoder: first)",
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    padding_mode: PaddingMode = Field("zeros", description="padding of every convolution")
    width: int = Field(16, ge=1, le=512, description="decoder channels at 64x64; broadcast: twice that in each layer")
    e_width: int = Field(16, ge=1, le=512, description="encoder channels at 32x32")
    stem: Stem = Field("dense", description="start of the matched decoder; tiled: one vector on all of 4x4")
    head: Head = Field("dense", description="encoder's end; pooled: the mean over 4x4, which has no place")
    latent: int = Field(10, ge=1, le=4096, description="size of the latent vector")
    likelihood: LikelihoodName = Field(
        "bernoulli",
        description="law of a pixel, 0 to 1; gaussian has sigma, gaussian_learned learns one for all",
    )
    sigma: float = Field(0.1, gt=0, le=10, description="standard deviation of the Gaussian; where it starts if learned")
    beta: float = Field(1.0, ge=0, le=1e4, description="weight of the KL divergence; 1 is the ELBO")
    warmup: float = Field(0.1, ge=0, le=1, description="first share of the steps over which beta rises from 0 (linear)")
    lr: float = Field(1e-3, gt=0, le=1, description="Adam learning rate")
    rise: float = Field(
        0.0, ge=0, le=1, description="first share of the steps over which the rate rises from 0 (linear)"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of the squared gradient")
    decay: float = Field(0.5, ge=0, le=1, description="last share of the steps over which the rate falls to 0 (cosine)")
    images: int = Field(50_000, ge=32, le=10**9, description="training images; image i is always the same")
    separation: Separation = Field(
        "clear", description="clear: objects never touch; paper: centres at least 20 px apart"
    )
    split: Split = Field(
        "uniform", description="quadrant: no object's centre lies in the lower right quadrant of a training image"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch > self.images:
            raise ValueError(f"batch ({self.batch}) must not exceed images ({self.images})")
        if self.decoder == "broadcast" and self.coord_in == "decoder" and self.coord_layers not in ("first", "all"):
            raise ValueError("coord_layers names layers: decoder broadcast knows coordinates at its first layer alone")
        if self.decoder == "broadcast" and self.stem == "tiled":
            raise ValueError("stem tiled is for decoder matched: broadcast tiles the latent anyway")
        return self

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether the two arms share topology and content weights at one seed."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_in", "coord_layers", "with_r")}
        return self.model_copy(update=fields) == other

    def shrunk(self) -> Self:
        """The recipe in seconds: thin networks."""
        return super().shrunk().model_copy(update={"width": 2, "e_width": 2, "images": 64})


_SEEN = (
    Score(
        "score/position_error",
        "lower",
        "position error (pixels)",
        primary=True,
        curve="preview/position_error",
        best=0.0,
        margin=Margin(0.05, "a twentieth of a pixel: no detector on 64 pixels needs more", fresh_from=8),
    ),
    Score("score/test_elbo", "higher", "test ELBO (nats per image)", curve="preview/elbo"),
    Score("score/reconstruction_valid", "higher", "valid reconstructions (share)"),
    Score("score/right_kind", "higher", "reconstructed objects of the right shape (share)"),
    Score("score/valid", "higher", "valid samples (share)", curve="preview/valid"),
    Score("score/coherence", "higher", "coherence of paths, prior (share)"),
    Score("score/image_coherence", "higher", "coherence of paths between images (share)"),
    Score("score/readout_position", "higher", "linear readout of positions (R^2)"),
    Score("score/readout_kind", "higher", "linear readout of shapes (R^2)"),
)
_UNSEEN = (
    Score(
        "score/unseen_position_error",
        "lower",
        "position error in the unseen quadrant (pixels)",
        primary=True,
        curve="preview/unseen_position_error",
        best=0.0,
        margin=Margin(1.0, "a pixel: a twentieth of an object's width"),
    ),
    Score("score/unseen_missing", "lower", "objects of the unseen quadrant that are not found (share)"),
    Score("score/unseen_right_kind", "higher", "objects of the unseen quadrant of the right shape (share)"),
)
_COPIES = (
    Score("score/new_valid", "higher", "valid samples that repeat no image of training (share)"),
    Score("score/copies", "lower", "valid samples that repeat an image of training (share of them)"),
    Score("score/nearest_training", "higher", "distance of valid samples to the nearest of training (pixels, median)"),
)


def scores(config: VaeConfig) -> tuple[Score, ...]:
    """The scores of a run; where training left a quadrant empty, what becomes of objects there comes first."""
    few = _COPIES if config.images <= FEW else ()
    if config.split == "uniform":
        return _SEEN + few
    return (*_UNSEEN, *(replace(score, primary=False, margin=None) for score in _SEEN), *few)


CAPTIONS = Captions(
    pictures={
        "places": "Where each arm errs: position error by where an object's centre is, from none, white, to ten pixels "
        "and more, black; the frame holds the quadrant that training left empty."
    },
    film="The arms side by side on the same latents and images: the first half of the walks goes through the prior, "
    "the second from held-out image to held-out image.",
)
SPEC = StudySpec(
    "vae", "beta-VAEs with matched and broadcast decoders on Sort-of-CLEVR, with walks between images",
    VaeConfig, scores, "vae.study:VaeStudy", CAPTIONS, default="vae/sort_of_clevr",
    failed=no_better_than("score/position_error", 20.0, "hardly an object is found: a collapse", "lower"),
)  # fmt: skip
