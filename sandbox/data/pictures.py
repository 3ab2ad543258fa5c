"""One decoder for every picture that a user hands over: what a viewer shows is what a network sees.

    image = read_picture(path)              # RGB, upright, transparency on white
    square = prepare(content, size=64)      # the middle square of an encoded picture, (3, 64, 64) uint8

Only photographs' usual formats are decoded, by Pillow: some others start programs or fetch files.
"""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from sandbox.base.errors import one_line
from sandbox.base.reading import Unreadable, read_file

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # of a GIF the first frame
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
MEGAPIXELS = 64  # of a picture, unless its reader says otherwise: a phone's have 12 to 50
MOST = 178  # megapixels: beyond, Pillow itself refuses
LARGEST = 2**29  # bytes of an encoded picture
FILM = 2**29  # pixels of all frames of a film


class NoPicture(Exception):
    """Content that cannot be decoded to a picture, or must not be. The message: what is wrong, in a few words."""

    @property
    def problem(self) -> str:
        """The message, by the name that `sandbox.base.reading.Unreadable` has for it."""
        return str(self)


def decode(content: bytes, *, megapixels: int = MEGAPIXELS, needed: int | None = None) -> Image.Image:
    """An encoded picture as RGB of 8 bits: turned as its EXIF says, transparency on white, 16-bit grey scaled.

    Args:
        content: of a file: JPEG, PNG, WebP, BMP, or a GIF's first frame.
        megapixels: limit of its size; nothing larger is decoded, whatever its header says.
        needed: pixels along the shorter edge that suffice: a JPEG decodes at a fraction of its size, not below this.

    Raises:
        NoPicture: it is none of these formats, damaged, or too large.
    """
    if not content:
        raise NoPicture("is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of pictures that are large but allowed
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                pixels = image.width * image.height / 1e6
                if pixels > megapixels:
                    raise NoPicture(f"has {pixels:.0f} megapixels, the limit is {megapixels}")
                if needed is not None:
                    image.draft("RGB", (needed, needed))
                image.load()
                return _flat(_upright(image))
    except UnidentifiedImageError:
        raise NoPicture(f"is none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise NoPicture(f"has more than {MOST} megapixels, the limit is {megapixels}") from None
    except (NoPicture, MemoryError):
        raise
    except Exception as error:  # every decoder has ways of its own to say that a file is damaged
        raise NoPicture(f"is damaged ({type(error).__name__}: {one_line(error, 80)})") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
        return image  # metadata that nobody can read do not say how to turn it


def _flat(image: Image.Image) -> Image.Image:
    """Without transparency and of 8 bits a channel."""
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would cut off at 255, which is nearly black
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        clear = image.info.get("transparency")
        image = Image.fromarray(np.where(grey == clear, 255, (grey + 128) // 257).astype(np.uint8))
    elif "transparency" in image.info or image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image.convert("RGB")


def read_picture(path: Path) -> Image.Image:
    """A picture file, decoded.

    Raises:
        Unreadable: no file that can be read; see `sandbox.base.reading.read_file`.
        NoPicture: no picture; see `decode`.
    """
    return decode(read_file(path, LARGEST))


def read_gif(path: Path) -> tuple[UInt8[np.ndarray, "t h w 3"], list[int]]:
    """The frames of a GIF of ours, and the milliseconds that each stays.

    Raises:
        Unreadable: it is none, damaged, or of more pixels than a film of ours ever has.
    """
    content = read_file(path)
    try:
        with Image.open(io.BytesIO(content), formats=("GIF",)) as gif:
            frames = getattr(gif, "n_frames", 1)
            if frames * gif.width * gif.height > FILM:
                raise Unreadable(path, f"has {frames} frames of {gif.width}x{gif.height}, more than any film of ours")
            found = [(np.asarray(frame.convert("RGB")), frame.info.get("duration"))
                     for frame in ImageSequence.Iterator(gif)]  # fmt: skip
        return np.stack([frame for frame, _ in found]), [int(delay or 30) for _, delay in found]
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error) as error:
        raise Unreadable(path, f"is no film that can be read ({one_line(error, 80)})") from None


def prepare(content: bytes, size: int, *, megapixels: int = MEGAPIXELS) -> UInt8[np.ndarray, "3 size size"]:
    """An encoded picture's middle square, resized with antialiasing (bicubic) to ``size``, RGB.

    Raises:
        NoPicture: see `decode`.
    """
    image = decode(content, megapixels=megapixels, needed=2 * size)
    square = min(image.size)
    left, top = (image.width - square) // 2, (image.height - square) // 2
    cut = image.crop((left, top, left + square, top + square))
    resized = cut.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1))
