"""What a warp explains: nearly all of a pan, next to nothing of a fade, a cut or noise."""

import numpy as np
import pytest

from sandbox.data.rooms.rooms import Rooms
from sandbox.scores.warp import warp_coherence

FRAMES = 31


def texture(seed: int, width: int = 128, height: int = 64) -> np.ndarray:
    """Blobs of some eight pixels, (3, height, width) from 0 to 255."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (3, height // 8 + 1, width // 8 + 1))
    rows, columns = np.arange(height) / 8, np.arange(width) / 8
    low_r, low_c = rows.astype(int), columns.astype(int)
    r, c = (rows - low_r)[:, None], (columns - low_c)[None]
    corners = [coarse[:, low_r + i][:, :, low_c + j] for i in (0, 1) for j in (0, 1)]
    blend: np.ndarray = (1 - r) * ((1 - c) * corners[0] + c * corners[1]) + r * ((1 - c) * corners[2] + c * corners[3])
    return blend


def fade(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    t = np.linspace(0, 1, FRAMES)[:, None, None, None]
    return np.rint((1 - t) * a + t * b).astype(np.uint8)


def test_a_pan_is_movement_and_its_length_is_told() -> None:
    wide = texture(0).astype(np.uint8)
    pan = np.stack([wide[:, :, k // 2 : k // 2 + 64] for k in range(FRAMES)])  # half a pixel a frame
    warp = warp_coherence(pan)
    assert warp.values[0] > 0.85  # what comes into view is new, and half pixels are blurred
    assert warp.moved[0] == pytest.approx(5 / 64, rel=0.1)
    assert warp_coherence(np.ascontiguousarray(pan[::-1])).values[0] > 0.85


def test_a_fade_is_none() -> None:
    assert warp_coherence(fade(texture(1, 64), texture(2, 64))).values[0] < 0.2


def test_noise_and_cuts_are_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 3, 64, 64)).astype(np.uint8)
    cut = np.where(np.arange(FRAMES)[:, None, None, None] < 15, texture(1, 64), texture(2, 64)).astype(np.uint8)
    assert warp_coherence(np.stack([noise, cut])).values.max() < 0.2


def test_rooms_that_pan_against_rooms_that_fade() -> None:
    rooms, turns = Rooms(0, 64), np.linspace(-0.15, 0.15, FRAMES, dtype=np.float32)
    pans = np.stack([rooms.render(np.full(FRAMES, k), turn=turns).images for k in range(3)])
    ends = rooms.render(np.arange(6)).images.astype(float)
    fades = np.stack([fade(ends[k], ends[k + 3]) for k in range(3)])
    assert warp_coherence(pans).values.min() > 0.6
    assert warp_coherence(fades).values.max() < 0.25


def test_a_path_that_stands_still_is_undefined() -> None:
    still = np.repeat(texture(0, 64)[None].astype(np.uint8), FRAMES, axis=0)
    flicker = still ^ (np.arange(FRAMES) % 2).astype(np.uint8)[:, None, None, None]  # by one grey level
    pan = np.stack([np.roll(still[0], k, axis=2) for k in range(FRAMES)])
    warp = warp_coherence(np.stack([still, flicker, pan]))
    np.testing.assert_array_equal(np.isnan(warp.values), [True, True, False])
    scores = warp.scores()
    assert scores["warp_undefined"] == pytest.approx(2 / 3)
    assert scores["warp_coherence"] == warp.values[2]
    assert scores["warp_paths"] == 3
    assert np.isnan(warp_coherence(still).scores()["warp_coherence"])


@pytest.mark.parametrize(("shape", "stride"), [((10, 3, 64, 64), 10), ((0, 20, 3, 64, 64), 10), ((20, 3, 64, 64), 0)])
def test_what_it_refuses(shape: tuple[int, ...], stride: int) -> None:
    with pytest.raises(ValueError, match="with t > stride >= 1"):
        warp_coherence(np.zeros(shape, np.uint8), stride)
