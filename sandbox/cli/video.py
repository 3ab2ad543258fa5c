"""`python -m sandbox.video`: films of trained runs, several side by side.

python -m sandbox.video runs/gan/sort_of_clevr/coord/seed-0 --frames 120 --grid 4x4 --format gif
python -m sandbox.video runs/rl/mspacman/coord/seed-0 --format mp4     # an agent at play: one game, at its speed
python -m sandbox.video runs/vae/sort_of_clevr/coord/seed-0 --from 50000 --to picture.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from sandbox.base.errors import UserError, in_words, one_line
from sandbox.base.files import remove, write_atomically
from sandbox.base.paths import at_home
from sandbox.base.reading import Unreadable
from sandbox.base.types import Device, Frames, PathKind
from sandbox.base.world import announced
from sandbox.cli.flags import Parser, one_of, path, whole_number
from sandbox.data.pictures import NoPicture, read_picture
from sandbox.experiment.run import Run, read_run
from sandbox.experiment.spec import study_spec
from sandbox.film.encode import FORMATS, check_film, encode_gif, encode_mp4
from sandbox.film.grids import side_by_side, tile

if TYPE_CHECKING:
    from sandbox.train.study import Filmed

ENLARGED = 3  # times, where a film shows a single walk


def film_of_runs(
    runs: Sequence[Path | str],
    *,
    frames: int | None = None,
    grid: tuple[int, int] | None = None,
    path: PathKind = "loop",
    seed: int = 0,
    device: Device = "auto",
    ends: tuple[int | Image.Image, int | Image.Image] | None = None,
) -> Frames:
    """The film of one run; of several, side by side on the same path, labelled with arm, seed and primary score.

    Length and grid, where they are not given, are those of the film that ends a run of the first one's study.
    With ``ends`` it is the walk from one image to another, between the two; ``grid``, ``path`` and ``seed`` then have
    no say.

    Args:
        runs: their folders, one or more.
        frames: 2 or more; of an agent's play and of walks.
        grid: rows and columns, each 1 or more.
        path: closed, or from one latent to another.
        seed: of the path.
        device: where the networks compute.
        ends: two images, or their indices in the data.

    Raises:
        UserError: a folder holds no run, the runs' pictures differ in size, or their study makes no such films.
        ValueError: no run, fewer than 2 frames, or a grid of nothing.
    """
    if not runs or (frames is not None and frames < 2) or (grid is not None and min(grid) < 1):
        raise ValueError(f"a film needs a run, 2 frames and a grid of 1x1, not {len(runs)}, {frames} and {grid}")
    from sandbox.train.loading import load  # seconds, which --help and mistakes need not wait for
    from sandbox.train.study import Between, Filmed

    films: dict[str, Frames] = {}
    study = filmed_study(runs[0])
    frames, grid = frames or study.film_frames, grid or study.film_grid
    for folder in runs:
        filmed_study(folder)
        loaded = load(folder, device)
        if ends is None:
            assert isinstance(loaded.study, Filmed)
            film = tile(loaded.study.film(frames=frames, count=grid[0] * grid[1], path=path, seed=seed), grid)
        elif isinstance(loaded.study, Between):
            film = tile(loaded.study.between(ends, frames=frames), (1, 3)).repeat(ENLARGED, 1).repeat(ENLARGED, 2)
        else:
            raise UserError("--from and --to are for networks that encode images, as a VAE's do: this run has none")
        label = _label(loaded.run)
        names = [label, f"{label} ({loaded.run.folder})", *(f"{label} ({k})" for k in range(3, len(runs) + 1))]
        films[next(name for name in names if name not in films)] = film
    if len(films) == 1:
        return next(iter(films.values()))
    try:
        return side_by_side(films)
    except ValueError as error:
        raise UserError(str(error)) from None


def filmed_study(folder: Path | str) -> "type[Filmed]":
    """The class of a run's study, which knows how long its films are, how they are laid out and how fast they go.

    Raises:
        UserError: the folder holds no run, or one of a study that makes no films.
    """
    run = read_run(folder)
    from sandbox.train.study import Filmed

    study = study_spec(run.study).load()
    if not issubclass(study, Filmed):
        raise UserError(f"{run.folder}: the study {run.study} makes no films")
    return study


def _label(run: Run) -> str:
    """Arm and seed; below them the study's primary score, where the run is complete."""
    label = f"{run.arm}, seed {run.config.seed}"
    primary = study_spec(run.study).primary(run.config)
    value = run.result()["scores"].get(primary.tag) if run.state() == "complete" else None
    return label if value is None else f"{label}\n{primary.name.partition(' (')[0]} {value:.3g}"


