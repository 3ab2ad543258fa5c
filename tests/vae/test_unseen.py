"""Objects in a quadrant that training left empty: made-up answers with known errors, and what training sees."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sandbox.data.shapes import Factors, SortOfClevr
from sandbox.experiment.spec import study_spec
from sandbox.train.device import make_fabric
from vae import study as module
from vae.scores import GUESS
from vae.spec import VaeConfig
from vae.study import VaeStudy
from vae.unseen import errors_by_place, map_of_errors, unseen_data, unseen_error

CONFIG = VaeConfig(split="quadrant", width=2, e_width=2, latent=8, batch=4, images=64, steps=10)
UNSEEN = unseen_data(CONFIG).render(np.arange(400))
INSIDE = (UNSEEN.centres >= 32).all(-1)


def make(**fields: Any) -> VaeStudy:
    return VaeStudy(CONFIG.model_copy(update=fields), make_fabric("cpu", "32"))


def test_the_error_is_of_the_objects_in_the_quadrant_alone() -> None:
    assert unseen_error(UNSEEN.images, UNSEEN).mean == pytest.approx(0, abs=1e-12)
    told = np.where(INSIDE[..., None], UNSEEN.centres + np.array([3, 4]), 0)  # the others are said to be far away
    off = unseen_error(UNSEEN.images, Factors(told, UNSEEN.kinds, UNSEEN.colours))
    np.testing.assert_allclose(off.errors, np.full(INSIDE.sum(), 5.0))
    blank = unseen_error(np.full_like(UNSEEN.images, 255), UNSEEN)
    assert (blank.mean, blank.missing) == (GUESS, 1)


def test_the_nearest_place_seen_in_training_is_7_8_pixels_away() -> None:
    inside = np.array([(row, column) for row in range(32, 54) for column in range(32, 54)])
    seen = np.array([(row, column) for row in range(10, 54) for column in range(10, 54) if min(row, column) < 32])
    nearest = np.linalg.norm(inside[:, None] - seen, axis=-1).min(1)
    assert nearest.mean() == pytest.approx(7.84, abs=0.01)


def test_the_map_shows_errors_where_they_are() -> None:
    shapes = SortOfClevr().render(np.arange(2000))
    blank = shapes.images.copy()
    blank[(shapes.centres >= 32).all(-1).any(1)] = 255
    errors = errors_by_place(blank, shapes)
    assert errors.shape == (22, 22)
    assert (errors[11:, 11:] == GUESS).all()
    assert np.nanmean(errors[:11, :11]) < GUESS / 2
    np.testing.assert_allclose(errors_by_place(shapes.images, shapes), 0, atol=1e-12)
    with Image.open(io.BytesIO(map_of_errors(blank, shapes))) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (220, 220, 3)
    assert (pixels[113:, 113:] == 0).all()
    assert (pixels[110:112, 115] == (213, 94, 0)).all()


def test_training_and_its_held_out_images_leave_the_quadrant_empty() -> None:
    study = make()
    seen = study.data.factors(np.concatenate([np.arange(64), study._held_out(1000)]))
    assert not SortOfClevr.in_quadrant(seen.centres).any()
    torch.testing.assert_close(study._batch(3), make(coord=True)._batch(3))
    assert not CONFIG.sees_the_same(CONFIG.model_copy(update={"split": "uniform"}))


def test_scores_curve_and_pictures_of_the_quadrant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_OUT", 130)
    study, spec = make(), study_spec("vae")
    assert spec.primary(study.config).tag == "score/unseen_position_error"
    assert spec.primary(VaeConfig()).tag == "score/position_error"
    assert {score.tag for score in spec.scores_of(study.config)} <= study.evaluate().keys()
    monkeypatch.setattr(study, "reconstruct", lambda images: images)
    sheet, curves = study.preview()
    assert curves["preview/unseen_position_error"] == pytest.approx(0, abs=1e-12)
    shown = sheet[2:, 2:].reshape(8, 66, 8, 66, 3)[:, :64, :, :64].transpose(0, 2, 4, 1, 3)
    np.testing.assert_array_equal(shown[2], UNSEEN.images[:8])
    np.testing.assert_array_equal(shown[3], UNSEEN.images[:8])
    assert study.files().keys() == {"places.png"}
    assert make(split="uniform").files() == {}
