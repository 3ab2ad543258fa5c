"""How far regions move, on networks of which it is known."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.base.types import Padding
from sandbox.nn.padded import make_convolutions
from sandbox.nn.seeding import seed_parameters
from vision.cam.crops import SIDES, Crop, centre, crops_of, smallest_size
from vision.cam.fields import Receptive, receptive_of
from vision.cam.maps import Classifier
from vision.cam.measure import Moves, compared, measure
from vision.cam.targets import LAST, own_classifier, own_field
from vision.classify.networks import STRIDE, PooledLinear, SmallVgg

PAIRS = [(comparison, cells) for comparison in ("crop", "control") for cells in ("inside", "all")]


def small(padding: Padding, coord: bool = False) -> SmallVgg:
    made = SmallVgg(make_convolutions(coord, "all", False, padding), padding, 2, PooledLinear(16, 4))
    seed_parameters(made, 0, "network")
    return made.eval()


def noise(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Bump(nn.Module):
    """Sees each pixel by itself, in cells of ``stride``, and answers with a bump at a fixed distance from the left.

    Args:
        column: the cell where it is 1; it is 0 elsewhere.
    """

    def __init__(self, column: int, stride: int = 4) -> None:
        super().__init__()
        self.column, self.pool = column, nn.AvgPool2d(stride)
        self.level = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = 0 * self.pool(images)[:, :1]
        there = torch.zeros(maps.shape[-1])
        there[self.column] = 1
        level = self.level(maps + there)
        return torch.stack([level.mean((1, 2, 3)), -level.mean((1, 2, 3))], 1)


class Borders(nn.Module):
    """A convolution that answers at the left border alone: 1 where a 3x1 kernel sees padded zeros on its left."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, (1, 3), padding=(0, 1))
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[0, 0, 0, 0] = -1
            assert self.conv.bias is not None
            self.conv.bias.fill_(1)
        self.level = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.level(self.conv(images))
        return torch.stack([maps.mean((1, 2, 3)), -maps.mean((1, 2, 3))], 1)


# ---- known displacements


def test_a_network_that_looks_at_a_distance_from_the_left_moves_by_what_is_cut_off_there() -> None:
    looks = Classifier(Bump(column=2), "level", lambda images: images, Receptive(4, 0, 3))
    crops = tuple(Crop(side, 8, 64) for side in SIDES)
    moves = measure(looks, noise(3, 64), crops)
    # Cut off on the left, the crop's third cell is the image's fifth; cut off elsewhere, the third cells are the same.
    for cells in ("inside", "all"):
        moved = moves.displacement["crop", cells]
        np.testing.assert_allclose(moved, np.tile([8.0, 0.0, 0.0, 0.0], (3, 1)), atol=1e-5)
        # The canvas moves to the left, to the right, up, down: under its third column come pixels 8 to one side.
        control = moves.displacement["control", cells]
        np.testing.assert_allclose(control, np.tile([8.0, 8.0, 0.0, 0.0], (3, 1)), atol=1e-5)


def test_a_network_that_looks_at_the_left_border_moves_with_it() -> None:
    white = torch.ones(2, 3, 32, 32)  # 1 - 1 everywhere but at the border, where the padded 0 leaves 1
    looks = Classifier(Borders(), "level", lambda images: images, receptive_of(Borders(), "level"))
    assert looks.field == Receptive(1, -1, 1)
    moves = measure(looks, white, (Crop("left", 12, 32), Crop("right", 12, 32), Crop("top", 12, 32)))
    inside, everywhere = moves.displacement["crop", "inside"], moves.displacement["crop", "all"]
    assert np.isnan(inside).all()  # what sees the border is not compared
    # Of the shared columns the image's map has none, since its own border was cut off; else both have the same.
    assert np.isnan(everywhere[:, 0]).all()
    np.testing.assert_allclose(everywhere[:, 1:], 0, atol=1e-6)
    assert moves.scores()["score/measurable_all"] == pytest.approx(2 / 3)
    assert math.isnan(moves.scores()["score/displacement"])
    assert math.isnan(moves.scores()["score/displacement_median"])


