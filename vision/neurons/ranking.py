"""Which channels hold position: those whose mean over the map changes when the image is mirrored.

Islam et al. 2021 (arXiv 2108.07884): channels ranked by the mean over images of |GAP(x) - GAP(mirrored x)|, GAP the
mean over all places; channels of a region by the mean of the signed difference. Left and right of our images do not
differ as those of the paper's streets do, so that this mean would be chance: ours compares the image that leans to the
left with the one that leans to the right, whichever of the two is the mirrored one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vision.classify.study import CHUNK, Examples

Maps = Callable[[Tensor], Tensor]  # images in [-1, 1] -> (b, c, h, w)


@dataclass(frozen=True)
class Channels:
    """What each channel's mean over the map, its pooled feature, does; all in the feature's own unit.

    Attributes:
        mirrored: mean over images of |image - mirrored image|.
        signed: mean over images of leaning left - leaning right.
        rolled: mean over images of |image - image rolled by half its width|. Rolling by whole strides is nothing to a
            network without a source of position.
        active: mean over images of the feature's size.
    """

    mirrored: Float[Tensor, " c"]
    signed: Float[Tensor, " c"]
    rolled: Float[Tensor, " c"]
    active: Float[Tensor, " c"]

    def orders(self) -> dict[str, Int64[Tensor, " c"]]:
        """The channels in the order in which they are zeroed, for each of `vision.neurons.spec.RANKINGS`."""
        keys = {"overall": self.mirrored, "left": self.signed, "right": -self.signed, "active": self.active}
        return {name: values.argsort(descending=True, stable=True) for name, values in keys.items()}

    def relative(self, difference: Float[Tensor, " c"]) -> float:
        """A difference, mean over channels, in units of the mean size of the features; 0 if all of them are 0."""
        return float(difference.mean() / self.active.mean().clamp_min(1e-12))


@torch.no_grad()
def measure(maps: Maps, examples: Examples, count: int) -> Channels:
    """What the channels of an encoder do with the first ``count`` images.

    Args:
        maps: the encoder.
        examples: label 0: the image leans to the left, 1: to the right.
        count: how many.
    """
    mirrored, signed, rolled, active = [], [], [], []
    for rows in examples.rows(count).split(CHUNK):
        images, right = examples.inputs(rows), examples.labels[rows].bool()[:, None]
        plain, other, moved = (
            maps(each).float().mean((2, 3)) for each in (images, images.flip(3), images.roll(images.shape[3] // 2, 3))
        )
        difference = plain - other
        mirrored.append(difference.abs())
        signed.append(torch.where(right, -difference, difference))
        rolled.append((plain - moved).abs())
        active.append(plain.abs())
    return Channels(*(torch.cat(parts).mean(0) for parts in (mirrored, signed, rolled, active)))
