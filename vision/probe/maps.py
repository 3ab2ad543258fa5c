"""What a position probe is asked for, and how its answers are scored.

Islam, Jia and Bruce 2020 (arXiv 2001.08248), section 3: five maps, the same for every image. Where the paper leaves a
choice open (the Gaussian's width, the stripes' wave, the resolution) ours is stated here.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from vision.probe.config import MAPS

SIGMA = 0.25  # of the Gaussian, in image edges
PERIODS = 2.5  # of the stripes, from edge to edge
FLAT = 1e-4  # an answer whose extremes differ by less is constant: the rest is rounding; the maps reach from 0 to 1

Maps = Float[Tensor, "m g g"]
Answers = Float[Tensor, "b m g g"]


def position_maps(grid: int) -> Maps:
    """The five maps in [0, 1], in the order of `MAPS`: ``(5, grid, grid)``.

    * H grows from left to right, V from top to bottom, both from 0 to 1;
    * G is 1 in the middle and falls as a Gaussian of standard deviation `SIGMA`;
    * HS are horizontal stripes, `PERIODS` periods of a sine from top to bottom; VS the same from left to right.
    """
    ramp = torch.linspace(0, 1, grid)
    wave = (1 + torch.sin(2 * math.pi * PERIODS * ramp)) / 2
    bell = torch.exp(-((ramp - 0.5) ** 2) / (2 * SIGMA**2))
    maps = {
        "h": ramp[None, :].expand(grid, grid), "v": ramp[:, None].expand(grid, grid),
        "g": bell[:, None] * bell[None, :],
        "hs": wave[:, None].expand(grid, grid), "vs": wave[None, :].expand(grid, grid),
    }  # fmt: skip
    return torch.stack([maps[name] for name in MAPS])


def rank_correlation(answers: Answers, maps: Maps) -> Float[np.ndarray, "b m"]:
    """Spearman's correlation over the places of each answer with its map; 0 where an answer is constant.

    Ties share their mean rank. Of a constant the correlation is undefined, and 0 is what it says about position.
    """
    said = answers.double().flatten(2).cpu().numpy()
    flat = np.ptp(said, axis=2) < FLAT
    ranks = [rankdata(values, axis=-1) for values in (said, maps.double().flatten(1).cpu().numpy())]
    a, b = (rank - rank.mean(-1, keepdims=True) for rank in ranks)
    lengths = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    correlation: Float[np.ndarray, "b m"] = np.where(flat, 0.0, (a * b).sum(-1) / np.maximum(lengths, 1e-12))
    return correlation


def mean_absolute_error(answers: Answers, maps: Maps) -> Float[np.ndarray, "b m"]:
    """Mean over places of the distance of each answer from its map, both in units of the map's range."""
    error: Float[np.ndarray, "b m"] = (answers - maps).abs().double().mean((2, 3)).cpu().numpy()
    return error