def test_two_regions_of_which_the_place_is_known() -> None:
    first, second = torch.zeros(2, 5, 7), torch.zeros(2, 5, 7)
    first[:, 1, 1], second[:, 4, 5] = 2, 3
    none = torch.zeros(2)
    apart, alike = compared(first, second, 8, (none, none))
    torch.testing.assert_close(apart, torch.full((2,), 40.0))  # 3 and 4 cells
    torch.testing.assert_close(alike, torch.full((2,), -1 / 34))  # of two spikes among 35 cells
    apart, alike = compared(first, 5 * first, 8, (none, none))
    assert apart.tolist() == [0, 0]
    torch.testing.assert_close(alike, torch.ones(2))
    apart, alike = compared(first, second, 8, (torch.tensor([1.9, 2.0]), none))
    assert apart.isnan().tolist() == alike.isnan().tolist() == [False, True]
    apart, alike = compared(torch.ones(1, 3, 3), torch.ones(1, 3, 3), 8, (none[:1], none[:1]))
    assert apart.tolist() == [0]
    assert alike.isnan().all()  # of what is the same everywhere
    assert compared(first[:, :0], second[:, :0], 8, (none, none))[0].isnan().all()


# ---- rolls and circular networks


@given(st.sampled_from([24, 48, 72, 96]), st.sampled_from(SIDES), st.integers(0, 2**31))
@settings(max_examples=6, deadline=None)
def test_a_circular_network_and_whole_strides_give_exactly_nothing(pixels: int, side: str, seed: int) -> None:
    assert side in SIDES
    moves = measure(own_classifier(small("circular")), noise(2, 192, seed), (Crop(side, pixels, 192),))
    for key in (("crop", "inside"), ("control", "inside"), ("control", "all")):
        np.testing.assert_allclose(moves.displacement[key], 0, atol=1e-2)
        np.testing.assert_allclose(moves.correlation[key], 1, atol=1e-4)
    assert (moves.displacement["crop", "all"] > 0.05).any()  # there a crop's cells see what was cut off, or wrapped


def test_a_map_rolls_with_its_image_by_whole_strides_and_by_no_others() -> None:
    circular, images = own_classifier(small("circular")), noise(2, 64)
    classes = circular.logits(images).argmax(1)
    maps = circular.maps(images, classes)
    rolled = circular.maps(images.roll((2 * STRIDE, -STRIDE), (2, 3)), classes).roll((-2, 1), (1, 2))
    apart, alike = compared(maps, rolled, STRIDE, (maps.new_zeros(2), maps.new_zeros(2)))
    assert apart.max() < 1e-3
    torch.testing.assert_close(alike, torch.ones(2))
    torch.testing.assert_close(rolled, maps, rtol=1e-3, atol=1e-6)
    for way in (1, 3, STRIDE + 4):
        other = circular.maps(images.roll(way, 3), classes).roll(-round(way / STRIDE), 2)
        assert compared(maps, other, STRIDE, (maps.new_zeros(2), maps.new_zeros(2)))[0].min() > 0.05


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate", "partial"])
def test_borders_count_only_where_they_are_seen(padding: Padding) -> None:
    moves = measure(own_classifier(small(padding)), noise(2, 192), (Crop("left", 48, 192), Crop("bottom", 96, 192)))
    for key in (("crop", "inside"), ("control", "inside")):
        np.testing.assert_allclose(moves.displacement[key], 0, atol=1e-2)
    for key in (("crop", "all"), ("control", "all")):
        assert (moves.displacement[key] > 0.05).all()


@pytest.mark.parametrize(("padding", "coord"), [("none", False), ("zeros", True), ("circular", True)])
def test_scaled_maps_and_coordinates_count_everywhere(padding: Padding, coord: bool) -> None:
    moves = measure(own_classifier(small(padding, coord)), noise(2, 192), (Crop("top", 48, 192),))
    for key in PAIRS:
        assert (moves.displacement[key] > 0.05).all()


# ---- receptive fields and crops


def test_receptive_fields_are_those_of_the_kernels() -> None:
    assert own_field() == Receptive(8, -30, 37)
    assert own_field().size == 68
    for padding in ("circular", "reflect", "replicate", "partial"):
        assert receptive_of(small(padding), LAST) == own_field()
    network = nn.Sequential(nn.Conv2d(3, 2, 5, 2), nn.ReLU(), nn.Conv2d(2, 2, 3, dilation=2))
    assert receptive_of(network, "2") == Receptive(2, 0, 12)  # 4 + 2 x 4 beyond the first pixel
    assert receptive_of(network, "0") == Receptive(2, 0, 4)


def test_what_sees_everything_or_lies_on_no_grid_is_refused() -> None:
    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean((2, 3), keepdim=True)

    with pytest.raises(UserError, match="see more than 1024 pixels"):
        receptive_of(nn.Sequential(Whole()), "0")
    with pytest.raises(UserError, match="do not lie on a regular grid"):
        receptive_of(nn.Sequential(nn.AdaptiveAvgPool2d(7)), "0")
    with pytest.raises(UserError, match="cannot run on images of 64x512 pixels"):
        receptive_of(nn.Sequential(nn.Conv2d(1, 1, 3)), "0")


