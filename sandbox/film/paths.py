"""Latent paths and how they become a GIF or an MP4.

    python -m sandbox.video runs/gan/sort_of_clevr/coord/seed-0 --frames 120 --grid 4x4 --format gif
    python -m sandbox.video runs/rl/mspacman/coord/seed-0 --format mp4     # an agent at play: one game, at its speed
    python -m sandbox.video runs/vae/sort_of_clevr/coord/seed-0 --from 50000 --to picture.png

A path through Gaussian latents follows great circles (White 2016, arXiv 1609.04468): the straight line between two of
them passes where the prior has no mass. A path through uniform latents is straight. Paths are seeded, so two runs walk
the same one.
"""

import argparse
import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from sandbox.nn.blocks import keyed_generator
from sandbox.experiment.config import Law, study_scores
from sandbox.base.errors import UserError, one_line
from sandbox.base.files import write_atomically

if TYPE_CHECKING:
    from sandbox.experiment.run import Run
    from sandbox.train.loop import Device, Study

PathKind = Literal["loop", "pair"]
Frames = UInt8[np.ndarray, "t h w 3"]
Sheet = UInt8[np.ndarray, "t height width 3"]  # larger than what it is made of
GIF_LIMIT = 5_000_000  # bytes
ANCHORS = 4  # latents a loop passes through
ENLARGED = 3  # times, where a film shows a single walk


def draw_latents(law: Law, count: int, size: int, generator: torch.Generator) -> Float[Tensor, "count size"]:
    """Latents of the prior: standard normal, or uniform in (-1, 1)."""
    if law == "normal":
        return torch.randn(count, size, generator=generator)
    return 2 * torch.rand(count, size, generator=generator) - 1


