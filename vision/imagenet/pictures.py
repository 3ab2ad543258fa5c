"""Pictures with the class that a network gives them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sandbox.base.types import Picture
from sandbox.film.cells import in_rows, shown

EDGE, LINE = 126, 16  # pixels: of a picture, of a line of text
_LETTERS = 20  # of a class's name that fit below a picture
_RIGHT, _WRONG = "#1a7f37", "#b42318"


def labelled(
    images: UInt8[Tensor, "n 3 h w"],
    shares: Float[Tensor, "n classes"],
    truth: Int64[Tensor, " n"],
    classes: Sequence[str],
    columns: int = 4,
) -> Picture:
    """Pictures in rows, the likeliest class and its share below each: green where right, else red above the truth.

    Args:
        images: as bytes; one whose label is negative could not be read.
        shares: softmax of the logits.
        truth: the right classes.
        classes: their names.
        columns: in a row.
    """
    cells = []
    for image, row, right in zip(images, shares, truth.tolist(), strict=True):
        cell = Image.new("RGB", (EDGE, EDGE + 2 * LINE), "white")
        cell.paste(Image.fromarray(shown(image.float() / 255, EDGE)))
        draw, best = ImageDraw.Draw(cell), int(row.argmax())
        font = ImageFont.load_default(11)
        if right < 0:
            draw.text((2, EDGE + 1), "cannot be read", _WRONG, font)
        else:
            colour = _RIGHT if best == right else _WRONG
            draw.text((2, EDGE + 1), f"{_short(classes[best])} {float(row[best]):.2f}", colour, font)
            if best != right:
                draw.text((2, EDGE + LINE), f"is {_short(classes[right])}", "black", font)
        cells.append(np.asarray(cell))
    return in_rows(cells, columns)


def _short(name: str) -> str:
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
