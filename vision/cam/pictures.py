"""What a run shows: an image, its class activation map, its crop, the crop's map, and how far the region moved."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sandbox.base.types import Picture
from sandbox.film.cells import GAP, in_a_row, shown
from vision.cam.crops import Crop, Window, centre
from vision.cam.fields import Receptive

EDGE = 96  # pixels of a picture's edge: four of them still read well at the width that a report has for an arm
_LINE = 16  # pixels of a line of text
_ORANGE, _GREY, _INK, _FRAME = np.array([230, 100, 0]), 225, "#0057b8", "#b0b0b0"
_TITLES = ("image", "map of the image", "crop", "map of the crop")


@dataclass(frozen=True)
class Shown:
    """A row of the picture.

    Attributes:
        image: in [0, 1], square.
        crop: what was cut off.
        maps: of the image and of the crop.
        window: the cells that are compared, of the image and in the crop.
        displacement, correlation: of these; not a number where undefined.
    """

    image: Float[Tensor, "3 h w"]
    crop: Crop
    maps: tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows2 columns2"]]
    window: Window
    displacement: float
    correlation: float


def heated(image: Float[Tensor, "3 h w"], map_: Float[Tensor, "rows columns"], stride: int) -> Float[Tensor, "3 h w"]:
    """A faded grey image under its map: orange where the map is at its maximum, nothing where it is 0.

    Args:
        image: in [0, 1].
        map_: 0 and up, a cell each ``stride`` pixels.
        stride: pixels of a cell.
    """
    share = map_ / map_.amax().clamp_min(1e-12)
    share = share.repeat_interleave(stride, 0).repeat_interleave(stride, 1)[: image.shape[1], : image.shape[2]]
    whole = torch.zeros(image.shape[1:], device=image.device)
    whole[: share.shape[0], : share.shape[1]] = share
    grey = 0.45 + 0.55 * image.mean(0, keepdim=True).expand(3, -1, -1)
    ink = torch.from_numpy(_ORANGE).to(image)[:, None, None] / 255
    return torch.lerp(grey, ink.expand_as(grey), whole[None])


def frame(image: Float[Tensor, "3 h w"], map_: Float[Tensor, "rows columns"], stride: int) -> Picture:
    """A frame of a film: an image, and the same under its map."""
    return in_a_row([shown(image, EDGE), shown(heated(image, map_, stride), EDGE)])


def sheet(rows: list[Shown], field: Receptive) -> Picture:
    """All rows under their titles, a legend below.

    Args:
        rows: what to show.
        field: of the maps' cells.
    """
    step, line = EDGE + GAP, EDGE + GAP + _LINE
    width, height = 4 * step + GAP, _LINE + len(rows) * line + 3 * _LINE + GAP
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for k, title in enumerate(_TITLES):
        draw.text((GAP + k * step + EDGE // 2, _LINE // 2), title, "black", font, "mm")
    for k, row in enumerate(rows):
        y = _LINE + k * line
        draw.text((GAP, y + _LINE // 2), _said(row), "black", font, "lm")
        y += _LINE
        for column, part in enumerate(_parts(row, field.stride)):
            x = GAP + column * step
            canvas.paste(Image.fromarray(shown(part, EDGE)), (x, y))
            draw.rectangle((x, y, x + EDGE - 1, y + EDGE - 1), outline=_FRAME)
        for column in (1, 3):
            _mark(draw, (GAP + column * step, y), row, field, crop=column == 3)
    _legend(draw, font, height - 3 * _LINE)
    return np.asarray(canvas).copy()


def _parts(row: Shown, stride: int) -> list[Float[Tensor, "3 h w"]]:
    """Image, its map, crop, its map, the latter two where they lie in the image."""
    low, high = row.crop.kept
    place = (slice(None), slice(None), slice(low, high)) if row.crop.sideways else (slice(None), slice(low, high))
    cut = row.image[place]
    parts = [row.image, heated(row.image, row.maps[0], stride)]
    for part in (cut, heated(cut, row.maps[1], stride)):
        whole = torch.full_like(row.image, _GREY / 255)
        whole[place] = part
        parts.append(whole)
    return parts


def _said(row: Shown) -> str:
    what = f"{row.crop.pixels} pixels cut off, {row.crop.side}:"
    if math.isnan(row.displacement):
        return f"{what} not measurable"
    alike = "undefined" if math.isnan(row.correlation) else f"{row.correlation:.2f}"
    return f"{what} moved {row.displacement:.1f} pixels, correlation {alike}"


def _mark(draw: ImageDraw.ImageDraw, corner: tuple[int, int], row: Shown, field: Receptive, *, crop: bool) -> None:
    """Frames the compared cells, rings the image's region, and on the crop's map crosses the crop's."""
    window, scale = row.window, EDGE / row.image.shape[-1]
    if not window.rows or not window.columns:
        return
    x, y = corner
    left, right = (x + edge * field.stride * scale for edge in (window.columns.start, window.columns.stop))
    top, bottom = (y + edge * field.stride * scale for edge in (window.rows.start, window.rows.stop))
    _dashed(draw, (left, top, min(right, x + EDGE - 1.0), min(bottom, y + EDGE - 1.0)))
    if math.isnan(row.displacement):
        return
    places = [centre(part)[0].tolist() for part in (window.of_first(row.maps[0][None]),
                                                    window.of_second(row.maps[1][None]))]  # fmt: skip
    spots = [(left + (column + 0.5) * field.stride * scale, top + (line + 0.5) * field.stride * scale)
             for line, column in places]  # fmt: skip
    _ring(draw, *spots[0])
    if crop:
        _cross(draw, *spots[1])


def _dashed(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    for start in np.arange(left, right, 6):
        for y in (top, bottom):
            draw.line((start, y, min(start + 3, right), y), fill=_INK)
    for start in np.arange(top, bottom, 6):
        for x in (left, right):
            draw.line((x, start, x, min(start + 3, bottom)), fill=_INK)


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw.ellipse((x - 5, y - 5, x + 5, y + 5), outline=_INK, width=2)


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw.line((x - 4, y - 4, x + 4, y + 4), fill="black", width=2)
    draw.line((x - 4, y + 4, x + 4, y - 4), fill="black", width=2)


def _legend(draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, top: int) -> None:
    """What frame, ring and cross mean, a line each."""
    texts = (
        "compared cells: receptive fields inside image and crop",
        "where among them the region of the image's map lies",
        "where that of the crop's map lies",
    )
    for k, text in enumerate(texts):
        x, y = GAP + 6.0, top + (k + 0.5) * _LINE
        draw.text((24, y), text, "black", font, "lm")
        if k == 0:
            _dashed(draw, (x - 6, y - 5, x + 6, y + 5))
        else:
            (_ring, _cross)[k - 1](draw, x, y)
