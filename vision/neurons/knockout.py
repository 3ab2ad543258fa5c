"""What zeroing channels costs: mIoU against their number, of the whole image and of three regions."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from vision.classify.study import CHUNK
from vision.neurons.spec import RANKINGS
from vision.segment.config import REGIONS
from vision.segment.iou import confusion, mious

Head = Callable[[Tensor], Tensor]  # maps -> logits (b, classes, h, w)


@dataclass(frozen=True)
class Knockouts:
    """mIoU with channels zeroed.

    Attributes:
        counts: how many channels, ascending, from none to all.
        mious: way of choosing them -> (draws, counts, regions); one draw but at ``random``.
    """

    counts: Sequence[int]
    mious: Mapping[str, Float64[np.ndarray, "draws counts regions"]]

    def falls(self, count: int) -> dict[str, Float64[np.ndarray, "draws regions"]]:
        """How far mIoU falls from that of the whole network with ``count`` channels zeroed."""
        at = list(self.counts).index(count)
        return {name: values[:, 0] - values[:, at] for name, values in self.mious.items()}

    def csv(self) -> bytes:
        """A row for each ranking, number of channels and region: mean, and standard deviation over random draws."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("ranking", "channels", "region", "miou", "sd", "draws"))
        for name, values in self.mious.items():
            for k, count in enumerate(self.counts):
                for region, drawn in zip(REGIONS, values[:, k].T, strict=True):
                    sd = f"{drawn.std(ddof=1):.6f}" if len(drawn) > 1 else ""
                    rows.writerow((name, count, region, f"{drawn.mean():.6f}", sd, len(drawn)))
        return text.getvalue().encode()


def steps(channels: int, points: int, cut: float) -> list[int]:
    """How many channels are zeroed: ``points`` equal steps from none to all of them, and the share ``cut``."""
    return sorted({*(round(channels * k / points) for k in range(points + 1)), cut_off(channels, cut)})


def cut_off(channels: int, cut: float) -> int:
    """A share of the channels, at least one of them."""
    return max(1, round(channels * cut))


@torch.no_grad()
def answers(head: Head, maps: Float[Tensor, "b c h w"], zeroed: Int64[Tensor, " n"]) -> Int64[Tensor, "b _ _"]:
    """The likeliest class of every pixel with some channels zeroed."""
    kept = maps.clone()
    kept[:, zeroed] = 0
    said: Tensor = head(kept).argmax(1)
    return said


def knock_out(
    head: Head, maps: Float[Tensor, "n c h w"], truth: UInt8[Tensor, "n _ _"], classes: int,
    orders: Mapping[str, Sequence[Int64[Tensor, " c"]]], counts: Sequence[int],
) -> Knockouts:  # fmt: skip
    """Zeroes the first channels of each order.

    Args:
        head: from maps to logits.
        maps: of all images.
        truth: their masks.
        classes: how many.
        orders: way of choosing channels -> orders of them.
        counts: how many of each order, ascending, 0 the first.
    """
    known: dict[tuple[int, ...], Float64[np.ndarray, " regions"]] = {}

    def scored(zeroed: Int64[Tensor, " n"]) -> Float64[np.ndarray, " regions"]:
        key = tuple(sorted(zeroed.tolist()))  # none and all of them are the same in every order
        if key not in known:
            parts = zip(maps.split(CHUNK), truth.split(CHUNK), strict=True)
            known[key] = mious(torch.stack([confusion(answers(head, m, zeroed), t, classes) for m, t in parts]).sum(0))
        return known[key]

    found = {name: np.array([[scored(order[:count]) for count in counts] for order in each])
             for name, each in orders.items()}  # fmt: skip
    return Knockouts(counts, found)


def fall_scores(knockouts: Knockouts, count: int) -> dict[str, float]:
    """The scores of `Knockouts.falls`; see docs/metrics.md."""
    falls = knockouts.falls(count)
    means = {name: drawn.mean(0) for name, drawn in falls.items()}
    found = {f"score/fall_{name}_{region}": float(means[name][k])
             for name in (*RANKINGS, "random") for k, region in enumerate(REGIONS)}  # fmt: skip
    found["score/fall_random_sd"] = float(falls["random"][:, 0].std(ddof=1))
    found["score/excess"] = found["score/fall_overall_all"] - found["score/fall_random_all"]
    return found