def between(
    a: Float[Tensor, "*n size"], b: Float[Tensor, "*n size"], t: Float[Tensor, "*n 1"], law: Law
) -> Float[Tensor, "*n size"]:
    """The latent at ``t`` in 0..1 of the way from ``a`` to ``b``: spherical for normal latents, else straight."""
    straight = torch.lerp(a, b, t)
    if law == "uniform":
        return straight
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(-1, keepdim=True) / (lengths[0] * lengths[1]).clamp_min(1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    arc = torch.sin(angle)
    around = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / arc.clamp_min(1e-12)
    # Parallel latents have no circle between them, opposite ones every circle.
    return torch.where(arc < 1e-4, straight, around)


def latent_path(
    law: Law, size: int, *, frames: int, count: int, kind: PathKind, seed: int
) -> Float[Tensor, "t n size"]:
    """``count`` walks of ``frames`` latents each, a function of its arguments alone.

    Args:
        law: the prior.
        size: of a latent.
        frames: at least 2. A loop's last frame is one step short of its first, so that it repeats without a stop.
        count: walks, each through latents of its own.
        kind: ``loop``: closed, through `ANCHORS` latents; ``pair``: from one latent to another.
        seed: of the latents.

    Returns:
        ``(frames, count, size)``.

    Raises:
        ValueError: fewer than 2 frames or no walk.
    """
    stops = ANCHORS if kind == "loop" else 2
    anchors = draw_latents(law, count * stops, size, keyed_generator(seed, "path", kind)).view(count, stops, size)
    return _walk(anchors, frames, kind, law)


def image_path(stops: Float[Tensor, "n stops size"], *, frames: int, kind: PathKind) -> Float[Tensor, "t n size"]:
    """``n`` walks of ``frames`` latents each along straight lines through given ones, such as the codes of images.

    Args:
        stops: (n, stops, size) latents a walk passes through, two or more.
        frames: at least 2. A loop's last frame is one step short of its first, so that it repeats without a stop.
        kind: ``loop``: closed; ``pair``: from the first to the last.

    Raises:
        ValueError: fewer than 2 frames or stops, or no walk.
    """
    return _walk(stops, frames, kind, "uniform")


def _walk(stops: Float[Tensor, "n stops size"], frames: int, kind: PathKind, law: Law) -> Float[Tensor, "t n size"]:
    count, number, _ = stops.shape
    if frames < 2 or count < 1 or number < 2:
        raise ValueError(f"a path needs at least 2 frames, 1 walk and 2 stops, not {frames}, {count} and {number}")
    legs = number if kind == "loop" else number - 1
    position = torch.arange(frames) * (legs / frames) if kind == "loop" else torch.linspace(0, legs, frames)
    start = position.floor().long().clamp_max(legs - 1)
    t = (position - start)[:, None, None].expand(frames, count, 1)
    walks = stops.transpose(0, 1)  # (stops, n, size)
    return between(walks[start], walks[(start + 1) % number], t, law)


def tile(images: UInt8[np.ndarray, "t n 3 h w"], grid: tuple[int, int], gap: int = 2) -> Sheet:
    """Lays the ``n`` images of each frame out in rows and columns, grey lines between them.

    Raises:
        ValueError: ``n`` does not fill the grid.
    """
    t, n, _, h, w = images.shape
    rows, columns = grid
    if n != rows * columns:
        raise ValueError(f"{n} images do not fill a grid of {rows}x{columns}")
    canvas = np.full((t, rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 200, np.uint8)
    for k in range(n):
        y, x = gap + k // columns * (h + gap), gap + k % columns * (w + gap)
        canvas[:, y : y + h, x : x + w] = images[:, k].transpose(0, 2, 3, 1)
    return canvas


def side_by_side(films: Mapping[str, Frames], gap: int = 12, line: int = 22) -> Sheet:
    """Several films of the same size and length next to each other, each under its label of one or more lines.

    Raises:
        ValueError: the films differ in size or length, or there is none.
    """
    shapes = {film.shape for film in films.values()}
    if len(shapes) != 1:
        raise ValueError(f"films to lay side by side must have one shape, not {sorted(shapes)}")
    t, h, w, _ = shapes.pop()
    width, title = len(films) * (w + gap) + gap, line * max(label.count("\n") + 1 for label in films)
    canvas = np.full((t, h + title + gap, width, 3), 255, np.uint8)
    labels = Image.new("RGB", (width, title), "white")
    for k, (label, film) in enumerate(films.items()):
        x = gap + k * (w + gap)
        canvas[:, title : title + h, x : x + w] = film
        ImageDraw.Draw(labels).text((x + w // 2, title // 2), label, "black", ImageFont.load_default(14), "mm",
                                    align="center")  # fmt: skip
    canvas[:, :title] = np.asarray(labels)
    return canvas


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


def encode_gif(film: Frames, fps: int = 30, limit: int = GIF_LIMIT) -> bytes:
    """A looping GIF with one palette for all frames. Too large for ``limit`` bytes, it loses colours, then frames.

    Raises:
        ValueError: even 16 colours and a handful of frames do not fit.
    """
    # A GIF counts in hundredths of a second, and browsers slow anything under two of them down to ten.
    delay = max(20, round(100 / fps) * 10)
    while len(film) > 1:
        for colours in (256, 64, 16):
            content = _gif(film, delay, colours)
            if len(content) <= limit:
                return content
        film, delay = film[::2], 2 * delay
    raise ValueError(f"the film does not fit into {limit} bytes")


def frame_size(film: Frames) -> tuple[int, int]:
    """Height and width in pixels."""
    return film.shape[1], film.shape[2]


def encode_mp4(film: Frames, fps: int = 30) -> bytes:
    """An H.264 MP4 that every browser plays."""
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


def film_of_runs(
    runs: Sequence[Path | str],
    *,
    frames: int | None = None,
    grid: tuple[int, int] | None = None,
    path: PathKind = "loop",
    seed: int = 0,
    device: "Device" = "auto",
    ends: tuple[int | Image.Image, int | Image.Image] | None = None,
) -> Frames:
    """The film of one run; of several, side by side on the same path, labelled with arm, seed and primary score.

    Length and grid, where they are not given, are those of the film that ends a run of the first one's study.
    With ``ends`` it is the walk from one image to another, between the two; ``grid``, ``path`` and ``seed`` then have
    no say.

    Raises:
        UserError: a folder holds no run, the runs' pictures differ in size, or there are ends but no encoder.
    """
    from sandbox.train.loading import load

    films: dict[str, Frames] = {}
    study = study_of(runs[0])
    frames, grid = frames or study.film_frames, grid or study.film_grid
    for folder in runs:
        loaded = load(folder, device)
        if ends is None:
            film = tile(loaded.study.film(frames=frames, count=grid[0] * grid[1], path=path, seed=seed), grid)
        else:
            film = tile(loaded.study.between(ends, frames=frames), (1, 3)).repeat(ENLARGED, 1).repeat(ENLARGED, 2)
        label = _label(loaded.run)
        films[label if label not in films else f"{label} ({loaded.run.folder})"] = film
    if len(films) == 1:
        return next(iter(films.values()))
    try:
        return side_by_side(films)
    except ValueError as error:
        raise UserError(str(error)) from None


def study_of(folder: Path | str) -> "type[Study]":
    """The class of a run's study, which knows how long its films are, how they are laid out and how fast they go.

    Raises:
        UserError: the folder holds no run.
    """
    from sandbox.experiment.run import read_run

    study: type[Study] = import_module(f"{read_run(folder).study}.study").STUDY
    return study


def _label(run: "Run") -> str:
    """Arm and seed; below them the study's primary score, where the run is complete."""
    label = f"{run.arm}, seed {run.config.seed}"
    primary = study_scores(run.study, run.config)[0]
    value = run.result()["scores"].get(primary.tag) if run.state() == "complete" else None
    return label if value is None else f"{label}\n{primary.name.partition(' (')[0]} {value:.3g}"


def read_image(text: str) -> int | Image.Image:
    """What ``--from`` and ``--to`` take: an index of the data, or a file (RGB; transparency on white, turned upright).

    Raises:
        UserError: it is neither, or no picture that can be read.
    """
    if text.isdecimal() and not (0 <= int(text[:20]) < 2**31):
        raise UserError(f"image {one_line(text, 60)}: indices of the data are 0 to {2**31 - 1}")
    if text.isdecimal():
        return int(text)
    try:
        with Image.open(text) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except Exception as error:  # whatever a damaged file makes a decoder raise
        reason = (error.strerror if isinstance(error, OSError) else None) or "no picture that can be read"
        raise UserError(f"image {one_line(repr(text), 80)}: {reason}; give a picture file or an index") from None
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright).convert("RGB")


def _grid(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and 1 <= int(rows) <= 16 and 1 <= int(columns) <= 16):
        raise UserError(f"--grid is {text!r}: rows x columns, each 1 to 16, such as 4x4")
    return int(rows), int(columns)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    from sandbox.cli.flags import Parser, one_of, whole_number

    parser = Parser("python -m sandbox.video", "Renders latent paths of trained runs; of several, side by side.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder: runs/gan/sort_of_clevr/coord/seed-0")
    own = "default: as in the film that ends such a run, 120; an agent: 450"
    parser.add_argument("--frames", type=whole_number(2, 2000), help=f"length of the film ({own})")
    parser.add_argument("--grid", help="rows x columns of paths or games (default: likewise, 4x4; an agent: 1x1)")
    parser.add_argument("--format", type=one_of("gif", "mp4"), default="gif", help="default: gif, under 5 MB")
    parser.add_argument("--fps", type=whole_number(1, 60), help="frames a second (default: likewise, 30; an agent: 15)")
    parser.add_argument(
        "--path", type=one_of("loop", "pair"), default="loop", help="closed (default), or one to another"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, help="of the path (default: 0)")
    parser.add_argument("--from", dest="start", metavar="IMAGE", help="walk from this image, for a VAE: a picture file "
                        "(cropped to its middle square) or an index of the data; held-out ones start at the run's "
                        "--images")  # fmt: skip
    parser.add_argument("--to", dest="end", metavar="IMAGE", help="to this one")
    parser.add_argument("--device", type=one_of("auto", "cpu", "cuda", "mps"), default="auto", help="default: auto")
    parser.add_argument("--output", type=Path, help="file (default: samples/<path>-<seed>.<format> of the first run)")
    return parser.parse(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m sandbox.video RUN [RUN ...]``."""
    options = _parse(arguments)
    if (options.start is None) != (options.end is None):
        raise UserError("--from and --to go together: an image to start at and one to end at")
    images = options.start is not None
    name = f"{Path(options.start).stem}-{Path(options.end).stem}" if images else f"{options.path}-{options.seed}"
    output = options.output or Path(options.runs[0], "samples", f"{name}.{options.format}")
    if not output.parent.is_dir() and options.output:
        raise UserError(f"--output: there is no folder {output.parent}")
    film = film_of_runs(
        options.runs,
        frames=options.frames,
        grid=_grid(options.grid) if options.grid is not None else None,
        path=options.path,
        seed=options.seed,
        device=options.device,
        ends=(read_image(options.start), read_image(options.end)) if images else None,
    )
    fps = options.fps or study_of(options.runs[0]).film_fps
    content = encode_gif(film, fps) if options.format == "gif" else encode_mp4(film, fps)
    write_atomically(output, content)
    print(f"{output}: {len(film)} frames of {film.shape[2]}x{film.shape[1]}, {len(content) / 1e6:.2f} MB")


if __name__ == "__main__":
    from sandbox.base.guard import guarded

    guarded(main)
