"""What a comparison shows of its arms' own pictures: last samples, further pictures and films side by side."""

import base64
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFont

from sandbox.base.errors import one_line, warn
from sandbox.base.reading import Unreadable
from sandbox.base.types import Picture, Sheet
from sandbox.data.pictures import NoPicture, read_gif, read_picture
from sandbox.film.encode import encode_gif, encode_mp4, png
from sandbox.film.grids import side_by_side
from sandbox.report.comparison import Comparison, Row

Pixels = np.ndarray[Any, np.dtype[np.uint8]]  # films of different sizes
Files = Mapping[str, bytes | str | None]
FILMS_LIMIT = 12_000_000  # bytes: the page holds all films
_LETTERS, _LETTER = 24, 7  # of a label's line, at least; pixels of one, about
_GROWTH = "The samples of the arms during training, from the first step to the last."


class Film(NamedTuple):
    """The arms' films side by side, what they were made of, and which of a run's films they are."""

    frames: Sheet
    fps: int
    rows: Sequence[Row]
    name: str


class Drawing(NamedTuple):
    """The arms' pictures side by side, what they were made of, and which of a run's pictures they are."""

    picture: Picture
    rows: Sequence[Row]
    name: str


def chosen(comparison: Comparison, task: str | None, has: Callable[[Row], bool]) -> list[Row]:
    """One row of each arm, of the same seed: the lowest of which all hold; empty where there is none."""
    for seed in sorted(comparison.seeds):
        rows = [row for arm in comparison.arms for row in comparison.of(arm, task) if row.cell.seed == seed]
        if len(rows) == len(comparison.arms) and all(has(row) for row in rows):
            return rows
    return []


def _with(c: Comparison, task: str | None, file: str, what: str) -> list[Row]:
    """One complete row of each arm, of the lowest seed of which all have a file; a word where some have lost it."""
    complete = [row for arm in c.arms for row in c.of(arm, task) if row.state == "complete"]
    lost = [row.folder / file for row in complete if not (row.folder / file).is_file()]
    told = [row.folder / file for row in complete if not row.exported and row.folder / file in lost]
    if told and len(lost) < len(complete):  # one that the study does not make is nowhere
        warn(f"{told[0]} is not there: the report's {what} is made of other seeds, or left out")
    return chosen(c, task, lambda row: row.state == "complete" and row.folder / file not in lost)


# Films


def films(c: Comparison) -> dict[str, Film | None]:
    """File name without ending -> film, of every task and kind."""
    names = c.captions.film_name, "training", *c.captions.films
    return {stem: film(c, task, name) for stem, task, name in _stems(c, names)}


def _stems(c: Comparison, names: Iterable[str]) -> list[tuple[str, str | None, str]]:
    """File names without ending, each with its task and what it shows."""
    names = list(names)
    return [(f"{name}-{task}" if task else name, task, name) for task in c.tasks for name in names]


def film(c: Comparison, task: str | None, name: str) -> Film | None:
    """A film, by its name, of the lowest seed that is complete in all arms; None where the runs hold none."""
    file = f"samples/{name}.gif"
    if not (rows := _with(c, task, file, "film")):
        return None
    try:
        found = [read_gif(row.folder / file) for row in rows]
    except Unreadable as error:
        warn(f"{error}: the report goes without this film")
        return None
    shortest = min(delay for _, delays in found for delay in delays)
    # Equal frames in a row are stored as one that stays longer, and a GIF too large for its limit has lost every other.
    timed = [np.repeat(film, [max(1, round(delay / shortest)) for delay in delays], axis=0) for film, delays in found]
    return Film(_arranged(c, rows, timed, least=2), max(1, round(1000 / shortest)), rows, name)


