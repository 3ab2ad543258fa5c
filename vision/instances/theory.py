"""What symmetry alone says of identical discs on a grid, and what a network makes of it, whatever its weights.

A network of total stride s that pads circularly and knows no coordinates commutes with shifts by s pixels. A grid is
itself when shifted by its spacing, so that two discs get the same embedding where their places agree modulo s along
both axes: along an axis there are s / gcd(spacing, s) kinds of discs, its phases. Rumberger et al. 2021 (arXiv
2101.05846) prove the bound behind it: f^(d l) objects at most, of l poolings by f in d dimensions.
"""

import csv
import io
import math
import statistics
from math import gcd

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.nn.seeding import seed_parameters
from vision.instances.losses import means_of
from vision.instances.networks import InstanceNet
from vision.instances.scenes import make_scenes
from vision.instances.spec import RADIUS, STRIDE, InstancesConfig, grid_size

BOUND = STRIDE**2  # f^(d l): 2^(2 x 3)
_ROUNDING = 1e-3  # differences below this share of the spread of all vectors are rounding


def phases(spacing: int) -> int:
    """Kinds of discs along an axis that a network without position can tell apart."""
    return STRIDE // gcd(spacing, STRIDE)


def expected_share(spacing: int, size: int) -> float:
    """The share of pairs of discs whose embeddings can differ in a circular network without coordinates."""
    along = size // spacing
    discs, alike = along**2, (along // phases(spacing)) ** 2  # a canvas of whole strides holds each kind equally often
    return (discs - alike) / (discs - 1)


def mean_vectors(vectors: Float[Tensor, "b d h w"], ids: UInt8[Tensor, "b h w"]) -> Float[Tensor, "b k d"]:
    """The mean embedding of each object, in the order of their numbers; in double precision."""
    labels = ids.flatten(1).long()
    return means_of(vectors.flatten(2).double(), labels, int(labels.amax()))[0]


def distinct_share(vectors: Float[Tensor, "b d h w"], ids: UInt8[Tensor, "b h w"]) -> float:
    """The share of pairs of objects whose mean embeddings differ by more than rounding; mean over images with pairs.

    Rounding is a thousandth of the root mean square distance of all pixels' vectors from their mean.
    """
    shares = []
    for each, numbers in zip(vectors.split(1), ids.split(1), strict=True):
        spread = each.double().var((2, 3), correction=0).sum().sqrt()
        if int(numbers.amax()) > 1:
            gaps = torch.pdist(mean_vectors(each, numbers)[0])
            shares.append(float((gaps > _ROUNDING * spread).double().mean()))
    return statistics.fmean(shares) if shares else math.nan


def kinds(centres: Int64[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
    """Which discs symmetry makes alike: those of one number."""
    return np.asarray((centres % STRIDE) @ np.array([STRIDE, 1]))


def untrained(config: InstancesConfig, spacing: int) -> float:
    """`distinct_share` of a configuration's network as it is seeded, on one grid of some spacing."""
    own = config.model_copy(update={"spacing": spacing, "images": 1, "test_images": 1})
    network = InstanceNet(own)
    seed_parameters(network, config.seed, "network")
    _, scenes, _ = make_scenes(own, torch.device("cpu"))
    with torch.no_grad():
        out = network.eval()(scenes.inputs(scenes.rows()))
    return distinct_share(out[:, :-1], scenes.ids)


def table(config: InstancesConfig) -> bytes:
    """A row for each spacing: what symmetry allows without a source of position, and `untrained`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("spacing", "canvas", "discs", "phases_an_axis", "allowed", "untrained"))
    for spacing in range(2 * RADIUS + 2, 33):
        size = grid_size(spacing)
        allowed, found = expected_share(spacing, size), untrained(config, spacing)
        rows.writerow((spacing, size, (size // spacing) ** 2, phases(spacing), f"{allowed:.6f}", f"{found:.6f}"))
    return text.getvalue().encode()
