"""Scenes of objects that look the same: masks are the images, pixel by pixel, and all hangs on the index alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.data.instances import MANY, DiscGrid, Scattered, SixObjects
from sandbox.data.shapes import ClassicSortOfClevr, ideal_mask

DATA: dict[str, Any] = {"grid": DiscGrid(16, 96), "scattered": Scattered(), "six": SixObjects()}


@pytest.mark.parametrize("name", DATA)
@given(indices=st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_a_scene_is_a_function_of_its_index_and_its_masks_are_exact(name: str, indices: list[int]) -> None:
    scenes = DATA[name].render(np.array(indices))
    np.testing.assert_array_equal(scenes.ids > 0, (scenes.images != 255).any(1))
    for image, ids, count in zip(scenes.images, scenes.ids, scenes.counts, strict=True):
        assert np.unique(ids).tolist() == list(range(count + 1))
        for number in range(1, count + 1):  # one colour an object
            assert len(np.unique(image[:, ids == number], axis=1).T) == 1
    again = DATA[name].render(np.array(indices[::-1]))
    np.testing.assert_array_equal(again.images[::-1], scenes.images)
    np.testing.assert_array_equal(again.ids[::-1], scenes.ids)


@given(st.integers(2, 7), st.integers(0, 9), st.integers(1, 4), st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_a_grid_is_itself_when_rolled_by_its_spacing(radius: int, more: int, along: int, index: int) -> None:
    spacing = 2 * radius + 2 + more
    grid = DiscGrid(spacing, along * spacing, radius)
    (image,), (ids,) = (getattr(grid.render(np.array([index])), name) for name in ("images", "ids"))
    np.testing.assert_array_equal(np.roll(image, spacing, 1), image)
    np.testing.assert_array_equal(np.roll(image, spacing, 2), image)
    (centres,) = grid.centres(np.array([index]))
    for number, (row, column) in enumerate(centres, 1):  # whole discs, in the order of their numbers
        window = ids[row - radius : row + radius + 1, column - radius : column + radius + 1]
        np.testing.assert_array_equal(window == number, ideal_mask(1, radius))
    assert (ids > 0).sum() == along**2 * ideal_mask(1, radius).sum()


def test_grids_lie_in_different_places() -> None:
    firsts = {tuple(centres[0]) for centres in DiscGrid(16, 96).centres(np.arange(200)).tolist()}
    assert firsts == {(row, column) for row in range(5, 11) for column in range(5, 11)}


@pytest.mark.parametrize("spacing", [12, 15, 16, 24])
def test_where_a_held_out_grid_lies_none_of_training_does(spacing: int) -> None:
    grids = [DiscGrid(spacing, 4 * spacing, part="training"), DiscGrid(spacing, 4 * spacing, part="held out")]
    parts = [{tuple(first) for first in grid.centres(np.arange(4000))[:, 0].tolist()} for grid in grids]
    free = (spacing - 10) ** 2
    assert [len(part) for part in parts] == [free - max(1, free // 5), max(1, free // 5)]
    assert not parts[0] & parts[1]


def test_scattered_objects_are_discs_and_squares_apart_from_each_other() -> None:
    scenes = Scattered().render(np.arange(60))
    assert scenes.counts.min() >= 4
    assert scenes.counts.max() == 10
    kinds, sizes = set(), set()
    for ids, count in zip(scenes.ids, scenes.counts, strict=True):
        for number in range(1, count + 1):
            places = np.argwhere(ids == number)
            (top, left), (bottom, right) = places.min(0), places.max(0)
            radius = int(bottom - top) // 2
            inside = ids[top : bottom + 1, left : right + 1] == number
            kind = int(not inside.all())
            np.testing.assert_array_equal(inside, ideal_mask(kind, radius))
            around = np.pad(ids, 1)[top : bottom + 3, left : right + 3]
            assert set(np.unique(around)) <= {0, number} or kind == 1
            kinds.add(kind)
            sizes.add(radius)
    assert kinds == {0, 1}
    assert sizes == set(range(4, 13))


def test_six_objects_are_sort_of_clevr_s_with_a_margin() -> None:
    rendered = ClassicSortOfClevr().render(np.arange(8))
    scenes = SixObjects().render(np.arange(8))
    np.testing.assert_array_equal(scenes.images[:, :, 2:77, 2:77], rendered.images)
    for ids, centres in zip(scenes.ids, rendered.centres, strict=True):
        assert [int(ids[row + 2, column + 2]) for row, column in centres] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"spacing": 11, "size": 110}, "spacing is 11; allowed are 12 and more"),
        ({"spacing": 16, "size": 100}, "size is 100; allowed are multiples of the spacing, 16"),
        ({"spacing": 12, "size": 192}, f"256 discs are more than {MANY}"),
        ({"spacing": 16, "size": 96, "seed": -1}, "seed is -1"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(fields: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DiscGrid(**fields)


@pytest.mark.parametrize("name", DATA)
def test_a_negative_index_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="index -1 is not in the data"):
        DATA[name].render(np.array([0, -1]))