def read_image(text: str) -> int | Image.Image:
    """What ``--from`` and ``--to`` take: an index of the data, or a picture file, decoded as the data are.

    Raises:
        UserError: it is neither, or no picture that can be read.
    """
    if text.isdecimal():
        digits = text.lstrip("0") or "0"  # Python refuses to read numbers of more than 4300
        if len(digits) > 10 or int(digits) >= 2**31:
            raise UserError(f"image {one_line(text, 60)}: indices of the data are 0 to {2**31 - 1}")
        return int(digits)
    try:
        return read_picture(Path(at_home(text)))
    except (Unreadable, NoPicture, ValueError) as error:
        reason = getattr(error, "problem", None) or one_line(error)
        raise UserError(f"image {one_line(in_words(text), 80)} {reason}: give a picture file or an index") from None


def _grid(text: str) -> tuple[int, int]:
    rows, columns = (int(part) if part.isdecimal() and len(part) < 9 else 0 for part in text.partition("x")[::2])
    if not (1 <= rows <= 16 and 1 <= columns <= 16):
        raise UserError(f"--grid is {one_line(repr(text), 60)}: rows x columns, each 1 to 16, such as 4x4")
    return rows, columns


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python -m sandbox.video", "Renders latent paths of trained runs; of several, side by side.")
    parser.add_argument(
        "runs", nargs="+", type=path, metavar="RUN", help="run folder: runs/gan/sort_of_clevr/coord/seed-0"
    )
    own = "default: as in the film that ends such a run, 120; an agent: 450"
    parser.add_argument("--frames", type=whole_number(2, 2000), help=f"length of the film ({own})")
    parser.add_argument("--grid", help="rows x columns of paths or games (default: likewise, 4x4; an agent: 1x1)")
    parser.add_argument("--format", type=one_of(*FORMATS), help="default: what --output ends in, else gif, under 5 MB")
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
    parser.add_argument("--output", type=path, metavar="FILE", help="file, whose name ends in .gif or .mp4 (default: "
                        "samples/<path>-<seed>.<format> of the first run)")  # fmt: skip
    return parser.parse(arguments)


def _format(output: Path | None, asked: str | None) -> str:
    """The format of a film: what its name says, or ``--format``, or a GIF."""
    if output is None:
        return asked or "gif"
    ending = output.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UserError(f"--output {output}: a film's name ends in {' or '.join(f'.{name}' for name in FORMATS)}")
    if asked not in (None, ending):
        raise UserError(f"--output {output} ends in .{ending}, but --format is {asked}: leave one of the two out")
    return ending


def _check_place(output: Path) -> None:
    """Raises `UserError` unless the film can be written there: said before the minutes that it takes to render."""
    try:
        if output.exists() and not output.is_file():
            what = "is a folder: name a file in it" if output.is_dir() else "is no file that can be replaced"
            raise UserError(f"--output {output} {what}")
        if not output.parent.is_dir():
            kind = "a file" if output.parent.exists() else "not there"
            raise UserError(f"--output {output}: the folder {output.parent} is {kind}")
        trial = output.with_name(f".{output.name}.part")  # what `write_atomically` will write first
        remove(trial)
        trial.touch()
        remove(trial)
    except OSError as error:  # no permission, a disk that is read-only or full, a name that is too long
        reason = error.strerror or one_line(error)
        raise UserError(f"--output {output} cannot be written ({reason}): choose another place") from None


def _encoded(film: Frames, fps: int, kind: str) -> bytes:
    try:
        check_film(film, fps, kind)
        return encode_gif(film, fps) if kind == "gif" else encode_mp4(film, fps)
    except ValueError as error:
        smaller = "a smaller --grid" + (", or --format mp4" if kind == "gif" else ", or fewer runs")
        raise UserError(f"{one_line(error)}: give {smaller}") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m sandbox.video RUN [RUN ...]``.

    Raises:
        UserError, OSError: see `sandbox.base.guard.guarded`, which turns each into a line.
    """
    announced()  # says what is wrong with the environment before Lightning stumbles over it
    options = _parse(arguments)
    if (options.start is None) != (options.end is None):
        raise UserError("--from and --to go together: an image to start at and one to end at")
    images = options.start is not None
    kind = _format(options.output, options.format)
    grid = _grid(options.grid) if options.grid is not None else None
    ends = (read_image(options.start), read_image(options.end)) if images else None
    for folder in options.runs:
        filmed_study(folder)  # no run, no film: said before the first one is rendered
    name = f"{Path(options.start).stem}-{Path(options.end).stem}" if images else f"{options.path}-{options.seed}"
    output = options.output or options.runs[0] / "samples" / f"{name}.{kind}"
    _check_place(output)
    film = film_of_runs(
        options.runs, frames=options.frames, grid=grid, path=options.path, seed=options.seed, device=options.device,
        ends=ends,
    )  # fmt: skip
    content = _encoded(film, options.fps or filmed_study(options.runs[0]).film_fps, kind)
    write_atomically(output, content)
    print(f"{output}: {len(film)} frames of {film.shape[2]}x{film.shape[1]}, {len(content) / 1e6:.2f} MB")
