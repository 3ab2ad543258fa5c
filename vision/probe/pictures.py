"""What a probe's run shows: images, and beside each the five maps that the probe reads in its features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sandbox.film.cells import CELL, GAP, LABELS, in_a_row, shown
from vision.probe.config import MAPS

Sheet = UInt8[np.ndarray, "h w 3"]


def sheet(maps: Float[Tensor, "5 g g"], rows: Sequence[tuple[str, Tensor | None, Float[Tensor, "5 g g"]]]) -> Sheet:
    """A table of pictures: first the maps that are asked for, then for each image what the probe says.

    Args:
        maps: the targets.
        rows: name, image in [0, 1] or None, and the five answers.
    """
    columns = ["", *(name.upper() for name in MAPS)]
    lines = [("asked for", None, maps), *rows]
    step = CELL + GAP
    canvas = Image.new("RGB", (LABELS + len(columns) * step + GAP, 20 + len(lines) * step + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for k, name in enumerate(columns):
        draw.text((LABELS + k * step + step // 2, 11), name, "black", font, "mm")
    for row, (name, image, answers) in enumerate(lines):
        y = 20 + row * step
        draw.text((4, y + CELL // 2), name, "black", font, "lm")
        for k, values in enumerate([image, *answers]):
            if values is not None:
                canvas.paste(Image.fromarray(shown(values)), (LABELS + GAP + k * step, y))
    return np.asarray(canvas).copy()


def strip(image: Tensor, answers: Float[Tensor, "5 g g"]) -> UInt8[np.ndarray, "3 h w"]:
    """A frame of a film: the image, what the probe says of H, what of V."""
    parts = [shown(image), shown(answers[0]), shown(answers[1])]
    return np.ascontiguousarray(in_a_row(parts).transpose(2, 0, 1))
