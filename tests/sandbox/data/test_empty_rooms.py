"""Empty rooms: their depths are those of the planes that they consist of; boxes lie where they are said to lie."""

import numpy as np
import pytest

from sandbox.data.rooms.empty import DRAWN, FARTHEST, LARGEST, NEAREST, SMALLEST, EmptyRooms

INDICES = np.arange(48)


def rays(rooms: EmptyRooms) -> tuple[np.ndarray, np.ndarray]:
    """Of every pixel where it is sampled: the way it looks, in the room's axes, with 1 along the axis of view."""
    cameras = rooms.cameras(INDICES)
    tangent = np.tan(cameras.field / 2)[:, None, None]
    line = (np.arange(rooms.size) + 0.125 - (rooms.size - 1) / 2) * 2 / rooms.size
    right, up = np.broadcast_arrays(line[None, None] * tangent, -line[None, :, None] * tangent)
    (cp, sp), (cy, sy) = ((np.cos(a)[:, None, None], np.sin(a)[:, None, None]) for a in (cameras.pitch, cameras.yaw))
    y, ahead = up * cp + sp, cp - up * sp
    return np.stack([cy * right + sy * ahead, y, cy * ahead - sy * right], -1), cameras.position


def test_depths_of_the_floor_are_exact() -> None:
    rooms = EmptyRooms(3)
    depths, (ways, position) = rooms.render(INDICES).depths, rays(rooms)
    assert np.isfinite(depths).all()
    bottom = slice(60, 64), slice(28, 36)  # rows and columns that show nothing but floor
    expected = -position[:, 1, None, None] / ways[:, *bottom, 1]
    np.testing.assert_allclose(depths[:, *bottom], expected, rtol=1e-4)


def test_a_box_s_front_is_at_its_distance() -> None:
    rooms = EmptyRooms(1)
    boxes, (ways, _) = rooms.draw(INDICES), rays(rooms)
    shown = rooms.render(INDICES, boxes)
    seen = shown.front.sum((1, 2))
    assert seen.min() > 0
    along = shown.depths * ways[..., 2]  # metres along the room
    for k in INDICES:
        np.testing.assert_allclose(along[k][shown.front[k]], boxes.distance[k], rtol=1e-4)
    height = [np.ptp(np.nonzero(front)[0]) + 1 for front in shown.front]
    expected = boxes.edge / boxes.distance / np.tan(rooms.cameras(INDICES).field / 2) * rooms.size / 2
    assert np.corrcoef(height, expected)[0, 1] > 0.98


def test_sizes_do_not_tell_distances() -> None:
    boxes = EmptyRooms().draw(np.arange(5000))
    assert abs(np.corrcoef(boxes.distance, boxes.edge)[0, 1]) < 0.05
    assert DRAWN[0] * 0.999 <= boxes.distance.min() < boxes.distance.max() <= DRAWN[1] * 1.001
    for low, high in ((DRAWN[0], NEAREST), (FARTHEST, DRAWN[1])):  # a margin at both ends of where one is moved
        assert np.mean((boxes.distance > low) & (boxes.distance < high)) > 0.08
    assert SMALLEST * 0.999 <= boxes.edge.min() < boxes.edge.max() <= LARGEST * 1.001


def test_no_box_pierces_the_back_wall() -> None:
    draft = EmptyRooms()._draft(np.arange(5000), None)
    farthest = draft.cameras.position[:, 2] + DRAWN[1] + LARGEST
    assert (farthest < draft.depth).all()


def test_lamps_that_are_not_there_give_no_light() -> None:
    lit = EmptyRooms()._draft(np.arange(256), None).lamp_lit
    assert not lit.any()


def test_a_room_is_a_function_of_its_index() -> None:
    rooms = EmptyRooms(2)
    some = np.array([5, 70, 5])
    boxes = rooms.draw(some)
    shown = rooms.render(some, boxes)
    np.testing.assert_array_equal(shown.images[0], shown.images[2])
    one = rooms.render(some[1:2], rooms.draw(some[1:2]))
    np.testing.assert_array_equal(one.depths[0], shown.depths[1])
    assert not np.array_equal(shown.images[0], shown.images[1])
    with pytest.raises(ValueError, match="index -1"):
        rooms.render(np.array([-1]))


def test_a_tilt_moves_the_image_and_not_the_room() -> None:
    rooms = EmptyRooms()
    down = rooms.render(INDICES[:4], tilt=np.full(4, -0.1, np.float32))
    level = rooms.render(INDICES[:4])
    # Looking further down, the back wall lies further up in the image.
    assert (down.depths[:, 40].mean(1) < level.depths[:, 40].mean(1)).all()


def test_what_is_seen_edge_on_is_no_nearer_and_no_farther_than_its_room() -> None:
    """Rooms in which a side of the box is seen edge-on, so that its plane is met anywhere, behind the camera too."""
    rooms, indices = EmptyRooms(), np.array([494, 635, 835, 1016, 1387, 3350])
    depths = rooms.render(indices, rooms.draw(indices)).depths
    assert depths.min() > 1
    assert depths.max() < 10.1  # metres from the camera to the farthest wall
