"""Latent paths with known end points, and films that survive being written and read back."""

import io
import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from shop import Said

from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator
from sandbox.cli.video import filmed_study, main, read_image
from sandbox.film.encode import encode_gif, encode_mp4
from sandbox.film.grids import side_by_side, tile
from sandbox.film.paths import ANCHORS, between, draw_latents, image_path, latent_path


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    frames=st.integers(2, 40),
    count=st.integers(1, 4),
    law=st.sampled_from(["normal", "uniform"]),
)
def test_a_pair_path_goes_from_one_latent_to_another(seed: int, frames: int, count: int, law: str) -> None:
    path = latent_path(law, 8, frames=frames, count=count, kind="pair", seed=seed)  # type: ignore[arg-type]
    ends = draw_latents(law, count * 2, 8, keyed_generator(seed, "path", "pair")).view(count, 2, 8)  # type: ignore[arg-type]
    torch.testing.assert_close(path[0], ends[:, 0])
    torch.testing.assert_close(path[-1], ends[:, 1])


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_a_loop_is_closed_and_steady(law: str) -> None:
    path = latent_path(law, 16, frames=20 * ANCHORS, count=2, kind="loop", seed=3)  # type: ignore[arg-type]
    steps = (path.roll(-1, 0) - path).norm(dim=-1)  # (t, 2), the last one closes the loop
    assert steps.max() < 3 * steps.min()
    torch.testing.assert_close(path, latent_path(law, 16, frames=80, count=2, kind="loop", seed=3))  # type: ignore[arg-type]
    assert not torch.equal(path, latent_path(law, 16, frames=80, count=2, kind="loop", seed=4))  # type: ignore[arg-type]


def test_the_spherical_way_keeps_the_length_and_halves_the_angle() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    middle = between(a, b, torch.tensor([[0.5]]), "normal")
    torch.testing.assert_close(middle, torch.tensor([[math.sqrt(2), math.sqrt(2)]]))
    torch.testing.assert_close(between(a, b, torch.tensor([[0.5]]), "uniform"), torch.tensor([[1.0, 1.0]]))


@pytest.mark.parametrize("b", [[1.0, 0.0], [-1.0, 0.0]])
def test_parallel_and_opposite_latents_give_finite_paths(b: list[float]) -> None:
    t = torch.linspace(0, 1, 5)[:, None]
    path = between(torch.tensor([[1.0, 0.0]]).expand(5, 2), torch.tensor([b]).expand(5, 2), t, "normal")
    assert torch.isfinite(path).all()


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (2, 0)])
def test_paths_need_two_frames_and_a_walk(frames: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least 2 frames"):
        latent_path("normal", 4, frames=frames, count=count, kind="loop", seed=0)


def test_a_path_through_given_codes_is_straight_and_meets_each() -> None:
    stops = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]]])
    pair = image_path(stops, frames=5, kind="pair")[:, 0]
    assert pair.tolist() == [[0, 0], [2, 0], [4, 0], [4, 2], [4, 4]]
    loop = image_path(stops, frames=6, kind="loop")[:, 0]
    assert loop.tolist() == [[0, 0], [2, 0], [4, 0], [4, 2], [4, 4], [2, 2]]
    for frames, wrong in ((1, stops), (5, stops[:, :1]), (5, stops[:0])):
        with pytest.raises(ValueError, match="at least 2 frames"):
            image_path(wrong, frames=frames, kind="pair")


# ---- images from files


def test_an_image_is_an_index_or_a_file(tmp_path: Path) -> None:
    assert read_image("50000") == read_image("0" * 5000 + "50000") == 50_000
    picture = tmp_path / "picture.png"
    half = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    half.putpixel((0, 0), (0, 0, 0, 0))
    half.save(picture)
    image = read_image(str(picture))
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (4, 2))
    assert (image.getpixel((0, 0)), image.getpixel((1, 0))) == ((255, 255, 255), (255, 0, 0))  # nothing is white
    Image.new("L", (3, 3), 128).save(picture)
    assert np.unique(np.asarray(read_image(str(picture)))).tolist() == [128]


def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    broken = tmp_path / "broken.png"
    Image.new("RGB", (64, 64)).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    for text, reason in {
        str(tmp_path / "none.png"): "is not there",
        str(tmp_path / "notes.png"): "is none of JPEG, PNG",
        str(broken): "is damaged",
        str(tmp_path): "is a folder",
        "": "must not be empty",
        "9" * 30: "indices of the data are 0 to 2147483647",
        "-3": "is not there",
    }.items():
        with pytest.raises(UserError, match=reason) as refused:
            read_image(text)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flags", [["--from", "1"], ["--to", "1"]])
