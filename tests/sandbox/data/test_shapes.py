"""The shapes' rules, checked against the pixels: known answers, and properties over seeds and indices."""

from typing import Any

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sandbox.data.shapes import ClassicSortOfClevr, NotSoClevr, SortOfClevr, ideal_mask

SCENES = [(cls, separation) for cls in (SortOfClevr, ClassicSortOfClevr) for separation in ("clear", "paper")]
seeds = st.integers(0, 2**64 - 1)
indices = st.lists(st.integers(0, 2**62), min_size=1, max_size=8).map(lambda rows: np.array(rows, dtype=np.int64))


def covered(shapes: Any, k: int, radius: int) -> np.ndarray:
    """Pixels of object k by the definition, one at a time."""
    rows, columns = np.indices(shapes.images.shape[-2:])
    masks = []
    for (row, column), kind in zip(shapes.centres[:, k], shapes.kinds[:, k], strict=True):
        dy, dx = rows - row, columns - column
        square = np.maximum(abs(dy), abs(dx)) <= radius
        masks.append(dy**2 + dx**2 <= radius**2 if kind == 1 else square)
    return np.stack(masks)


@pytest.mark.parametrize(("cls", "separation"), SCENES)
@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=indices)
def test_a_row_depends_on_seed_and_index_alone(cls: Any, separation: Any, seed: int, rows: np.ndarray) -> None:
    data = cls(seed, separation)
    together, factors = data.render(rows), data.factors(rows)
    for name in ("centres", "kinds", "colours"):
        np.testing.assert_array_equal(getattr(together, name), getattr(factors, name))
    for i, index in enumerate(rows):
        alone = cls(seed, separation).render(np.array([index]))
        np.testing.assert_array_equal(alone.images[0], together.images[i])
        np.testing.assert_array_equal(alone.centres[0], together.centres[i])


def test_chunks_of_the_painter_do_not_show() -> None:
    rows = np.arange(300)
    data = SortOfClevr(seed=5)
    backwards = data.render(rows[::-1].copy()).images[::-1]
    np.testing.assert_array_equal(data.render(rows).images, backwards)


@pytest.mark.parametrize(("cls", "separation"), SCENES)
@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=indices)
def test_pixels_follow_from_the_factors(cls: Any, separation: Any, seed: int, rows: np.ndarray) -> None:
    shapes = cls(seed, separation).render(rows)
    expected = np.full((len(rows), cls.size, cls.size, 3), 255, dtype=np.uint8)
    for k, colour in enumerate(cls.palette):
        expected[covered(shapes, k, cls.radius)] = colour
        assert (shapes.colours[:, k] == k).all()
    np.testing.assert_array_equal(shapes.images, np.moveaxis(expected, -1, 1))


@pytest.mark.parametrize("cls", [SortOfClevr, ClassicSortOfClevr])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=indices)
def test_clear_objects_never_touch(cls: Any, seed: int, rows: np.ndarray) -> None:
    shapes = cls(seed, "clear").render(rows)
    plane = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    masks = [covered(shapes, k, cls.radius) for k in range(len(cls.palette))]
    for k, mask in enumerate(masks):
        grown = ndimage.binary_dilation(mask, structure=plane)
        assert not any((grown & other).any() for other in masks[k + 1 :])


def test_clear_asks_for_one_empty_pixel_and_no_more() -> None:
    shapes = SortOfClevr(seed=1).render(np.arange(3000))
    red, blue = (covered(shapes, k, 10) for k in range(2))
    plane = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    next_to_it = (ndimage.binary_dilation(red, structure=plane, iterations=2) & blue).any(axis=(1, 2))
    pairs = {tuple(kinds) for kinds in shapes.kinds[next_to_it]}
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}  # for each pair of kinds the closest distance occurs


@pytest.mark.parametrize(("cls", "closest"), [(SortOfClevr, 20), (ClassicSortOfClevr, 10)])
def test_paper_keeps_the_centres_apart(cls: Any, closest: int) -> None:
    centres = cls(seed=2, separation="paper").factors(np.arange(20_000)).centres
    i, j = np.triu_indices(centres.shape[1], k=1)
    squared = ((centres[:, i] - centres[:, j]) ** 2).sum(axis=-1)
    assert squared.min() == closest**2


def test_a_tenth_of_the_paper_images_overlap() -> None:
    shapes = SortOfClevr(seed=3, separation="paper").render(np.arange(5000))
    overlap = (covered(shapes, 0, 10) & covered(shapes, 1, 10)).any(axis=(1, 2)).mean()
    assert 0.085 < overlap < 0.12


@pytest.mark.parametrize("separation", ["clear", "paper"])
def test_factors_are_spread_as_documented(separation: Any) -> None:
    factors = SortOfClevr(seed=4, separation=separation).factors(np.arange(40_000))
    assert set(np.unique(factors.centres)) == set(range(10, 54))
    assert np.abs(factors.kinds.mean(axis=0) - 0.5).max() < 0.0125  # five standard errors
    assert abs(np.corrcoef(factors.kinds.T)[0, 1]) < 0.025
    neighbours = np.corrcoef(factors.centres[:-1, 0, 0], factors.centres[1:, 0, 0])[0, 1]
    assert abs(neighbours) < 0.025
    rows_to_columns = factors.centres[..., 0].std() / factors.centres[..., 1].std()
    assert abs(rows_to_columns - 1) < 0.02


