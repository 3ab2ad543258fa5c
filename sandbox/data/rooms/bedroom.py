"""The bedrooms' polygons, built from a `Draft`. `sandbox.data.rooms.rooms` is the door.

All lengths in metres; arrays have one row per room.
"""

import numpy as np
from jaxtyping import Bool, Float

from sandbox.data.hashing import random_bits, uniform
from sandbox.data.rooms.draft import (
    BED_LENGTH,
    BEDDING,
    CLOTHS,
    MATTRESS,
    WOODS,
    Draft,
    Frame,
    Length,
    between,
    pick,
)
from sandbox.data.rooms.raster import Number, Scenes, Vector, floats

CLASSES = ("wall", "floor", "ceiling", "window", "curtain", "bed", "furniture", "lamp", "rug", "picture")
WALL, FLOOR, CEILING, WINDOW, CURTAIN, BED, FURNITURE, LAMP, RUG, PICTURE = range(len(CLASSES))
STAND = 0.5, 0.42, 0.5  # a nightstand's width, depth and height
PLANKS = 14
Colour = Float[np.ndarray, "n 3"]
Shown = Bool[np.ndarray, " n"] | None
SHADES = [(226, 214, 190), (238, 232, 220), (190, 160, 120), (160, 60, 50), (120, 130, 140)]  # of lamps


