"""Scores with known answers: the data themselves, planted codes, noise."""

import numpy as np
import pytest

from sandbox.data.shapes import Factors, SortOfClevr
from vae.scores import GUESS, active_units, linear_readout, position_error, readouts, targets

DATA = SortOfClevr()
TRAIN, TEST = DATA.render(np.arange(400)), DATA.render(np.arange(400, 600))
NOISE = np.random.default_rng(0)


def test_the_images_themselves_have_no_position_error() -> None:
    found = position_error(TEST.images, TEST)
    assert (found.missing, found.right_kind) == (0, 1)
    np.testing.assert_allclose(found.errors, 0, atol=1e-12)


def test_objects_that_are_off_are_off_by_pixels() -> None:
    inside = (TEST.centres[:, :, 0] <= 50).all(1) & (TEST.centres[:, :, 1] >= 14).all(1)
    moved = np.roll(TEST.images[inside], (3, -4), (2, 3))
    found = position_error(moved, DATA.factors(np.arange(400, 600)[inside]))
    assert inside.sum() > 20
    np.testing.assert_allclose(found.errors, 5)


def test_a_missing_object_costs_a_guess() -> None:
    images = np.where((TEST.images[:, 2:] == 255) & (TEST.images[:, :1] == 0), np.uint8(255), TEST.images)  # no blue
    found = position_error(images, TEST)
    assert found.missing == 0.5
    assert found.mean == pytest.approx(GUESS / 2)
    assert position_error(np.full((200, 3, 64, 64), 255, np.uint8), TEST).mean == GUESS


def test_the_guess_is_what_another_image_s_object_costs() -> None:
    centres = DATA.factors(np.arange(40_000)).centres
    assert np.linalg.norm(centres[:20_000] - centres[20_000:], axis=-1).mean() == pytest.approx(GUESS, abs=0.2)


def test_planted_codes_are_read_out_and_noise_is_not() -> None:
    def codes(factors: object) -> np.ndarray:
        planted = np.column_stack(list(targets(factors).values())) / 10  # type: ignore[arg-type]
        mixing = np.random.default_rng(1).normal(size=(6, 9))
        return (planted @ mixing + 3).astype(np.float32)

    found = readouts(codes(TRAIN), TRAIN, codes(TEST), TEST)
    assert set(found) == {"position", "kind", *(f"{c}_{f}" for c in ("red", "blue") for f in ("row", "column", "kind"))}
    np.testing.assert_allclose(list(found.values()), 1, atol=1e-4)
    noise = readouts(NOISE.normal(size=(400, 9)), TRAIN, NOISE.normal(size=(200, 9)), TEST)
    assert max(abs(value) for value in noise.values()) < 0.15


def test_a_readout_is_scored_on_what_it_was_not_fitted_on() -> None:
    # As many latents as rows: least squares fits the noise exactly, and is far off on other data.
    codes, other = NOISE.normal(size=(50, 50)), NOISE.normal(size=(200, 50))
    wanted, tested = NOISE.normal(size=50), NOISE.normal(size=200)
    assert linear_readout(codes, wanted, codes, wanted) == pytest.approx(1)
    assert linear_readout(codes, wanted, other, tested) < -1


def test_dead_latents_and_constant_targets_do_no_harm() -> None:
    codes, wanted = np.zeros((50, 3)), NOISE.normal(size=50)
    assert linear_readout(codes, wanted, codes, wanted) == pytest.approx(0)
    assert np.isnan(linear_readout(codes, wanted, codes, np.ones(50)))


def test_active_units_are_those_whose_mean_varies() -> None:
    codes = NOISE.normal(size=(5000, 4)) * [0.0, 0.05, 0.2, 3.0] + [5.0, 0.0, 0.0, 0.0]
    assert active_units(codes) == 2  # variances 0, .0025, .04, 9 against .01


def test_a_square_in_a_disc_s_place_has_the_wrong_kind() -> None:
    assert position_error(TEST.images, Factors(TEST.centres, 1 - TEST.kinds, TEST.colours)).right_kind == 0