@pytest.mark.parametrize("cls", [SortOfClevr, ClassicSortOfClevr])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=indices)
def test_a_quadrant_is_empty_or_occupied(cls: Any, seed: int, rows: np.ndarray) -> None:
    free, empty, occupied = (cls(seed, quadrant=name).factors(rows) for name in ("free", "empty", "occupied"))
    inside = cls.in_quadrant(free.centres).any(1)
    assert not cls.in_quadrant(empty.centres).any()
    assert cls.in_quadrant(occupied.centres).any(1).all()
    np.testing.assert_array_equal(empty.centres[~inside], free.centres[~inside])  # else drawn again
    np.testing.assert_array_equal(occupied.centres[inside], free.centres[inside])
    np.testing.assert_array_equal(empty.kinds, occupied.kinds)


def test_places_of_a_quadrant_are_all_there_are() -> None:
    centres = SortOfClevr(quadrant="occupied").factors(np.arange(20_000)).centres.reshape(-1, 2)
    inside = centres[(centres >= 32).all(1)]
    assert set(map(tuple, inside.tolist())) == {(row, column) for row in range(32, 54) for column in range(32, 54)}
    outside = SortOfClevr(quadrant="empty").factors(np.arange(40_000)).centres.reshape(-1, 2)
    assert len(set(map(tuple, outside.tolist()))) == 44**2 - 22**2


def test_seeds_give_unrelated_data() -> None:
    one, two = (SortOfClevr(seed).factors(np.arange(2000)).centres for seed in (0, 1))
    assert (one == two).all(axis=(1, 2)).mean() < 0.01
    assert (one[1:] == two[:-1]).all(axis=(1, 2)).mean() < 0.01


def test_the_data_stay_the_same_between_versions() -> None:
    factors = SortOfClevr(seed=0).factors(np.array([0, 1, 10**12]))
    assert factors.centres.tolist() == [[[47, 15], [14, 37]], [[53, 16], [43, 45]], [[31, 47], [13, 20]]]
    assert factors.kinds.tolist() == [[0, 0], [1, 0], [1, 0]]


def test_classic_scenes_show_six_whole_objects() -> None:
    shapes = ClassicSortOfClevr(seed=6).render(np.arange(50))
    assert shapes.images.shape == (50, 3, 75, 75)
    for k, colour in enumerate(ClassicSortOfClevr.palette):
        pixels = (shapes.images == np.array(colour)[:, None, None]).all(axis=1).sum(axis=(1, 2))
        np.testing.assert_array_equal(pixels, np.where(shapes.kinds[:, k] == 0, 121, 81))


def test_ideal_masks() -> None:
    assert ideal_mask(0, 10).sum() == 441
    assert ideal_mask(1, 10).sum() == 317
    assert ideal_mask(1, 2).tolist() == [
        [c == "x" for c in row] for row in ("..x..", ".xxx.", "xxxxx", ".xxx.", "..x..")
    ]


def test_no_index_gives_no_image() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert SortOfClevr().render(nothing).images.shape == (0, 3, 64, 64)
    assert NotSoClevr().render(nothing).images.shape == (0, 1, 64, 64)


def test_not_so_clevr_shows_every_position_once() -> None:
    shapes = NotSoClevr().render(np.arange(3136))
    assert shapes.images.shape == (3136, 1, 64, 64)
    assert set(np.unique(shapes.images)) == {0, 1}
    assert (shapes.images.sum(axis=(1, 2, 3)) == 81).all()
    rows, columns = np.indices((64, 64))
    for axis, places in enumerate((rows, columns)):
        np.testing.assert_array_equal((shapes.images[:, 0] * places).sum(axis=(1, 2)), 81 * shapes.centres[:, 0, axis])
    assert len({tuple(centre) for centre in shapes.centres[:, 0].tolist()}) == 3136
    assert (shapes.centres.min(), shapes.centres.max()) == (4, 59)
    assert shapes.centres[57, 0].tolist() == [5, 5]


@pytest.mark.parametrize(("name", "train", "test"), [("uniform", 2509, 627), ("quadrant", 2407, 729)])
def test_not_so_clevr_splits(name: Any, train: int, test: int) -> None:
    split = NotSoClevr().split(name, seed=7)
    assert (len(split.train), len(split.test)) == (train, test)
    assert sorted([*split.train, *split.test]) == list(range(3136))
    again, other = NotSoClevr().split(name, seed=7), NotSoClevr().split(name, seed=8)
    np.testing.assert_array_equal(split.test, again.test)
    assert np.array_equal(split.test, other.test) == (name == "quadrant")


def test_the_quadrant_split_keeps_one_quadrant_for_the_test() -> None:
    data = NotSoClevr()
    split = data.split("quadrant")
    assert data.factors(split.test).centres.min() == 33
    assert (data.factors(split.train).centres.min(axis=(1, 2)) < 33).all()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="seed is -1; allowed"):
        SortOfClevr(seed=-1)
    with pytest.raises(ValueError, match="seed is -1; allowed"):
        NotSoClevr().split("uniform", seed=-1)
    with pytest.raises(ValueError, match="index -3 is not in the data; allowed are 0 and above"):
        SortOfClevr().render(np.array([0, -3]))
    with pytest.raises(ValueError, match="index 3136 is not in the data; allowed are 0 to 3135"):
        NotSoClevr().render(np.array([3136]))
    with pytest.raises(ValueError, match="kind is 2; allowed"):
        ideal_mask(2, 10)
    with pytest.raises(ValueError, match="radius is 0; allowed"):
        ideal_mask(0, 0)


def test_bad_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # else beartype refuses them first
    bad: Any = "half"
    with pytest.raises(ValueError, match="separation is 'half'; allowed are clear, paper"):
        SortOfClevr(separation=bad)
    with pytest.raises(ValueError, match="quadrant is 'half'; allowed are free, empty, occupied"):
        SortOfClevr(quadrant=bad)
    with pytest.raises(ValueError, match="split is 'half'; allowed are uniform, quadrant"):
        NotSoClevr().split(bad)
