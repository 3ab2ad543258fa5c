"""What a probe's run shows: images, and beside each the five maps that the probe reads in its features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vision.probe.config import MAPS

CELL, GAP, LABELS = 84, 4, 64  # pixels: of a picture's edge, between two, of the column of names
Sheet = UInt8[np.ndarray, "h w 3"]


def shown(values: Float[Tensor, "*c h w"], edge: int = CELL) -> UInt8[np.ndarray, "edge edge 3"]:
    """A grey map or an RGB image in [0, 1] at ``edge`` x ``edge`` pixels; what lies outside is cut off."""
    array = (values.float().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    picture = Image.fromarray(array) if array.ndim == 2 else Image.fromarray(np.moveaxis(array, 0, -1))
    nearest = Image.Resampling.NEAREST
    return np.asarray(picture.convert("RGB").resize((edge, edge), nearest)).copy()


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


def beside_each_other(maps: Sequence[Float[Tensor, "_ _"]], edge: int = 2 * CELL) -> Sheet:
    """Maps in [0, 1], of any sizes, each ``edge`` pixels wide, in a row."""
    line = np.full((edge, GAP, 3), 200, np.uint8)
    return np.concatenate([part for values in maps for part in (line, shown(values, edge))][1:], 1)


def strip(image: Tensor, answers: Float[Tensor, "5 g g"]) -> UInt8[np.ndarray, "3 h w"]:
    """A frame of a film: the image, what the probe says of H, what of V."""
    line = np.full((CELL, GAP, 3), 200, np.uint8)
    parts = [shown(image), line, shown(answers[0]), line, shown(answers[1])]
    return np.ascontiguousarray(np.concatenate(parts, 1).transpose(2, 0, 1))
