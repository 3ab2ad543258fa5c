"""The rooms: functions of seed and index, what the factors say against the pixels, and the painter's geometry."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sandbox.data.rooms.raster import Cameras, Scenes, floats
from sandbox.data.rooms.rooms import CLASSES, Rooms

seeds = st.integers(0, 2**64 - 1)
indices = st.lists(st.integers(0, 2**62), min_size=1, max_size=4).map(lambda rows: np.array(rows, dtype=np.int64))
WALL, FLOOR, CEILING, WINDOW, CURTAIN, BED = range(6)
LAMP, RUG = CLASSES.index("lamp"), CLASSES.index("rug")


@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(seed=seeds, rows=indices)
def test_a_row_depends_on_seed_and_index_alone(seed: int, rows: np.ndarray) -> None:
    together = Rooms(seed, 32).render(rows, masks=True)
    assert together.masks is not None
    for i, index in enumerate(rows):
        alone = Rooms(seed, 32).render(np.array([index]), masks=True)
        assert alone.masks is not None
        np.testing.assert_array_equal(alone.images[0], together.images[i])
        np.testing.assert_array_equal(alone.masks[0], together.masks[i])
        for field in fields(together.factors):
            one, all_of_them = getattr(alone.factors, field.name), getattr(together.factors, field.name)
            np.testing.assert_array_equal(one[0], all_of_them[i])


def test_chunks_do_not_show_and_seeds_differ() -> None:
    rows = np.arange(100)
    images = Rooms(3, 16).render(rows).images
    np.testing.assert_array_equal(images[::-1], Rooms(3, 16).render(rows[::-1].copy()).images)
    assert (images != Rooms(4, 16).render(rows).images).any(axis=(1, 2, 3)).all()
    assert len(np.unique(images.reshape(100, -1), axis=0)) == 100


def test_one_index_is_one_room_at_every_size() -> None:
    small, large = Rooms(0, 32).render(np.arange(16)), Rooms(0, 128).render(np.arange(16))
    shrunk = large.images.reshape(16, 3, 32, 4, 32, 4).mean(axis=(3, 5))
    assert np.abs(shrunk - small.images).mean() < 3  # of 255: edges are rounded to other samples
    np.testing.assert_array_equal(small.factors.camera, large.factors.camera)
    # Pixel centres: (p + 1/2) / size is the same place.
    np.testing.assert_allclose(
        (small.factors.bed_centre + 0.5) * 4, large.factors.bed_centre + 0.5, rtol=1e-4, atol=1e-3
    )


def test_every_room_has_what_makes_it_one() -> None:
    rooms = Rooms(0, 64).render(np.arange(256), masks=True)
    assert rooms.masks is not None
    shares = np.stack([(rooms.masks == k).mean(axis=(1, 2)) for k in range(len(CLASSES))], axis=1)
    assert (shares[:, [WALL, FLOOR, CEILING, BED]] > 0).mean(axis=0).min() > 0.9
    assert 0.05 < shares[:, BED].mean() < 0.4
    for name in ("window", "curtain", "lamp", "rug", "picture", "furniture"):
        assert (shares[:, CLASSES.index(name)] > 0).mean() > 0.3, name
    assert (shares[~rooms.factors.rug, RUG] == 0).all()
    assert rooms.images.std(axis=0).min() > 20  # every pixel differs from room to room
    assert 90 < rooms.images.mean() < 190


def test_the_factors_point_at_what_they_name() -> None:
    rooms = Rooms(0, 128).render(np.arange(200), masks=True)
    assert rooms.masks is not None
    for centre, allowed, least in (
        (rooms.factors.bed_centre, (BED,), 0.97),  # a wardrobe may stand before it
        (rooms.factors.lamp_centre, (LAMP,), 0.7),
        (rooms.factors.window_centre, (WINDOW,), 0.5),  # often behind the headboard or a wardrobe
    ):
        places = np.rint(centre)
        inside = ((places >= 2) & (places < 126)).all(axis=1)
        rows, columns = places[inside].astype(int).T
        found = np.isin(rooms.masks[np.flatnonzero(inside), rows, columns], allowed)
        assert inside.sum() > 60
        assert found.mean() >= least


def test_a_night_is_darker_and_a_lamp_lights_its_surroundings() -> None:
    rooms = Rooms(0, 32).render(np.arange(300))
    bright = rooms.images.mean(axis=(1, 2, 3))
    assert bright[rooms.factors.night].mean() < bright[~rooms.factors.night].mean() - 10
    assert rooms.factors.lamp_lit[rooms.factors.night].all()


def test_turning_moves_the_picture_the_other_way() -> None:
    rows, angle = np.arange(40), 0.1
    still, turned = Rooms(0, 64), floats(np.full(40, angle))
    before, after = still.factors(rows), still.factors(rows, turn=turned)
    np.testing.assert_allclose(after.camera[:, 3], before.camera[:, 3] + angle, atol=1e-6)
    moved = after.bed_centre[:, 1] - before.bed_centre[:, 1]
    focal = 32 / np.tan(before.camera[:, 5] / 2)
    assert (moved < 0).all()
    # Near the picture's middle a turn by a small angle shifts by about focal length x angle.
    middle = np.abs(before.bed_centre[:, 1] - 31.5) < 10
    assert np.abs(moved / (-focal * angle) - 1)[middle].max() < 0.2
    np.testing.assert_array_equal(still.render(rows, turn=0 * turned).images, still.render(rows).images)


@pytest.mark.parametrize(("arguments", "message"), [((-1, 64), "seed is -1"), ((0, 4), "size is 4; allowed are 8 to")])
def test_what_it_refuses(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rooms(*arguments)
    with pytest.raises(ValueError, match="index -3 is not in the data"):
        Rooms().render(np.array([2, -3]))


# ---- the painter


def camera(n: int = 1) -> Cameras:
    """At the origin, looking along z, ninety degrees wide."""
    zero = np.zeros(n, dtype=np.float32)
    return Cameras(np.zeros((n, 3), dtype=np.float32), zero, zero, np.full(n, np.pi / 2, dtype=np.float32))


def square(z: float, half: float = 0.5, x: float = 0.0) -> np.ndarray:
    return floats([[(x - half, -half, z), (x + half, -half, z), (x + half, half, z), (x - half, half, z)]])


RED, BLUE = floats([[255, 0, 0]]), floats([[0, 0, 255]])


def test_a_square_lands_where_the_pinhole_says() -> None:
    scenes = Scenes(camera())
    scenes.add(square(1.0), RED, 1)  # half as wide as what is seen at depth 1
    images, masks = scenes.paint(64, True)
    assert masks is not None
    rows, columns = np.nonzero(masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 16, 47)
    assert (images[0][masks[0] == 1][:, 0] > 200).all()
    np.testing.assert_allclose(camera().locate(floats([[0, 0, 1]]), 64), [[31.5, 31.5]])
    assert np.isnan(camera().locate(floats([[0, 0, -1]]), 64)).all()


def test_edges_are_blended_by_the_share_they_cover() -> None:
    scenes = Scenes(camera())
    scenes.add(square(1.0, 0.5 + 1 / 64), RED, 1)  # half a pixel further on every side
    images, _ = scenes.paint(64, False)
    assert 80 < int(images[0, 32, 15, 0]) < 175  # of 16 samples the boundary's own count too
    assert images[0, 32, 14, 0] == 0
    assert images[0, 32, 16, 0] == 255


def test_what_reaches_behind_the_camera_is_cut_at_it() -> None:
    floor = floats([[(-9, -1, -3), (9, -1, -3), (9, -1, 1000), (-9, -1, 1000)]])
    scenes = Scenes(camera())
    scenes.add(floor, RED, 1)
    scenes.add(square(-1.0), BLUE, 2)
    _, masks = scenes.paint(32, True)
    assert masks is not None
    assert set(np.unique(masks)) == {0, 1}
    assert (masks[0, 17:, 14:18] == 1).all()
    assert (masks[0, :15] == 0).all()


@pytest.mark.parametrize("nearer_first", [True, False])
def test_of_two_boxes_the_nearer_covers_the_other(nearer_first: bool) -> None:
    scenes = Scenes(camera())
    boxes = [(1.0, RED, 1), (2.0, BLUE, 2)]
    for z, colour, label in boxes if nearer_first else boxes[::-1]:
        item = scenes.item(floats([[-0.5, -0.5, z]]), floats([[0.5, 0.5, z + 0.5]]))
        scenes.add(square(z), colour, label, item=item)
    _, masks = scenes.paint(32, True)
    assert masks is not None
    assert set(np.unique(masks)) == {0, 1}