@given(st.integers(1, 9), st.integers(-40, 0), st.integers(1, 60), st.integers(0, 90), st.integers(0, 120))
def test_the_cells_inside_are_those_that_see_nothing_else(
    stride: int, first: int, extent: int, low: int, length: int
) -> None:
    field, cells = Receptive(stride, first, first + extent), 30
    found = field.inside(low, low + length, cells)
    expected = [cell for cell in range(cells)
                if cell * stride + first >= low and cell * stride + first + extent < low + length]  # fmt: skip
    assert list(found) == expected


def test_crops_take_whole_strides_between_an_eighth_and_a_half() -> None:
    crops = crops_of(192, 8)
    assert sorted({crop.pixels for crop in crops}) == [24, 48, 72, 96]
    assert {crop.side for crop in crops} == set(SIDES)
    assert len(crops) == 16
    assert sorted({crop.pixels for crop in crops_of(224, 32)}) == [32, 64, 96]  # 28, 56, 84 and 112 are no multiples
    with pytest.raises(UserError, match=r"--size is 63: .*allowed are 64 and more"):
        crops_of(63, 32)
    assert smallest_size(own_field()) == 88  # of which 16 are cut off at least: 72 are left


@given(st.sampled_from(SIDES), st.integers(1, 5), st.integers(10, 14), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_windows_show_the_same_pixels(side: str, cut: int, cells: int, seed: int) -> None:
    """Cells that are pixels: the windows of image and crop, and of canvas and moved canvas, hold equal values."""
    assert side in SIDES
    crop, field = Crop(side, cut, cells), Receptive(1, 0, 0)
    images = noise(1, cells, seed)
    canvases = crop.blanked(images)
    pairs = ((images, crop.of(images)), (canvases, crop.moved(canvases)))
    for windows in crop.windows(field, cells, cells - cut).values():
        for (first, second), window in zip(pairs, windows, strict=True):
            found = window.of_first(first[:, 0])
            assert found.numel() == cells * (cells - cut)
            assert torch.equal(found, window.of_second(second[:, 0]))


def test_what_is_painted_over_has_the_image_s_median_colour() -> None:
    images = torch.ones(1, 3, 6, 6)
    images[:, 1, :2] = 0.25
    blank = Crop("top", 2, 6).blanked(images)
    assert torch.equal(blank, torch.ones(1, 3, 6, 6))
    assert torch.equal(Crop("bottom", 2, 6).blanked(images), images)


def test_the_centre_of_mass() -> None:
    maps = torch.zeros(2, 4, 6)
    maps[0, 1, 5] = maps[0, 3, 1] = 2
    torch.testing.assert_close(centre(maps)[0], torch.tensor([2.0, 3.0]))
    assert centre(maps)[1].isnan().all()


# ---- the maps


def test_grad_cam_of_a_pooled_network_is_its_cam() -> None:
    network, images = small("zeros"), noise(3, 64)
    classes = torch.tensor([0, 3, 1])
    found = own_classifier(network).maps(images, classes)
    with torch.no_grad():
        level = network.maps(2 * images - 1)
        cam = torch.einsum("bchw,bc->bhw", level, network.head.weight[classes]).clamp_min(0)
    torch.testing.assert_close(found, cam / (8 * 8), rtol=1e-4, atol=1e-7)


def test_the_table_has_a_row_for_each_measurement() -> None:
    moves = measure(own_classifier(small("zeros")), noise(2, 192), crops_of(192, 8)[:3])
    rows = list(csv.DictReader(io.StringIO(moves.csv().decode())))
    assert len(rows) == 2 * 3 * 4
    known = [float(row["displacement"]) for row in rows
             if (row["comparison"], row["cells"]) == ("control", "all") and row["displacement"]]  # fmt: skip
    assert np.mean(known) == pytest.approx(moves.scores()["score/control_displacement_all"], rel=1e-4)


def test_scores_are_means_over_what_is_measurable() -> None:
    moved = np.array([[1.0, np.nan], [2.0, 6.0]])
    alike = np.array([[0.5, np.nan], [np.nan, 1.0]])
    moves = Moves((), dict.fromkeys(PAIRS, moved), dict.fromkeys(PAIRS, alike))
    scores = moves.scores()
    for start in ("score/", "score/control_"):
        for end in ("", "_all"):
            assert scores[f"{start}displacement{end}"] == 3
            assert scores[f"{start}correlation{end}"] == 0.75
            assert scores[f"{start}measurable{end}"] == 0.75
    assert scores["score/displacement_median"] == 2
