"""How figures are drawn: one look for each arm, and the same bytes from the same data.

Arms differ in colour (Okabe and Ito's, which colour-blind eyes tell apart), line style and marker, so that a grey print
tells them apart too.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

Dash = str | tuple[int, tuple[int, ...]]


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))


_SETTINGS: Any = {
    "svg.hashsalt": "comparison",  # ids from the content, not from chance
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "savefig.facecolor": "white",
}


class Look(NamedTuple):
    """How an arm is drawn."""

    colour: str
    marker: str
    dash: Dash


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Arm -> look; from the eighth arm on colours come again, with another marker and line style."""
    turns = [(i % 7, i // 7) for i in range(len(arms))]
    return {arm: Look(COLOURS[i], MARKERS[(i + turn) % 7], DASHES[(i + 2 * turn) % 7])
            for arm, (i, turn) in zip(arms, turns, strict=True)}  # fmt: skip


def draw(make: Callable[[], Figure | None]) -> dict[str, bytes] | None:
    """The figure as ``png`` (160 dots an inch) and ``svg``; None where there is nothing to show."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in letters that the font lacks
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(_SETTINGS)
        figure = make()
        if figure is None:
            return None
        return {kind: _saved(figure, kind) for kind in ("png", "svg")}


def _saved(figure: Figure, kind: str) -> bytes:
    content = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(content, format=kind, dpi=160, metadata=metadata)
    return content.getvalue()