class _Builder:
    """Adds the parts of the rooms to `Scenes`, in the order in which the background is painted."""

    def __init__(self, d: Draft) -> None:
        self.d, self.u, self.scenes = d, d.u, Scenes(d.cameras)

    # ---- primitives

    def flat(self, frame: Frame, left: Length, right: Length, low: Length, high: Length, colour: Colour, label: int,
             shown: Shown = None, out: float = 0.01) -> None:  # fmt: skip
        """A rectangle on a wall, as part of the background."""
        points = frame.points([(left, low, out), (right, low, out), (right, high, out), (left, high, out)])
        normal = np.insert(frame.out, 1, 0, axis=1)
        self.scenes.add(points, colour * self.d.shading(normal)[:, None], label, shown)

    def lying(self, frame: Frame, left: Length, right: Length, near: Length,
              far: Length, height: float, colour: Colour, label: int,
              shown: Shown = None, item: int = 0) -> None:  # fmt: skip
        """A level rectangle, from ``near`` the wall to ``far`` from it."""
        points = frame.points([(left, height, near), (right, height, near), (right, height, far), (left, height, far)])
        up = np.tile(floats([0, 1, 0]), (self.scenes.n, 1))
        self.scenes.add(points, colour * self.d.shading(up)[:, None], label, shown, item)

    def box(self, frame: Frame, u0: Length, u1: Length, y0: Length, y1: Length,
            v0: Length, v1: Length, colour: Colour, label: int,
            shown: Shown, item: int) -> None:  # fmt: skip
        """The faces of a box at a wall that the camera can see, but for those towards the wall and the floor."""
        faces = [
            ([(u0, y1, v0), (u1, y1, v0), (u1, y1, v1), (u0, y1, v1)], (0, 1, 0)),
            ([(u0, y0, v1), (u1, y0, v1), (u1, y1, v1), (u0, y1, v1)], (0, 0, 1)),
            ([(u0, y0, v0), (u0, y0, v1), (u0, y1, v1), (u0, y1, v0)], (-1, 0, 0)),
            ([(u1, y0, v0), (u1, y0, v1), (u1, y1, v1), (u1, y1, v0)], (1, 0, 0)),
        ]
        for corners, (along, up, out) in faces:
            points = frame.points(corners)
            flat = along * frame.along + out * frame.out
            normal = np.stack([flat[:, 0], np.full(len(flat), up), flat[:, 1]], axis=1).astype(np.float32)
            seen = ((self.d.cameras.position - points[:, 0]) * normal).sum(axis=1) > 0
            self.scenes.add(points, colour * self.d.shading(normal)[:, None], label,
                            seen if shown is None else seen & shown, item)  # fmt: skip

    def item(self, frame: Frame, half: Length, height: Length, out: Length,
             left: Length | None = None) -> int:  # fmt: skip
        """A piece of furniture within these bounds at a wall; ``left`` where it is not symmetrical."""
        ends = frame.points([(-half if left is None else left, 0.0, 0.0), (half, height, out)])
        return self.scenes.item(ends.min(axis=1), ends.max(axis=1))

    def grey(self, level: int) -> Vector:
        """One grey for all rooms."""
        return np.full((self.scenes.n, 3), level, dtype=np.float32)

    # ---- the room

    def shell(self) -> None:
        """Ceiling, floor with planks, walls with stripes, base boards and mouldings."""
        d, u = self.d, self.u
        back = d.frame(np.zeros_like(d.bed_wall), 0 * d.width)
        half, front = d.width / 2, d.depth + 3
        self.lying(back, -half, half, 0.0, front, 0.0, d.floor, FLOOR)
        wooden, edges = u["carpet"] < 0.65, np.linspace(-1, 1, PLANKS + 1)
        tones = uniform(random_bits(0, (u["plank"] * 2**24).astype(np.int64), 1, 2 * PLANKS)).astype(np.float32)
        for k in range(PLANKS):
            left, right = np.float32(edges[k]) * half, np.float32(edges[k + 1]) * half
            for near, far, tone in (
                (0.0, tones[:, k] * 4 + 0.5, tones[:, k]),
                (tones[:, k] * 4 + 0.5, front, tones[:, -1 - k]),
            ):
                self.lying(back, left, right, near, far, 0.0, d.floor * (0.86 + 0.2 * tone)[:, None], FLOOR, wooden)
        ceiling = back.points(
            [(-half, d.height, 0.0), (half, d.height, 0.0), (half, d.height, front), (-half, d.height, front)]
        )
        self.scenes.add(ceiling, self.grey(236) * 0.84 + 0.07 * d.wall, CEILING)
        striped, molded = u["paper"] < 0.22, u["molding"] < 0.6
        for wall in range(3):
            place = d.frame(np.full_like(d.bed_wall, wall), 0 * d.width)
            left, right = (-half, half) if wall == 0 else (0 * half - 3, d.depth)
            self.flat(place, left, right, 0.0, d.height, d.wall, WALL, out=0.0)
            for k in range(12):
                start = right - (k + 0.75) * (0.4 if wall else d.width / 12)
                self.flat(place, start, start + 0.18, 0.0, d.height, d.wall * 0.9, WALL, striped, out=0.0)
            self.flat(place, left, right, 0.0, 0.11, self.grey(240), WALL, out=0.0)
            self.flat(place, left, right, d.height - 0.09, d.height, self.grey(246), WALL, molded, out=0.0)

    def opening(self) -> None:
        """The window: frame, sky, green below it, bars, sill, curtains on a rod."""
        d, u = self.d, self.u
        half, low, high = d.pane
        place, bright = d.window, np.float32(1.35)
        day = floats([150, 195, 240]) + (u["sky"][:, None]) * floats([95, 50, 10])
        sky = np.where(d.night[:, None], floats([22, 28, 56]), day * bright).astype(np.float32)
        haze = np.where(d.night[:, None], floats([40, 44, 70]), floats([345, 345, 335])).astype(np.float32)
        green = np.where(d.night[:, None], floats([14, 20, 20]), floats([120, 150, 90]) * bright).astype(np.float32)
        self.flat(place, -half - 0.08, half + 0.08, low - 0.08, high + 0.08, self.grey(250), WINDOW)
        rise = high - low
        self.flat(place, -half, half, low, high, sky, WINDOW)
        self.flat(place, -half, half, low, low + 0.55 * rise, (sky + haze) / 2, WINDOW)
        self.flat(place, -half, half, low, low + 0.34 * rise, haze, WINDOW)
        self.flat(
            place, -half, half, low, low + (0.08 + 0.2 * u["greenery"]) * rise, green, WINDOW, u["greenery"] < 0.6
        )
        self.flat(place, -0.025, 0.025, low, high, self.grey(235), WINDOW)
        self.flat(
            place,
            -half,
            half,
            low + 0.6 * rise - 0.02,
            low + 0.6 * rise + 0.02,
            self.grey(235),
            WINDOW,
            u["mullions"] < 0.5,
        )
        self.flat(place, -half - 0.14, half + 0.14, low - 0.13, low - 0.06, self.grey(225), WINDOW)
        cloth, drawn = pick(u["cloth"], CLOTHS), u["curtains"] < 0.75
        bottom = np.where(u["curtain_fall"] < 0.6, 0.06, low - 0.2).astype(np.float32)
        for side in (-1, 1):
            for k in range(5):
                start = side * (half + 0.26 - 0.085 * k)
                fold = cloth * (1.06 - 0.16 * (k % 2))
                self.flat(place, start, start - side * 0.09, bottom, high + 0.12, fold, CURTAIN, drawn, out=0.05)
        self.flat(
            place,
            -half - 0.34,
            half + 0.34,
            high + 0.12,
            high + 0.16,
            pick(u["wood"], WOODS),
            CURTAIN,
            drawn,
            out=0.06,
        )

    def sunlight(self) -> None:
        """The bright patch a window throws on the floor by day, a little lighter than the floor."""
        d = self.d
        half, low, high = d.pane
        slope, drift = 1.1, 0.5
        patch = d.window.points([
            (-half + drift * low, 0.003, low * slope), (half + drift * low, 0.003, low * slope),
            (half + drift * high, 0.003, high * slope), (-half + drift * high, 0.003, high * slope)])  # fmt: skip
        self.scenes.add(patch, d.floor * 1.22 + 14, FLOOR, ~d.night & (d.daylight > 0.62) & (self.u["carpet"] >= 0.3))

    def carpet(self) -> None:
        """The rug, most of it beside and before the bed, with a border; the bed's shadow on floor and rug."""
        d, u, shade = self.d, self.u, self.d.bed_width / 2 + 0.1
        half = shade + between(u["rug_width"], 0.0, 0.4)
        near, far = 0.9, BED_LENGTH + between(u["rug_length"], 0.3, 0.8)
        colour, end = pick(u["rug_colour"], CLOTHS[1:] + BEDDING), BED_LENGTH + 0.1
        self.lying(d.bed, -shade, shade, 0.0, end, 0.004, d.floor * 0.5, FLOOR)
        self.lying(d.bed, -half, half, near, far, 0.005, colour * 0.82, RUG, d.rug)
        self.lying(d.bed, -half + 0.12, half - 0.12, near, far - 0.12, 0.006, colour, RUG, d.rug)
        inner = d.rug & (u["stripes"] < 0.5)
        self.lying(d.bed, -half + 0.3, half - 0.3, near, far - 0.3, 0.007, colour * 0.9, RUG, inner)
        self.lying(d.bed, -shade, shade, near, end, 0.008, colour * 0.5, RUG, d.rug)

    def pictures(self) -> None:
        """One, two or three frames on the wall above the bed, unless the window is there."""
        d, u = self.d, self.u
        count = 1 + (u["pictures"] * 3).astype(np.int64)
        there = (d.window_wall != d.bed_wall) & (u["pictures"] < 0.9)
        half, colour = between(u["picture_size"], 0.16, 0.28), pick(u["picture_colour"], BEDDING + CLOTHS)
        for k in range(3):
            middle = (k - (count - 1) / 2) * (2 * half + 0.16)
            wide = half * np.where(count == 1, 1.7, 1.0)
            shown = there & (k < count)
            for inset, paint in (
                (0.0, pick(u["wood"], WOODS)),
                (0.035, self.grey(244)),
                (0.09, colour * (0.8 + 0.15 * k)),
            ):
                self.flat(d.bed, (middle - wide + inset).astype(np.float32), (middle + wide - inset).astype(np.float32),
                          1.68 - half + inset, 1.68 + half - inset, paint, PICTURE, shown)  # fmt: skip

    # ---- furniture

    def bed(self) -> None:
        """Headboard, frame, mattress, pillows, blanket with a fold, stripes and a throw."""
        d, u, b, end = self.d, self.u, self.d.bed_width / 2, BED_LENGTH
        wood, sheet = pick(u["wood"], WOODS), self.grey(232) + (u["sheet"][:, None] - 0.5) * floats([24, 20, 8])
        top = between(u["headboard"], 0.85, 1.3)
        me = self.item(d.bed, b + 0.05, top, end + 0.06)
        padded = np.where((u["headboard"] < 0.35)[:, None], d.blanket * 0.8, wood)
        self.box(d.bed, -b - 0.05, b + 0.05, 0.0, top, 0.0, 0.08, padded.astype(np.float32), BED, None, me)
        self.box(d.bed, -b - 0.02, b + 0.02, 0.06, 0.3, 0.08, end, wood * 0.85, BED, None, me)
        self.box(d.bed, -b, b, 0.28, MATTRESS, 0.08, end - 0.03, sheet, BED, None, me)
        self.box(d.bed, -b - 0.03, b + 0.03, 0.2, MATTRESS + 0.03, 0.78, end + 0.02, d.blanket, BED, None, me)
        height = MATTRESS + 0.032
        self.lying(d.bed, -b - 0.03, b + 0.03, 0.68, 0.94, height, sheet * 1.05, BED, u["stripes"] < 0.8, me)
        for k in range(4):
            start = 1.05 + 0.24 * k
            self.lying(d.bed, -b - 0.03, b + 0.03, start, start + 0.1, height, d.blanket * 0.8 + 20, BED,
                       u["stripes"] < 0.28, me)  # fmt: skip
        throw = pick(u["throw"], BEDDING)
        self.box(
            d.bed, -b - 0.04, b + 0.04, 0.24, MATTRESS + 0.045, 1.45, end - 0.12, throw, BED, u["throw"] < 0.45, me
        )
        self._pillows(me, sheet)

    def _pillows(self, item: int, sheet: Colour) -> None:
        d, u = self.d, self.u
        double = d.bed_width > 1.3
        count = np.where(double, 2, 1)
        slant = d.shading(np.insert(d.bed.out, 1, 0.4, axis=1))[:, None]
        for row, (lean, height, paint) in enumerate(((0.12, 0.36, sheet), (0.3, 0.27, pick(u["pillows"], BEDDING)))):
            shown = np.ones(self.scenes.n, dtype=bool) if row == 0 else u["pillows"] < 0.6
            for k in range(2):
                middle = (k - (count - 1) / 2) * d.bed_width / 2
                half = d.bed_width / 2 / count * np.float32(0.86 if row == 0 else 0.6)
                for dent, shade, back in ((0.0, 0.84, 0.0), (0.03, 1.04, 0.06)):
                    corners = [
                        (middle + x * (half - dent), MATTRESS + dent + y * (height - dent), lean + 0.2 * (1 - y) + back)
                        for x, y in (
                            (-0.75, 0),
                            (0.75, 0),
                            (1, 0.2),
                            (1, 0.78),
                            (0.8, 1),
                            (-0.8, 1),
                            (-1, 0.78),
                            (-1, 0.2),
                        )
                    ]
                    tone = paint * shade * slant
                    self.scenes.add(d.bed.points(corners), tone, BED, shown & (k < count), item)

    def stands(self) -> None:
        """Nightstands left and right of the bed, and the lamp on one of them or on a pole in its place."""
        d, u = self.d, self.u
        wood = pick(u["wood"], WOODS)
        width, depth, height = STAND
        for side in (-1.0, 1.0):
            here = d.lamp_side == side
            stand = np.where(here, d.lamp_bedside, u["other_stand"] < 0.6)
            middle = side * (d.bed_width / 2 + 0.32)
            low, high = middle - width / 2 + 0.01, middle + width / 2 - 0.01
            me = self.item(d.bed, high, 1.7, depth, left=low)
            self.box(d.bed, low, high, 0.0, height, 0.02, depth, wood, FURNITURE, stand, me)
            face = d.bed.points([(low + 0.05, 0.28, depth + 0.01), (high - 0.05, 0.28, depth + 0.01),
                                 (high - 0.05, 0.44, depth + 0.01), (low + 0.05, 0.44, depth + 0.01)])  # fmt: skip
            self.scenes.add(face, wood * 0.6, FURNITURE, stand & self._front(d.bed, depth), me)
            self._lamp(middle, here, me)

    def _front(self, frame: Frame, out: float) -> Bool[np.ndarray, " n"]:
        point = frame.points([(0.0, 0.0, out)])[:, 0]
        flat = (self.d.cameras.position - point)[:, [0, 2]]
        facing: Bool[np.ndarray, " n"] = (flat * frame.out).sum(axis=1) > 0
        return facing

    def _lamp(self, middle: Number, here: Bool[np.ndarray, " n"], item: int) -> None:
        d = self.d
        base = np.where(d.lamp_bedside, STAND[2], 0.0).astype(np.float32)
        centre = d.shade_middle[:, 1]
        metal = pick(self.u["wood"], WOODS) * 0.7
        lit = d.lamp_lit[:, None]
        cloth = pick(self.u["shade"], SHADES)
        shade = np.where(lit, cloth * 0.4 + floats([170, 150, 105]), cloth * 0.9).astype(np.float32)
        foot = d.bed.points([(middle, base, 0.24)])[:, 0]
        ahead = (foot - d.cameras.position)[:, [0, 2]]
        across = ahead[:, ::-1] * floats([1, -1]) / np.linalg.norm(ahead, axis=1, keepdims=True)
        right = np.insert(across, 1, 0, axis=1)  # a lamp is round: it turns one side to every camera
        floor, up = foot * floats([1, 0, 1]), floats([0, 1, 0])
        parts = ((0.03, base, 0.02, centre, metal), (0.1, base, 0.08, base + 0.04, metal),
                 (0.19, centre - 0.14, 0.12, centre + 0.14, shade))  # fmt: skip
        for below, low, above, high, colour in parts:
            corners = [floor + x * right + y[:, None] * up
                       for x, y in ((-below, low), (below, low), (above, high), (-above, high))]  # fmt: skip
            self.scenes.add(np.stack(corners, axis=1).astype(np.float32), colour, LAMP, here, item)

    def dresser(self) -> None:
        """A dresser or a wardrobe at a wall away from the bed, with drawers."""
        d, u = self.d, self.u
        there = u["dresser"] < 0.6
        left = np.where(d.bed_wall == 0, u["dresser"] < 0.3, d.bed_wall == 2)
        wall = np.where(d.bed_wall == 0, np.where(left, 1, 2), 0)
        half = between(u["dresser_size"], 0.4, 0.62)
        along = np.where(d.bed_wall == 0, 0.48 * d.depth, np.where(left, -1, 1) * (d.width / 2 - half - 0.05))
        place = d.frame(wall, along.astype(np.float32))
        high = np.where(u["dresser_size"] < 0.3, 1.95, 0.85).astype(np.float32)
        wood = pick(u["wood"], WOODS)
        me = self.item(place, half, high, 0.45)
        self.box(place, -half, half, 0.0, high, 0.0, 0.44, wood, FURNITURE, there, me)
        facing = there & self._front(place, 0.45)
        tone = wood * (0.72 * d.shading(np.insert(place.out, 1, 0, axis=1)))[:, None]
        for k in range(3):
            for low, up in ((-half + 0.04, -0.02), (0.02, half - 0.04)):
                y0, y1 = high * (0.08 + 0.3 * k), high * (0.08 + 0.3 * k + 0.25)
                points = place.points([(low, y0, 0.445), (up, y0, 0.445), (up, y1, 0.445), (low, y1, 0.445)])
                self.scenes.add(points, tone, FURNITURE, facing, me)


def build(d: Draft, *, furnished: bool = True) -> Scenes:
    """The polygons of a batch of rooms; without furniture they have walls, floor, ceiling, window and pictures."""
    builder = _Builder(d)
    for part in ("shell", "opening", "sunlight", "pictures", *(("carpet", "bed", "stands", "dresser") * furnished)):
        getattr(builder, part)()
    return builder.scenes