def test_one_end_alone_is_refused(flags: list[str]) -> None:
    with pytest.raises(UserError, match="--from and --to go together"):
        main(["anywhere", *flags])


def _film(frames: int = 12, size: int = 40, noise: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    film = np.full((frames, size, size, 3), 255, np.uint8)
    for t in range(frames):
        film[t, 10:20, t : t + 10] = (255, 0, 0)
        film[t, 25:35, 20 - t : 30 - t] = (0, 0, 255)
    return rng.integers(0, 256, film.shape, dtype=np.uint8) if noise else film


def _read(content: bytes) -> np.ndarray:
    gif = Image.open(io.BytesIO(content))
    frames = []
    for t in range(getattr(gif, "n_frames", 1)):
        gif.seek(t)
        frames.append(np.asarray(gif.convert("RGB")))
    return np.stack(frames)


def test_a_gif_has_every_frame_in_its_colours_at_its_pace_and_repeats() -> None:
    film = _film()
    content = encode_gif(film, fps=25)
    np.testing.assert_array_equal(_read(content), film)
    gif = Image.open(io.BytesIO(content))
    assert gif.info["duration"] == 40
    assert gif.info["loop"] == 0


def test_still_parts_do_not_flicker() -> None:
    film = _film(noise=True)
    film[:, :20] = np.random.default_rng(1).integers(0, 256, (20, 40, 3), dtype=np.uint8)  # the same in all frames
    read = _read(encode_gif(film))
    assert (read[:, :20] == read[0, :20]).all()


def test_a_gif_stays_under_its_limit() -> None:
    film = _film(40, 64, noise=True)
    free = encode_gif(film, limit=10**9)
    limit = len(free) // 3
    content = encode_gif(film, limit=limit)
    assert len(content) <= limit
    assert len(_read(content)) >= 10
    with pytest.raises(ValueError, match="does not fit"):
        encode_gif(film, limit=100)


def test_an_mp4_plays_every_frame() -> None:
    film = _film(9, 41)
    with av.open(io.BytesIO(encode_mp4(film, fps=15))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 15
    assert len(frames) == 9
    assert frames[0].shape == (42, 42, 3)  # even, as H.264 needs
    assert abs(frames[4][15, 9].astype(int) - (255, 0, 0)).max() < 80


def test_tiles_lie_in_reading_order() -> None:
    images = np.zeros((1, 6, 3, 4, 4), np.uint8)
    images[0, :, 0] = np.arange(6)[:, None, None] * 10
    sheet = tile(images, (2, 3), gap=1)[0]
    assert sheet.shape == (11, 16, 3)
    assert [sheet[1, 1, 0], sheet[1, 6, 0], sheet[6, 1, 0], sheet[6, 11, 0]] == [0, 10, 30, 50]
    with pytest.raises(ValueError, match="do not fill"):
        tile(images, (2, 2))


def test_films_lie_side_by_side_under_their_labels() -> None:
    film = _film()
    both = side_by_side({"conv": film, "coord": film[::-1]}, gap=5, line=20)
    assert both.shape == (12, 40 + 20 + 5, 2 * 45 + 5, 3)
    np.testing.assert_array_equal(both[:, 20:60, 5:45], film)
    np.testing.assert_array_equal(both[:, 20:60, 50:90], film[::-1])
    assert (both[:, :20, :45] < 128).any()  # something is written above each
    assert (both[:, :20, 45:] < 128).any()
    with pytest.raises(ValueError, match="one shape"):
        side_by_side({"a": film, "b": film[:5]})


def test_a_film_is_laid_out_as_the_one_that_ends_its_run(
    compared: tuple[Path, Said], tmp_path: Path, toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy's pictures are of 4x4 pixels, with grey lines of 2 around each."""
    run, output = str(compared[0] / "coord/seed-0"), tmp_path / "film.gif"

    def made(*flags: str) -> tuple[tuple[int, int], int]:
        main([run, "--device", "cpu", "--output", str(output), *flags])
        with Image.open(output) as gif:  # equal frames in a row are one that stays
            return gif.size, sum(frame.info["duration"] for frame in ImageSequence.Iterator(gif))

    assert made() == ((26, 26), 120 * 30)
    study = filmed_study(run)
    for name, value in (("film_grid", (1, 2)), ("film_fps", 10), ("film_frames", 7)):
        monkeypatch.setattr(study, name, value)
    assert made() == ((14, 8), 7 * 100)
    assert made("--grid", "1x1", "--fps", "20", "--frames", "3") == ((8, 8), 3 * 50)
