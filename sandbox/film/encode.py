"""Pictures as PNGs, films as looping GIFs and H.264 MP4s."""

import io
from fractions import Fraction

import numpy as np
from PIL import Image

from sandbox.base.types import Frames, Picture
from sandbox.film.grids import frame_size

FORMATS = ("gif", "mp4")
GIF_LIMIT = 5_000_000  # bytes
WIDEST = {"gif": 65_535, "mp4": 16_384}  # pixels of an edge: what a GIF can say, what the H.264 encoder takes


def png(picture: Picture) -> bytes:
    """A picture, (h, w, 3) uint8, as a PNG."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def _palette(film: Frames, colours: int) -> Image.Image:
    # One palette for the whole film, from frames spread over it: a palette a frame flickers.
    sample = film[np.linspace(0, len(film) - 1, min(len(film), 16)).astype(int)]
    return Image.fromarray(sample.reshape(-1, *film.shape[2:])).quantize(colours, method=Image.Quantize.MEDIANCUT)


def _gif(film: Frames, milliseconds: int, colours: int) -> bytes:
    palette = _palette(film, colours)
    frames = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in film]
    content = io.BytesIO()
    frames[0].save(
        content, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=False
    )
    return content.getvalue()


def check_film(film: Frames, fps: int, kind: str) -> None:
    """What both encoders ask of a film.

    Raises:
        ValueError: no frame or no pixel, an edge that the format (a key of `WIDEST`) cannot have, or a pace that is
            not 1 to 1000 frames a second.
    """
    edges = frame_size(film)
    if not (len(film) and min(edges) >= 1 and max(edges) <= WIDEST[kind]):
        raise ValueError(f"a film of {len(film)} frames of {edges[1]}x{edges[0]}: {kind} takes 1 or more frames "
                         f"of 1x1 to {WIDEST[kind]}x{WIDEST[kind]}")  # fmt: skip
    if not 1 <= fps <= 1000:
        raise ValueError(f"fps must be 1 to 1000, not {fps!r}")


def encode_gif(film: Frames, fps: int = 30, limit: int = GIF_LIMIT) -> bytes:
    """A looping GIF with one palette for all frames. Too large for ``limit`` bytes, it loses colours, then frames.

    Raises:
        ValueError: even 16 colours and a handful of frames do not fit; or see `check_film`.
    """
    check_film(film, fps, "gif")
    # A GIF counts in hundredths of a second, and browsers slow anything under two of them down to ten.
    delay = max(20, round(100 / fps) * 10)
    while True:
        for colours in (256, 64, 16):
            content = _gif(film, delay, colours)
            if len(content) <= limit:
                return content
        if len(film) <= 2:
            raise ValueError(f"the film does not fit into {limit} bytes")
        film, delay = film[::2], 2 * delay


def encode_mp4(film: Frames, fps: int = 30) -> bytes:
    """An H.264 MP4 that every browser plays.

    Raises:
        ValueError: see `check_film`.
    """
    check_film(film, fps, "mp4")
    import av

    height, width = (size + size % 2 for size in frame_size(film))  # H.264's colour planes have half the pixels
    padded = np.pad(film, ((0, 0), (0, height - film.shape[1]), (0, width - film.shape[2]), (0, 0)), mode="edge")
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return content.getvalue()
