"""Crops of an image, the same pixels elsewhere on its canvas, and which cells of two maps show the same pixels."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sandbox.base.errors import UserError
from vision.cam.fields import Receptive

Side = Literal["left", "right", "top", "bottom"]
SIDES: tuple[Side, ...] = get_args(Side)
EIGHTHS = (1, 2, 3, 4)  # of an image's edge that a crop takes away
Maps = Float[Tensor, "b rows columns"]


@dataclass(frozen=True)
class Window:
    """Cells of two maps that show the same pixels.

    Attributes:
        rows, columns: of the cells, in the first map.
        down, right: how many cells further they lie in the second map; may be negative.
    """

    rows: range
    columns: range
    down: int
    right: int

    def of_first(self, maps: Maps) -> Float[Tensor, "b rows2 columns2"]:
        """These cells of the first map."""
        return maps[:, self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]

    def of_second(self, maps: Maps) -> Float[Tensor, "b rows2 columns2"]:
        """The cells of the second map that show the same pixels."""
        rows, columns = self.rows, self.columns
        return maps[
            :, rows.start + self.down : rows.stop + self.down, columns.start + self.right : columns.stop + self.right
        ]


@dataclass(frozen=True)
class Crop:
    """What is left of a square image of ``size`` pixels when ``pixels`` of them are cut off one side."""

    side: Side
    pixels: int
    size: int

    @property
    def sideways(self) -> bool:
        """Whether columns are cut off, else rows."""
        return self.side in ("left", "right")

    @property
    def kept(self) -> tuple[int, int]:
        """The pixels that stay along the cut axis: the first, and the one behind the last."""
        return (self.pixels, self.size) if self.side in ("left", "top") else (0, self.size - self.pixels)

    def of(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """The crops of some images."""
        low, high = self.kept
        return images[..., low:high] if self.sideways else images[..., low:high, :]

    def blanked(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The images at their own size: what the crop takes away is painted in the median colour of each image."""
        low, high = self.kept
        plain = images.flatten(2).median(2).values[:, :, None, None].expand_as(images).clone()
        place = (..., slice(low, high)) if self.sideways else (..., slice(low, high), slice(None))
        plain[place] = images[place]
        return plain

    @property
    def way(self) -> int:
        """Pixels by which `moved` moves along the cut axis: towards the side that was cut off."""
        return -self.pixels if self.side in ("left", "top") else self.pixels

    def moved(self, canvases: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """What `blanked` gave, rolled: what the crop keeps lies at the other end of the canvas, and none is cut."""
        return canvases.roll(self.way, 3 if self.sideways else 2)

    def windows(self, field: Receptive, cells: int, cropped: int) -> dict[str, tuple[Window, Window]]:
        """Cells to compare, by name: of image and crop, and of canvas and moved canvas.

        * ``inside``: those whose receptive fields lie inside what the crop keeps, hence inside both pictures; the same
          cells in both comparisons. May be none.
        * ``all``: every cell of the crop, also those that see a border or what was cut off.

        Args:
            field: of the maps' cells.
            cells: along an edge of the image's map.
            cropped: along the cut edge of the crop's map.
        """
        low, high = self.kept
        first = low // field.stride  # of the crop's cells, in the image
        along = {
            "inside": (field.inside(low, high, min(cells, first + cropped)), field.inside(0, self.size, cells)),
            "all": (range(first, min(cells, first + cropped)), range(cells)),
        }
        found = {}
        for name, (cut, other) in along.items():
            pair = []
            for shift in (-first, self.way // field.stride):
                # A canvas whose edge is no multiple of the stride may end before a cell that has moved.
                fits = range(max(cut.start, -shift), max(cut.start, -shift, min(cut.stop, cells - shift)))
                rows, columns = (other, fits) if self.sideways else (fits, other)
                pair.append(Window(rows, columns, *((0, shift) if self.sideways else (shift, 0))))
            found[name] = pair[0], pair[1]
        return found


def crops_of(size: int, stride: int) -> tuple[Crop, ...]:
    """All crops of an image: from each side an eighth to a half, in multiples of a total stride.

    Of the multiples between an eighth and a half of the size those nearest to 1, 2, 3 and 4 eighths, each once.

    Raises:
        UserError: the image is smaller than two strides.
    """
    allowed = [pixels for pixels in range(stride, size // 2 + 1, stride) if 8 * pixels >= size]
    if not allowed:
        raise UserError(f"--size is {size}: a crop takes away whole strides, {stride} pixels, and at most half of the "
                        f"image: allowed are {2 * stride} and more")  # fmt: skip
    nearest = (min(allowed, key=lambda pixels: abs(8 * pixels - eighths * size)) for eighths in EIGHTHS)
    return tuple(Crop(side, pixels, size) for pixels in dict.fromkeys(nearest) for side in SIDES)


def smallest_size(field: Receptive) -> int:
    """Pixels along the edge of the smallest image one of whose crops holds a whole receptive field.

    Args:
        field: of the maps' cells.
    """
    size = 2 * field.stride
    while not any(
        field.inside(*crop.kept, size // field.stride) for crop in crops_of(size, field.stride) if crop.sideways
    ):
        size += field.stride
    return size


def centre(maps: Maps) -> Float[Tensor, "b 2"]:
    """The centre of mass of each map as (row, column), in cells; not a number of an empty map."""
    total = maps.double().sum((1, 2))
    rows, columns = (torch.arange(length, dtype=torch.float64, device=maps.device) for length in maps.shape[1:])
    parts = (maps.double().sum(2) @ rows, maps.double().sum(1) @ columns)
    return (torch.stack(parts, 1) / total[:, None]).float()
