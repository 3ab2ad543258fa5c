"""One decoder: a picture is what a viewer shows; what is none, or too large, is said in a few words."""

import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pictures import png_of
from PIL import Image

from sandbox.base.reading import Unreadable
from sandbox.data.pictures import FORMATS, NoPicture, decode, prepare, read_picture


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def mean(content: bytes) -> np.ndarray:
    return np.asarray(decode(content), dtype=float).mean((0, 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_the_list(kind: str) -> None:
    image = Image.new("RGB", (20, 10), (200, 100, 50))
    np.testing.assert_allclose(mean(encoded(image, kind)), [200, 100, 50], atol=4)


def test_16_bit_grey_keeps_its_greys() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    shown = np.asarray(decode(encoded(Image.fromarray(ramp))))
    assert abs(shown.mean() - 127.5) < 0.5
    np.testing.assert_allclose(shown[..., 0], ramp / 257, atol=0.51)
    assert len(np.unique(shown)) == 256
    clear = Image.fromarray(np.full((4, 4), 300, np.uint16))
    np.testing.assert_array_equal(mean(encoded(clear, transparency=300)), 255)


def test_transparency_lies_on_white() -> None:
    for image in (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), Image.new("LA", (4, 4), (0, 0))):
        np.testing.assert_array_equal(mean(encoded(image)), 255)
        np.testing.assert_array_equal(prepare(encoded(image), 2), 255)
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    np.testing.assert_allclose(mean(encoded(half)), [255, 127, 127], atol=1)
    for mode, key in (("L", 7), ("RGB", (7, 7, 7))):
        np.testing.assert_array_equal(mean(encoded(Image.new(mode, (4, 4), key), transparency=key)), 255)
    np.testing.assert_array_equal(mean(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "GIF")), 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_it_stands_upright_as_its_exif_says(kind: str, turn: int) -> None:
    upright = Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 50, np.ones((16, 16), np.uint8)))
    # How a camera that was held so stores the picture: the inverse of what a viewer does.
    stored = {
        1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"], 5: ["TRANSPOSE"], 6: ["ROTATE_90"],
        7: ["TRANSVERSE"], 8: ["ROTATE_270"],
    }[turn]  # fmt: skip
    image = upright.convert("RGB")
    for name in stored:
        image = image.transpose(Image.Transpose[name])
    exif = Image.Exif()
    exif[0x0112] = turn
    shown = decode(encoded(image, kind, exif=exif), needed=64)
    assert shown.size == upright.size
    assert np.abs(np.asarray(shown, int)[..., 0] - np.asarray(upright, int)).mean() < 3


def test_metadata_that_nobody_can_read_cost_nothing() -> None:
    content = encoded(Image.new("RGB", (8, 8), (9, 9, 9)), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    np.testing.assert_allclose(mean(content), 9, atol=2)


def refused(content: bytes, **options: int) -> str:
    with pytest.raises(NoPicture) as caught:
        decode(content, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150
    return str(caught.value)


@pytest.mark.parametrize("size", [(13_000, 13_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (10**9, 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    assert "megapixels, the limit is 64" in refused(png_of(*size))


def test_the_limit_can_be_raised_and_lowered() -> None:
    content = encoded(Image.new("L", (2000, 1500)))
    assert decode(content, megapixels=3).size == (2000, 1500)
    assert refused(content, megapixels=2) == "has 3 megapixels, the limit is 2"
    large = encoded(Image.new("1", (10_000, 10_000)))  # of which Pillow would warn
    assert decode(large, megapixels=100).size == (10_000, 10_000)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "TIFF", "ICO", "PPM", "TGA", "GBR"])
def test_other_formats_are_not_opened_whatever_they_are_called(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    content = b"GBR" * 99 if kind == "GBR" else encoded(Image.new("RGB", (16, 16)), kind)
    assert refused(content) == "is none of JPEG, PNG, WEBP, BMP, GIF"


@pytest.mark.parametrize("kind", FORMATS)
def test_any_cut_or_flip_is_a_picture_or_a_line(kind: str) -> None:
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)), kind)
    assert refused(b"") == "is empty"
    assert refused(b"\0" * 500) == "is none of JPEG, PNG, WEBP, BMP, GIF"
    for at in rng.integers(0, len(content), 60).tolist():
        for broken in (content[:at], content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]):
            said = ""
            try:
                decode(broken)
            except NoPicture as error:
                said = str(error)
            assert "\n" not in said


# ---- files


def test_what_is_no_regular_file_is_said_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(encoded(Image.new("RGB", (4, 4))))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, target in (("link", "real"), ("dead", "nowhere"), ("self", "self"), ("null", "/dev/zero")):
        (tmp_path / f"{name}.png").symlink_to(target if target.startswith("/") else f"{target}.png")
    assert read_picture(tmp_path / "link.png").size == (4, 4)
    problems = {"pipe": "is a pipe", "folder": "is a folder", "dead": "is a link to what is not there",
                "self": "is a link that leads to itself", "null": "is a device", "none": "is not there"}  # fmt: skip
    for name, problem in problems.items():
        with pytest.raises(Unreadable) as caught:
            read_picture(tmp_path / f"{name}.png")
        assert str(caught.value) == f"{tmp_path / name}.png {problem}"
