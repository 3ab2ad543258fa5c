"""What a run shows of knock-outs: mIoU against the number of zeroed channels, and what the network then says."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sandbox.film.cells import CELL, GAP, LABELS, shown
from sandbox.film.figures import draw, looks
from vision.neurons.knockout import Knockouts
from vision.segment.config import REGIONS

SHOWN = 5  # images below the curves of a film
_SIZE = 6.4, 4.6  # inches
_WIDTH, _HEIGHT = 0.40, 0.31  # of a panel's axes, shares of the figure
_CORNERS = ((0.09, 0.54), (0.58, 0.54), (0.09, 0.10), (0.58, 0.10))  # of the axes, lower left
_TITLES = {"all": "all columns", "left": "left half", "centre": "middle half", "right": "right half"}
_NAMES = {"overall": "top, mirrored", "left": "top, left", "right": "top, right", "active": "most active",
          "random": "random"}  # fmt: skip


def curves(knockouts: Knockouts) -> bytes:
    """A PNG: mIoU of all columns and of each region against the number of zeroed channels.

    Band around the random draws: their mean and standard deviation.
    """
    drawn = draw(lambda: _figure(knockouts))
    assert drawn is not None, "there is something to show"
    return drawn["png"]


def _figure(knockouts: Knockouts) -> Figure:
    figure, x = Figure(figsize=_SIZE), knockouts.counts
    look = looks(list(_NAMES))
    for k, region in enumerate(REGIONS):
        axes = figure.add_axes((*_CORNERS[k], _WIDTH, _HEIGHT))
        for name, values in knockouts.mious.items():
            mean, (colour, marker, dash) = values[:, :, k].mean(0), look[name]
            axes.plot(x, mean, color=colour, linestyle=dash, marker=marker, markersize=3, linewidth=1.2,
                      label=_NAMES[name])  # fmt: skip
            if len(values) > 1:
                sd = values[:, :, k].std(0, ddof=1)
                axes.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.18, linewidth=0)
        axes.set_title(f"mIoU, {_TITLES[region]}")
        axes.set_xlim(0, x[-1])
        axes.set_ylim(0, 1)
        if k >= 2:
            axes.set_xlabel("channels zeroed")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper center", ncols=len(_NAMES), frameon=False,
                  fontsize=8, handlelength=2.4, columnspacing=1.2)  # fmt: skip
    return figure


def frame(
    picture: bytes, count: int, channels: int, rows: Sequence[tuple[str, Float[Tensor, "n 3 h w"]]]
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame of the film: the curves with a line at the number of zeroed channels, pictures below.

    Args:
        picture: what `curves` gave.
        count: zeroed channels.
        channels: all of them.
        rows: name, and images in [0, 1].
    """
    width = LABELS + SHOWN * (CELL + GAP)
    with Image.open(io.BytesIO(picture)) as whole:
        height = round(width * whole.height / whole.width)
        head = whole.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (width, height + GAP + len(rows) * (CELL + GAP)), "white")
    canvas.paste(head, (0, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for left, bottom in _CORNERS:
        x = round(width * (left + _WIDTH * count / channels))
        draw.line((x, round(height * (1 - bottom - _HEIGHT)), x, round(height * (1 - bottom))), fill="#888888")
    for row, (name, images) in enumerate(rows):
        y = height + GAP + row * (CELL + GAP)
        draw.multiline_text((4, y + CELL // 2), name, "black", font, "lm")
        for k, image in enumerate(images):
            x = LABELS + k * (CELL + GAP)
            canvas.paste(Image.fromarray(shown(image)), (x, y))
            draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline="#c8c8c8")
    return np.asarray(canvas).copy()
