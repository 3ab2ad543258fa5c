"""What a VAE's latents and reconstructions know of the objects, beside what `sandbox.scores.objects` sees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8

from sandbox.data.shapes import Factors
from sandbox.scores.objects import parse

Codes = Float[np.ndarray, "n latent"]
# A missing object is worth a guess: pointing at the same object of another image costs 25.0 pixels on average.
GUESS = 25.0
ACTIVE = 0.01  # Burda, Grosse and Salakhutdinov 2016 (arXiv 1509.00519), section 5.2


@dataclass(frozen=True)
class PositionError:
    """See `position_error`.

    Attributes:
        errors: (n, 2) pixels, of the red and the blue object; of some of them alone (objects,), see `of`.
        located: whether each could be located.
        alike: whether each looks more like its own kind than like the other.
    """

    errors: Float64[np.ndarray, "*objects"]
    located: Bool[np.ndarray, "*objects"]
    alike: Bool[np.ndarray, "*objects"]

    @property
    def mean(self) -> float:
        """Mean over images and objects: the score."""
        return float(self.errors.mean())

    @property
    def missing(self) -> float:
        """Share of objects that could not be located, 0 to 1."""
        return float(1 - self.located.mean())

    @property
    def right_kind(self) -> float:
        """Share of objects that look more like their own kind than like the other, 0 to 1."""
        return float(self.alike.mean())

    def of(self, objects: Bool[np.ndarray, "n 2"]) -> "PositionError":
        """The same of some objects alone."""
        return PositionError(self.errors[objects], self.located[objects], self.alike[objects])


def position_error(images: UInt8[np.ndarray, "n 3 h w"], factors: Factors) -> PositionError:
    """Distance in pixels from each object's centroid to where it should be, lower is better. Definition: ours.

    An object that cannot be located (`Objects.located`) counts `GUESS` pixels, what pointing at the object of another
    image would cost: the score is defined for every network and leaving objects out never pays, on
    average. The data themselves score 0 while no object covers another.

    Args:
        images: reconstructions (n, 3, 64, 64).
        factors: of the images they should be.

    Raises:
        ValueError: the images are not (n, 3, 64, 64).
    """
    objects = parse(images)
    distance = np.linalg.norm(objects.centres - factors.centres, axis=-1)
    errors = np.where(objects.located, distance, GUESS)
    return PositionError(errors, objects.located, objects.kinds == factors.kinds)


def active_units(means: Codes) -> int:
    """Latents whose posterior mean varies over images by more than 0.01 (its variance): those that say something."""
    return int((means.var(axis=0) > ACTIVE).sum())


def targets(factors: Factors) -> dict[str, Float64[np.ndarray, " n"]]:
    """What a readout is asked for: row and column (pixels) and kind (0 or 1) of both objects."""
    found = {}
    for k, colour in enumerate(("red", "blue")):
        found[f"{colour}_row"], found[f"{colour}_column"] = factors.centres[:, k].T.astype(np.float64)
        found[f"{colour}_kind"] = factors.kinds[:, k].astype(np.float64)
    return found


def linear_readout(
    codes: Codes,
    wanted: Float64[np.ndarray, " n"],
    test_codes: Float[np.ndarray, "m latent"],
    test_wanted: Float64[np.ndarray, " m"],
) -> float:
    """R^2 on test data of least squares with an intercept, fitted on other data: 1 perfect, 0 the mean, or below.

    Args:
        codes, wanted: to fit on: (n, latent) and (n,).
        test_codes, test_wanted: to score: (m, latent) and (m,); NaN where the latter are all the same.
    """
    inputs, test_inputs = (np.column_stack([part, np.ones(len(part))]) for part in (codes, test_codes))
    weights, *_ = np.linalg.lstsq(inputs, wanted, rcond=None)
    spread = np.square(test_wanted - test_wanted.mean()).sum()
    missed = np.square(test_wanted - test_inputs @ weights).sum()
    return float(1 - missed / spread) if spread > 0 else float("nan")


def readouts(
    codes: Codes, factors: Factors, test_codes: Float[np.ndarray, "m latent"], test_factors: Factors
) -> dict[str, float]:
    """`linear_readout` of each of `targets`, and their means over the four coordinates and the two kinds."""
    wanted, tested = targets(factors), targets(test_factors)
    each = {name: linear_readout(codes, wanted[name], test_codes, tested[name]) for name in wanted}
    kinds = [value for name, value in each.items() if name.endswith("_kind")]
    places = [value for name, value in each.items() if not name.endswith("_kind")]
    return {"position": float(np.mean(places)), "kind": float(np.mean(kinds)), **each}
