"""Bedrooms in perspective, each a function of (seed, index) alone: the stand-in for LSUN where that is not at hand.

    rooms = Rooms(seed=0, size=64).render(np.arange(64), masks=True)
    rooms.images           # (64, 3, 64, 64) uint8
    rooms.factors.camera   # (64, 6): where the camera is and looks
    rooms.masks            # (64, 64, 64) uint8: the class of every pixel, a row of CLASSES

A box of a room with a bed and what goes with it: window with curtains, nightstands, a lamp, a rug, pictures, a dresser.
They differ in layout, sizes, colours, light and the camera's place and direction. Drawn and not photographed: a result
on rooms is no result on LSUN.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from sandbox.data.hashing import check_indices, check_seed
from sandbox.data.rooms.bedroom import CLASSES, build
from sandbox.data.rooms.draft import Draft, drafts
from sandbox.data.rooms.raster import Number, floats

__all__ = ["CLASSES", "RoomFactors", "Rooms", "RoomsRendered"]
SIZES = 8, 1024
_CHUNK = 64  # rooms whose polygons are projected together


@dataclass(frozen=True)
class RoomFactors:
    """What is where: one row per image. Positions in pixels are (row, column), the first pixel's centre at (0, 0).

    Attributes:
        camera: (n, 6) x, y, z in metres (x from the room's middle to the right, y up from the floor, z into the room),
            yaw (positive to the right) and pitch (positive up) in radians, horizontal angle of view in radians.
        room: (n, 3) width, height, depth in metres.
        bed_wall, window_wall: (n,) the wall they are at: 0 back, 1 left, 2 right.
        bed_centre: (n, 2) pixels, of the middle of the mattress's top; may lie outside the image.
        window_centre: (n, 2) pixels, of the middle of the pane; may lie outside the image or behind furniture.
        lamp_centre: (n, 2) pixels, of the middle of the lampshade; likewise.
        lamp_lit, night, rug: (n,) whether the lamp is on, the sky is dark, there is a rug.
        daylight: (n,) brightness of the daylight, 0 to 1.
        wall_colour, floor_colour, blanket_colour: (n, 3) RGB, 0 to 255, before light falls on them.
    """

    camera: Float32[np.ndarray, "n 6"]
    room: Float32[np.ndarray, "n 3"]
    bed_wall: Int64[np.ndarray, " n"]
    window_wall: Int64[np.ndarray, " n"]
    bed_centre: Float32[np.ndarray, "n 2"]
    window_centre: Float32[np.ndarray, "n 2"]
    lamp_centre: Float32[np.ndarray, "n 2"]
    lamp_lit: Bool[np.ndarray, " n"]
    night: Bool[np.ndarray, " n"]
    rug: Bool[np.ndarray, " n"]
    daylight: Float32[np.ndarray, " n"]
    wall_colour: Float32[np.ndarray, "n 3"]
    floor_colour: Float32[np.ndarray, "n 3"]
    blanket_colour: Float32[np.ndarray, "n 3"]


@dataclass(frozen=True)
class RoomsRendered:
    """What `Rooms.render` gives.

    Attributes:
        images: (n, 3, size, size) RGB.
        factors: what they show.
        masks: (n, size, size) row of `CLASSES`: the class that covers most of the pixel; None unless asked for.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    factors: RoomFactors
    masks: UInt8[np.ndarray, "n h w"] | None = None


def check_size(size: int) -> None:
    """Raises `ValueError` unless rooms can be drawn at so many pixels."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size is {size}; allowed are {SIZES[0]} to {SIZES[1]} pixels")


@dataclass(frozen=True)
class Rooms:
    """The rooms of a seed, at a size.

    Attributes:
        seed: 0 to 2^64 - 1. Two seeds give unrelated rooms.
        size: pixels along an edge, 8 to 1024. One index is one room at every size.

    Raises:
        ValueError: the seed or the size is not one of those.
    """

    seed: int = 0
    size: int = 64

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_size(self.size)

    def render(
        self, indices: Int64[np.ndarray, " n"], *, masks: bool = False, turn: Float32[np.ndarray, " n"] | None = None
    ) -> RoomsRendered:
        """The rooms of these indices, in their order. Any index from 0 on is in the data, and may occur repeatedly.

        Args:
            indices: of the rooms.
            masks: give the pixels' classes too.
            turn: radians by which each camera turns to the right of where it looks, for a pan through a room.

        Raises:
            ValueError: an index is negative.
        """
        check_indices(indices)
        images = np.empty((len(indices), 3, self.size, self.size), dtype=np.uint8)
        classes = np.empty((len(indices), self.size, self.size), dtype=np.uint8) if masks else None
        for start in range(0, len(indices), _CHUNK):
            part = slice(start, start + _CHUNK)
            draft = drafts(self.seed, indices[part], None if turn is None else turn[part])
            painted, labels = build(draft).paint(self.size, masks)
            images[part] = lit(draft, painted).transpose(0, 3, 1, 2)
            if classes is not None and labels is not None:
                classes[part] = labels
        return RoomsRendered(images, self.factors(indices, turn=turn), classes)

    def factors(
        self, indices: Int64[np.ndarray, " n"], *, turn: Float32[np.ndarray, " n"] | None = None
    ) -> RoomFactors:
        """What `render` would show, without rendering it.

        Raises:
            ValueError: an index is negative.
        """
        check_indices(indices)
        d = drafts(self.seed, indices, turn)
        cameras = d.cameras
        angles = np.stack([cameras.yaw, cameras.pitch, cameras.field], axis=1)
        places = {
            f"{what}_centre": cameras.locate(point, self.size)
            for what, point in (("bed", d.bed_middle), ("window", d.pane_middle), ("lamp", d.shade_middle))
        }
        return RoomFactors(
            camera=np.concatenate([cameras.position, angles], axis=1),
            room=np.stack([d.width, d.height, d.depth], axis=1),
            bed_wall=d.bed_wall, window_wall=d.window_wall, **places,
            lamp_lit=d.lamp_lit, night=d.night, rug=d.rug, daylight=d.daylight,
            wall_colour=d.wall, floor_colour=d.floor, blanket_colour=d.blanket,
        )  # fmt: skip


def _glow(centre: Float32[np.ndarray, "n 2"], reach: Number, size: int) -> Float32[np.ndarray, "n h w 1"]:
    """1 at a point of the image, falling as a Gaussian of ``reach`` image widths; 0 where there is no such point."""
    distance = (np.arange(size, dtype=np.float32) - centre[..., None]) / (reach[:, None, None] * size)
    rows, columns = np.moveaxis(np.nan_to_num(np.exp(-np.square(distance) / 2)), 1, 0)
    return floats(rows[:, :, None, None] * columns[:, None, :, None])


def lit(d: Draft, painted: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Light over what was painted: the room's own, more of it around the window, a halo around a lamp that is on."""
    size = painted.shape[1]
    near = np.clip(d.cameras.locate(d.pane_middle, size), -size, 2 * size)
    day = _glow(near, np.full_like(d.daylight, 0.55), size) * (0.24 * d.daylight * ~d.night)[:, None, None, None]
    shade = d.cameras.locate(d.shade_middle, size)
    lamp = _glow(shade, np.full_like(d.daylight, 0.26), size) * (d.lamp_lit * d.lamp_power)[:, None, None, None]
    gain = d.ambient[:, None] + day + lamp * floats([0.50, 0.40, 0.24])
    light = painted * gain + _glow(shade, np.full_like(d.daylight, 0.07), size) * (
        (d.lamp_lit * 70)[:, None, None, None] * floats([1, 0.9, 0.6])
    )
    shown: UInt8[np.ndarray, "n h w 3"] = np.minimum(light, 255).astype(np.uint8)
    return shown
