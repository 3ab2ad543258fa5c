"""Empty rooms with one box on the floor, and how far away everything is: for networks that estimate depth.

    rooms = EmptyRooms(seed=0)
    boxes = rooms.draw(np.arange(64))                      # a box a room: where, how large, which colour
    shown = rooms.render(np.arange(64), boxes)
    shown.images, shown.depths, shown.front                # bytes; metres; which pixels show the box's front

They are the rooms of `sandbox.data.rooms.rooms` without furniture and four metres deeper, seen from their open side.
The size of a box does not depend on how far away it is. Boxes are drawn from nearer than `NEAREST` to farther than
`FARTHEST`: estimates of a network are drawn in at the ends of what it has seen.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from sandbox.data.hashing import check_indices, check_seed, random_bits, uniform
from sandbox.data.rooms.bedroom import CLASSES, build
from sandbox.data.rooms.draft import BEDDING, Draft, between, drafts, pick
from sandbox.data.rooms.raster import Cameras, Number, Scenes, Vector, floats
from sandbox.data.rooms.rooms import check_size, lit

NEAREST, FARTHEST = 2.1, 6.3  # metres from the camera to a box's front where one is moved, three times as far
DRAWN = 1.7, 7.2  # metres, from and to, of boxes that are drawn
SMALLEST, LARGEST = 0.18, 0.95  # metres along a box's edge
FRONT = len(CLASSES)  # the label of a box's front in a mask; its other faces have the next one
_DEEPER = 4.2  # metres: the back wall lies behind the farthest box
_CHUNK = 64
_STREAM = 7  # of the boxes' draws


@dataclass(frozen=True)
class Boxes:
    """A cube on the floor of each room, its front towards the camera.

    Attributes:
        distance: metres from the camera to its front, along the room.
        aside: metres from the line of view to its middle, to the right.
        edge: metres.
        colour: RGB, 0 to 255.
    """

    distance: Number
    aside: Number
    edge: Number
    colour: Vector


@dataclass(frozen=True)
class EmptyRendered:
    """What `EmptyRooms.render` gives.

    Attributes:
        images: RGB.
        depths: metres to the surface of each pixel along the axis of view, see `sandbox.data.rooms.raster.Scenes`.
        front: which pixels show a box's front, at the same point.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    depths: Float32[np.ndarray, "n h w"]
    front: Bool[np.ndarray, "n h w"]


@dataclass(frozen=True)
class EmptyRooms:
    """The rooms of a seed, at a size.

    Attributes:
        seed: 0 to 2^64 - 1. Two seeds give unrelated rooms.
        size: pixels along an edge, 8 to 1024.

    Raises:
        ValueError: the seed or the size is not one of those.
    """

    seed: int = 0
    size: int = 64

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_size(self.size)

    def draw(self, indices: Int64[np.ndarray, " n"]) -> Boxes:
        """A box for each room, in view: distance and edge log-uniform and independent of each other."""
        check_indices(indices)
        u = uniform(random_bits(self.seed, indices, _STREAM, 4)).astype(np.float32)
        distance = floats(DRAWN[0] * (DRAWN[1] / DRAWN[0]) ** u[:, 0])
        edge = floats(SMALLEST * (LARGEST / SMALLEST) ** u[:, 1])
        aside = (2 * u[:, 2] - 1) * 0.28 * distance * np.float32(0.8)
        return Boxes(distance, floats(aside), edge, pick(u[:, 3], BEDDING))

    def render(
        self, indices: Int64[np.ndarray, " n"], boxes: Boxes | None = None, *, tilt: Number | None = None
    ) -> EmptyRendered:
        """The rooms of these indices.

        Args:
            indices: of the rooms.
            boxes: one a room; None: none.
            tilt: radians by which each camera looks further up.

        Raises:
            ValueError: an index is negative.
        """
        check_indices(indices)
        images = np.empty((len(indices), 3, self.size, self.size), dtype=np.uint8)
        depths = np.empty((len(indices), self.size, self.size), dtype=np.float32)
        front = np.zeros((len(indices), self.size, self.size), dtype=bool)
        for start in range(0, len(indices), _CHUNK):
            part = slice(start, start + _CHUNK)
            draft = self._draft(indices[part], None if tilt is None else tilt[part])
            scenes = build(draft, furnished=False)
            if boxes is not None:
                _add(scenes, draft, Boxes(*(getattr(boxes, name)[part] for name in Boxes.__dataclass_fields__)))
            images[part] = lit(draft, scenes.paint(self.size, masks=False)[0]).transpose(0, 3, 1, 2)
            depths[part], labels = scenes.surfaces(self.size)
            front[part] = labels == FRONT
        return EmptyRendered(images, depths, front)

    def cameras(self, indices: Int64[np.ndarray, " n"]) -> Cameras:
        """Where the cameras of these rooms are and look."""
        return self._draft(indices, None).cameras

    def _draft(self, indices: Int64[np.ndarray, " n"], tilt: Number | None) -> Draft:
        d = drafts(self.seed, indices, deeper=_DEEPER)
        d = replace(d, lamp_lit=np.zeros_like(d.lamp_lit))  # there is none
        u = d.u
        position = np.stack([between(u["camera_x"], -0.15, 0.15) * d.width, between(u["camera_y"], 1.2, 1.6),
                             between(u["camera_z"], -0.4, 0.2)], axis=1)  # fmt: skip
        pitch = between(u["pitch"], -0.26, -0.12) + (0 if tilt is None else tilt)
        cameras = Cameras(floats(position), between(u["look"], -0.08, 0.08), floats(pitch),
                          between(u["field"], 1.05, 1.25))  # fmt: skip
        return replace(d, cameras=cameras)


def _add(scenes: Scenes, d: Draft, boxes: Boxes) -> None:
    """The faces of each box that can be seen."""
    camera = d.cameras.position
    x0 = camera[:, 0] + np.sin(d.cameras.yaw) * boxes.distance + boxes.aside - boxes.edge / 2
    x0 = floats(np.clip(x0, -d.width / 2 + 0.05, d.width / 2 - 0.05 - boxes.edge))
    x1, y1, z0 = x0 + boxes.edge, boxes.edge, floats(camera[:, 2] + boxes.distance)
    z1, y0 = z0 + boxes.edge, np.zeros_like(x0)
    me = scenes.item(floats(np.stack([x0, y0, z0], 1)), floats(np.stack([x1, y1, z1], 1)))
    faces = (
        (((x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)), (0, 1, 0), FRONT + 1),
        (((x0, y0, z0), (x0, y0, z1), (x0, y1, z1), (x0, y1, z0)), (-1, 0, 0), FRONT + 1),
        (((x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)), (1, 0, 0), FRONT + 1),
        (((x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)), (0, 0, -1), FRONT),
    )
    for corners, way, label in faces:
        points = floats(np.stack([np.stack(corner, 1) for corner in corners], 1))
        normal = np.tile(floats(way), (len(x0), 1))
        seen = ((camera - points[:, 0]) * normal).sum(1) > 0
        scenes.add(points, boxes.colour * d.shading(normal)[:, None], label, np.asarray(seen), me)