def film_files(found: Mapping[str, Film | None]) -> dict[str, bytes | str | None]:
    """Each film as GIF and MP4, by file name; None where there is none."""
    files: dict[str, bytes | str | None] = {}
    for stem, each in found.items():
        files |= _film_files(stem, each, FILMS_LIMIT // len(found))
    return files


def _film_files(stem: str, film: Film | None, limit: int) -> dict[str, bytes | str | None]:
    if film is None:
        return {f"{stem}.gif": None, f"{stem}.mp4": None}
    try:
        gif: bytes | None = encode_gif(film.frames, film.fps, limit)
    except ValueError as error:
        warn(f"the report goes without {stem}.gif: {one_line(error)}")
        gif = None
    return {f"{stem}.gif": gif, f"{stem}.mp4": encode_mp4(film.frames, film.fps)}


def film_views(c: Comparison, found: Mapping[str, Film | None], files: Files) -> list[dict[str, str | None]]:
    """What the page shows of the films that could be made."""
    return [_film_view(c, stem, film, files) for stem, film in found.items() if film and files[f"{stem}.gif"]]


def _film_view(c: Comparison, stem: str, film: Film, files: Files) -> dict[str, str | None]:
    captions = c.captions
    shown = {captions.film_name: captions.film, "training": _GROWTH, **captions.films}[film.name]
    still = {captions.film_name: 0, "training": -1}.get(film.name, len(film.frames) // 2)
    return {
        "gif": embedded("image/gif", files[f"{stem}.gif"]),
        "still": embedded("image/png", png(film.frames[still])),
        "caption": _caption(shown, film.rows[0]),
        "link": f"{stem}.gif",
    }


def _caption(shown: str, first: Row) -> str:
    cell = first.cell
    seed = f"{cell.task}, seed {cell.seed}" if cell.task else f"Seed {cell.seed}"
    return f"{shown} {seed}. {_data_note(first)}".rstrip()


# Pictures that studies draw at the end of a run


def drawings(c: Comparison) -> dict[str, Drawing | None]:
    """File name without ending -> picture, of every task and each of the study's further pictures."""
    return {stem: drawing(c, task, name) for stem, task, name in _stems(c, c.captions.pictures)}


def drawing(c: Comparison, task: str | None, name: str) -> Drawing | None:
    """A picture, by its name, of the lowest seed that is complete in all arms; None where the runs hold none."""
    file = f"samples/{name}.png"
    if not (rows := _with(c, task, file, "picture")):
        return None
    found = [_read(row.folder / file) for row in rows]
    pictures = [np.asarray(picture)[None] for picture in found if picture]
    return Drawing(_arranged(c, rows, pictures)[0], rows, name) if len(pictures) == len(rows) else None


def _read(path: Path) -> Image.Image | None:
    try:
        return read_picture(path)
    except (Unreadable, NoPicture) as error:
        warn(f"{path} {error.problem}: the report goes without this picture")
        return None


def drawing_views(c: Comparison, found: Mapping[str, Drawing | None], files: Files) -> list[dict[str, str | None]]:
    """What the page shows of the pictures that could be made."""
    return [{"picture": embedded("image/png", files[f"{stem}.png"]), "link": f"{stem}.png",
             "caption": _caption(c.captions.pictures[each.name], each.rows[0])}
            for stem, each in found.items() if each]  # fmt: skip


# Samples


def last_samples(row: Row) -> Path | None:
    """The newest sample grid of a run that is a picture still."""
    grids = {path for path in (row.folder / "samples").glob("step-*.png") if path.stem[5:].isdecimal()}
    if row.state == "complete" and row.run and not row.exported:  # it has one of its end, or has lost it
        grids.add(row.folder / "samples" / f"step-{row.run.config.steps:08d}.png")
    for path in sorted(grids, key=lambda path: int(path.stem[5:]), reverse=True):
        if _read(path):
            return path
    return None


def sample_views(c: Comparison) -> list[dict[str, str]]:
    """What the page shows of each task: the last sample grids of one seed, complete in all arms where there is one."""
    return [view for task in c.tasks for view in _samples(c, task)]


def _samples(c: Comparison, task: str | None) -> list[dict[str, str]]:
    rows = chosen(c, task, lambda row: row.state == "complete" and last_samples(row) is not None)
    rows = rows or chosen(c, task, lambda row: last_samples(row) is not None)
    return [_sample(c, row, path) for row in rows if (path := last_samples(row))]


def _sample(c: Comparison, row: Row, path: Path) -> dict[str, str]:
    step = path.stem.removeprefix("step-").lstrip("0") or "0"
    link = Path(os.path.relpath(path, c.folder)).as_posix()
    picture = embedded("image/png", path.read_bytes()) or ""
    caption = f"{row.cell}: samples after step {step}. {_data_note(row)}".rstrip(". ")
    return {"caption": caption, "picture": picture, "link": link}


def _data_note(row: Row) -> str:
    if row.run is None:
        return ""
    content = row.run.content
    return f"{row.run.config.data_note} {content}.".strip() if content else row.run.config.data_note


# Several beside each other


def _arranged(c: Comparison, rows: Sequence[Row], films: Sequence[Pixels], least: int = 1) -> Sheet:
    """The arms' films beside each other, each under its arm and primary score, of one length and size."""
    letters = max(_LETTERS, max(film.shape[2] for film in films) // _LETTER)
    labels = ["\n".join(textwrap.wrap(_label(c, row), letters, break_long_words=False)) for row in rows]
    return side_by_side(_fitted(dict(zip(labels, films, strict=True)), least))


def _label(c: Comparison, row: Row) -> str:
    value = row.scores.get(c.primary.tag)
    return row.cell.arm if value is None else f"{row.cell.arm}: {c.primary.name} {value:.3g}"


def _fitted(films: Mapping[str, Pixels], least: int) -> dict[str, Pixels]:
    """The films at one length and size, wide enough for the labels: the last frame is held, the rest is white."""
    font = ImageFont.load_default(14)
    shapes = [film.shape for film in films.values()]
    t, h = max(least, *(shape[0] for shape in shapes)), max(shape[1] for shape in shapes)
    lines = [line for label in films for line in label.splitlines()]
    w = max(*(shape[2] for shape in shapes), *(int(font.getlength(line)) + 4 for line in lines))
    return {label: _padded(film, (t, h, w)) for label, film in films.items()}


def _padded(film: Pixels, size: tuple[int, int, int]) -> Pixels:
    t, h, w = size
    held = np.pad(film, ((0, t - film.shape[0]), (0, 0), (0, 0), (0, 0)), mode="edge")
    left = (w - film.shape[2]) // 2
    around = ((0, 0), (0, h - film.shape[1]), (left, w - film.shape[2] - left), (0, 0))
    return np.pad(held, around, constant_values=255)


def embedded(kind: str, content: bytes | str | None) -> str | None:
    """A file as a data address of its kind, so that the page holds it."""
    if content is None:
        return None
    raw = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"
