"""What a bedroom is before it is built: everything drawn at random, and where things stand.

All lengths in metres; arrays have one row per room. The walls: 0 back, 1 left, 2 right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from sandbox.data.hashing import random_bits, uniform
from sandbox.data.rooms.raster import Cameras, Number, Vector, floats

BED_LENGTH, MATTRESS = 2.05, 0.52  # of the mattress's top above the floor

WALLS = [
    (238, 234, 226),
    (226, 216, 198),
    (196, 209, 221),
    (192, 205, 186),
    (214, 200, 205),
    (168, 176, 184),
    (236, 220, 180),
    (205, 160, 132),
    (150, 170, 172),
    (243, 241, 240),
    (222, 205, 178),
    (120, 140, 160),
]
FLOORS = [
    (176, 128, 82),
    (140, 92, 56),
    (196, 156, 110),
    (98, 64, 44),
    (160, 146, 128),
    (206, 180, 142),
    (190, 180, 166),
    (150, 140, 134),
    (120, 84, 60),
]
BEDDING = [
    (240, 240, 240),
    (216, 206, 190),
    (70, 92, 132),
    (150, 60, 60),
    (110, 130, 110),
    (90, 84, 92),
    (196, 150, 90),
    (180, 190, 206),
    (200, 120, 130),
    (50, 60, 74),
    (120, 90, 130),
    (226, 214, 170),
]
WOODS = [(120, 78, 48), (84, 54, 38), (170, 124, 80), (226, 222, 214), (60, 50, 46), (196, 160, 116)]
CLOTHS = [(232, 226, 214), (150, 60, 56), (90, 110, 140), (186, 166, 130), (120, 130, 104), (210, 190, 200),
           (100, 80, 70), (240, 240, 238)]  # fmt: skip

# One draw each, in this order: a name in the middle changes every room.
_FIELDS = (
    "width depth height wall floor wood bedding sheet cloth rug_colour picture_colour tint_r tint_g tint_b plank "
    "carpet paper bed_wall bed_along bed_width headboard pillows throw stripes window_wall window_along window_width "
    "window_height sill sky night daylight curtains curtain_fall lamp_side lamp_kind lamp_lit lamp_power shade "
    "other_stand rug rug_width rug_length dresser dresser_size pictures picture_size camera_x camera_y camera_z "
    "look pitch field molding warm mullions greenery"
)


def pick(draw: Number, table: list[tuple[int, int, int]], jitter: Vector | None = None) -> Vector:
    """The colour of a table that each number in [0, 1) stands for, RGB 0 to 255; ``jitter`` is added."""
    colours = floats(table)[(draw * len(table)).astype(np.int64)]
    return colours if jitter is None else np.clip(colours + jitter, 12, 250).astype(np.float32)


def between(draw: Number, low: float, high: float) -> Number:
    """Numbers in [0, 1) stretched to [low, high)."""
    return (low + (high - low) * draw).astype(np.float32)


Length = Float[np.ndarray, " n"] | float | int


@dataclass(frozen=True)
class Frame:
    """A place at a wall: ``along`` runs along the wall, ``out`` from it into the room."""

    origin: Float32[np.ndarray, "n 2"]
    along: Float32[np.ndarray, "n 2"]
    out: Float32[np.ndarray, "n 2"]

    def points(self, corners: Sequence[tuple[Length, ...]]) -> Float32[np.ndarray, "n k 3"]:
        """Points (along, up, out) in the room, (n, k, 3)."""
        a, y, v = (np.stack([np.broadcast_to(np.float32(corner[i]), len(self.origin)) for corner in corners], axis=1)
                   for i in range(3))  # fmt: skip
        x, z = (self.origin[:, None, i] + a * self.along[:, None, i] + v * self.out[:, None, i] for i in range(2))
        points: Float32[np.ndarray, "n k 3"] = np.stack([x, y, z], axis=-1)
        return points


@dataclass(frozen=True)
class Draft:
    """A batch of rooms before they are built; see `sandbox.data.rooms.rooms.RoomFactors`."""

    u: dict[str, Number]
    width: Number
    height: Number
    depth: Number
    wall: Vector
    floor: Vector
    blanket: Vector
    bed_wall: Int64[np.ndarray, " n"]
    window_wall: Int64[np.ndarray, " n"]
    bed_width: Number
    bed: Frame
    window: Frame
    pane: tuple[Number, Number, Number]  # half its width, its lower and its upper edge
    lamp_side: Number
    lamp_bedside: Bool[np.ndarray, " n"]
    lamp_lit: Bool[np.ndarray, " n"]
    lamp_power: Number
    night: Bool[np.ndarray, " n"]
    rug: Bool[np.ndarray, " n"]
    daylight: Number
    ambient: Float32[np.ndarray, "n 1 3"]
    bed_middle: Vector
    pane_middle: Vector
    shade_middle: Vector
    cameras: Cameras

    def frame(self, wall: Int64[np.ndarray, " n"], along: Number) -> Frame:
        """A place at a wall: x on the back wall, z on the others."""
        return _frame(wall, along, self.width, self.depth)

    def shading(self, normal: Vector) -> Number:
        """How bright a face is painted: more towards the window and upwards."""
        light = self.pane_middle - np.stack([0 * self.width, self.height / 2, self.depth / 2], axis=1)
        light = light / np.linalg.norm(light, axis=1, keepdims=True)
        towards = np.maximum((light * normal).sum(axis=1), 0) * np.where(self.night, 0.3, 1)
        return floats(0.66 + 0.24 * towards + 0.22 * np.maximum(normal[:, 1], 0))


def _frame(wall: Int64[np.ndarray, " n"], along: Number, width: Number, depth: Number) -> Frame:
    side = np.stack([-width / 2, along], axis=1), np.stack([width / 2, along], axis=1)
    origin = np.stack([np.stack([along, depth], axis=1), *side])[wall, np.arange(len(wall))]
    axes = floats([[1, 0], [0, 1], [0, 1]])[wall], floats([[0, -1], [1, 0], [-1, 0]])[wall]
    return Frame(origin.astype(np.float32), *axes)


def drafts(seed: int, indices: Int64[np.ndarray, " n"], turn: Number | None = None, deeper: float = 0.0) -> Draft:
    """Everything random of these rooms; ``turn`` is added to the cameras' yaw, ``deeper`` metres to rooms' depth."""
    names = _FIELDS.split()
    draws = uniform(random_bits(seed, indices, 0, len(names))).astype(np.float32)
    u = dict(zip(names, np.minimum(draws, np.float32(0.99999)).T, strict=True))
    width, depth, height = (
        between(u["width"], 3.5, 4.8),
        between(u["depth"], 4.2 + deeper, 5.4 + deeper),
        between(u["height"], 2.4, 2.8),
    )
    jitter = np.stack([between(u[f"tint_{c}"], -14.0, 14.0) for c in "rgb"], axis=1)
    bed_wall = np.select([u["bed_wall"] < 0.5, u["bed_wall"] < 0.75], [0, 1], 2)
    bed_width = between(u["bed_width"], 1.05, 1.95)
    slack = width / 2 - bed_width / 2 - 0.6
    along = np.where(bed_wall == 0, (2 * u["bed_along"] - 1) * slack,
                     depth - 0.58 - bed_width / 2 - u["bed_along"] * 0.12 * depth).astype(np.float32)  # fmt: skip
    bed = _frame(bed_wall, along, width, depth)
    window_wall = (u["window_wall"] * 3).astype(np.int64)
    half = between(u["window_width"], 0.45, 0.95)
    reach = width / 2 - half - 0.45
    place = np.where(window_wall == 0, (2 * u["window_along"] - 1) * reach,
                     depth - half - 0.5 - u["window_along"] * 0.3 * depth).astype(np.float32)  # fmt: skip
    window = _frame(window_wall, place, width, depth)
    sill = between(u["sill"], 0.8, 1.05)
    pane = half, sill, np.minimum(sill + between(u["window_height"], 1.0, 1.5), height - 0.18)
    night, daylight = u["night"] < 0.14, between(u["daylight"], 0.25, 1.0)
    side = np.where(u["lamp_side"] < 0.5, -1, 1).astype(np.float32)
    bedside = u["lamp_kind"] < 0.6
    shade_at = side * (bed_width / 2 + 0.32), np.where(bedside, 0.86, 1.45).astype(np.float32), 0.24
    lit = (u["lamp_lit"] < 0.55) | night
    level = np.where(night, 0.62, 0.74 + 0.22 * daylight)[:, None]
    tone = floats([1.0, 0.985, 0.965]) + (u["warm"][:, None] - 0.4) * floats([0.07, 0.0, -0.11])
    bed_middle = bed.points([(0.0, MATTRESS, BED_LENGTH / 2)])[:, 0]
    return Draft(
        u, width, height, depth, pick(u["wall"], WALLS, jitter), pick(u["floor"], FLOORS, jitter),
        pick(u["bedding"], BEDDING, -jitter), bed_wall, window_wall, bed_width, bed, window, pane, side, bedside, lit,
        between(u["lamp_power"], 0.7, 1.2), night, u["rug"] < 0.7, daylight,
        (level * tone).astype(np.float32)[:, None], bed_middle,
        window.points([(0.0, (pane[1] + pane[2]) / 2, 0.0)])[:, 0], bed.points([shade_at])[:, 0],
        _cameras(u, width, depth, bed_wall, bed_middle, turn),
    )  # fmt: skip


def _cameras(
    u: dict[str, Number],
    width: Number,
    depth: Number,
    bed_wall: Int64[np.ndarray, " n"],
    bed: Vector,
    turn: Number | None,
) -> Cameras:
    """Somewhere near the open side of the room, across from the bed, looking between it and the room's middle."""
    across = floats([0, 1, -1])[bed_wall]
    x = np.where(across == 0, (2 * u["camera_x"] - 1) * 0.3, across * (0.02 + 0.3 * u["camera_x"])) * width
    position = np.stack([x, between(u["camera_y"], 1.2, 1.85), between(u["camera_z"], -0.5, 0.3)], axis=1)
    target = bed * floats([0.62, 1, 1])
    flat = target - position
    yaw = np.arctan2(flat[:, 0], flat[:, 2]) + between(u["look"], -0.12, 0.12) + (0 if turn is None else turn)
    height = between(u["pitch"], 0.65, 1.15) - position[:, 1]
    pitch = np.arctan2(height, np.hypot(flat[:, 0], flat[:, 2]))
    return Cameras(*(part.astype(np.float32) for part in (position, yaw, pitch, between(u["field"], 1.0, 1.32))))
