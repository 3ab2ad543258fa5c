"""Depth as grey pictures, and the curves of a box that moves away."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from sandbox.base.types import Picture
from sandbox.film.cells import shown
from sandbox.film.figures import draw, looks

_SIZE = 10.0, 4.0  # inches
_FAR = 10.0  # metres that are black
_NAMES = {"both": "position and size", "position": "position only", "size": "size only", "tilt": "tilt of the camera"}
Moved = Mapping[str, tuple[Float64[np.ndarray, "levels n"], Float64[np.ndarray, "levels n"]]]


def depth_picture(depths: Float[Tensor, "h w"]) -> UInt8[np.ndarray, "edge edge 3"]:
    """A depth map: white at the camera, black from ten metres on."""
    return shown(1 - depths.clamp(0, _FAR) / _FAR)


def curves(moved: Moved, rooms: Mapping[str, Picture]) -> bytes:
    """A PNG: estimated against true relative depth under each condition, beside a room under each.

    Args:
        moved: estimated and true depth by condition.
        rooms: a row of pictures by condition: three distances, each with its estimate.
    """
    drawn = draw(lambda: _figure(moved, rooms))
    assert drawn is not None, "there is something to show"
    return drawn["png"]


def _figure(moved: Moved, rooms: Mapping[str, Picture]) -> Figure:
    figure, look = Figure(figsize=_SIZE, layout="constrained"), looks(list(moved))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    left.plot([1, 3], [1, 3], color="#cccccc", linewidth=1)
    for name, (estimates, truth) in moved.items():
        x, y = truth / truth[0], estimates / estimates[0]
        colour, marker, dash = look[name]
        left.errorbar(np.nanmean(x, 1), np.nanmean(y, 1), np.nanstd(y, 1), color=colour, linestyle=dash, marker=marker,
                      markersize=4, capsize=2, label=_NAMES[name])  # fmt: skip
    left.set_xlabel("true relative depth")
    left.set_ylabel("estimated (mean and sd over rooms)")
    left.legend(frameon=False, fontsize=8)
    right.imshow(np.concatenate(list(rooms.values()), 0))
    height = next(iter(rooms.values())).shape[0]
    right.set_yticks([height * (k + 0.5) for k in range(len(rooms))], [_NAMES[name] for name in rooms], fontsize=8)
    right.set_xticks([])
    right.grid(False)
    right.set_title("relative distance 1, 2, 3, each beside the estimate", fontsize=8)
    return figure
