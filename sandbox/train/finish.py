"""The end of a run: scores, films, result."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox.base.errors import warn
from sandbox.base.files import write_atomically
from sandbox.base.reading import Unreadable
from sandbox.base.types import Frames, Picture, Sheet
from sandbox.data.pictures import NoPicture, decode, read_picture
from sandbox.experiment.run import Run, save_result
from sandbox.experiment.spec import study_spec
from sandbox.film.encode import encode_gif, encode_mp4
from sandbox.film.grids import frame_size, tile
from sandbox.train.study import Filmed, Study
from sandbox.train.tracking import Tracker, checksum

_GROWTH_FPS = 5  # frames a second of the sample grids one after another


def finish(run: Run, study: Study[Any], counters: Mapping[str, Any]) -> dict[str, Any]:
    """Scores a trained study, renders its films and writes ``result.json``. Returns what that then holds.

    Args:
        run: its folder.
        study: trained to the last step.
        counters: of the last checkpoint.

    Raises:
        OSError: the disk is full; what stood before is untouched until everything is computed.
    """
    config, images = run.config, run.config.seen(run.config.steps)
    scores = study.evaluate()
    films, files = _films(run, study), {}
    gifs = {name: (encode_gif(sheets, fps), frame_size(sheets)) for name, (sheets, fps) in films.items()}
    if isinstance(study, Filmed) and study.film_mp4:
        name = study_spec(run.study).captions.film_name
        files[f"{name}.mp4"] = encode_mp4(*films[name])
    files |= study.files()
    costs = {
        "steps": config.steps,
        "images": images,
        "seconds": round(counters["seconds"], 3),
        "steps_per_second": round(config.steps / max(counters["seconds"], 1e-9), 3),
        "peak_memory_mb": counters.get("peak_memory_mb"),
        **study.costs(),
    }
    # Everything is computed before anything old is touched, and the old result stands until the new one takes its
    # place: stopped anywhere, the run is complete, and the same command makes its pictures and curves again.
    with Tracker(run.folder, counters["mark"], replace=True) as tracker:
        for name, (gif, size) in gifs.items():
            tracker.gif(name, gif, size, images)
        for name in study_spec(run.study).captions.pictures:
            if content := files.get(f"{name}.png"):
                tracker.picture(name, np.asarray(decode(content)), images)
        tracker.hparams(_hparams(run), scores)
        tracker.scalars(scores, images)
        tracker.mark()  # on the disk before the result that says so
    curves = checksum(run.folder)
    for name, (gif, _) in gifs.items():
        write_atomically(run.samples / f"{name}.gif", gif)
    for name, content in files.items():
        write_atomically(run.samples / name, content)
    save_result(run, scores, costs, curves)
    return run.result()


def _films(run: Run, study: Study[Any]) -> dict[str, tuple[Sheet, int]]:
    """Name -> film and frames a second: the study's own film, its training, and what else it has to show."""
    films: dict[str, tuple[Sheet, int]] = {}
    if isinstance(study, Filmed):
        walks = study.film(frames=study.film_frames, count=math.prod(study.film_grid), path="loop", seed=0)
        films[study_spec(run.study).captions.film_name] = tile(walks, study.film_grid), study.film_fps
    if (growth := _growth(run)) is not None:
        films["training"] = growth, _GROWTH_FPS
    return films | study.films()


def _growth(run: Run) -> Frames | None:
    """The sample grids one after another, at most 60, the last for a second; None where fewer than two are there."""
    places = [*range(0, run.config.steps, run.config.preview_every), run.config.steps]
    kept = [places[round(i)] for i in np.linspace(0, len(places) - 1, min(len(places), 60))]
    grids, missing = list[Picture](), []
    for step in kept:
        path = run.samples / f"step-{step:08d}.png"
        try:
            grids.append(np.asarray(read_picture(path)))
        except (Unreadable, NoPicture) as error:
            missing.append(f"{path} {error.problem}")
    if missing:
        more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        warn(f"{missing[0]}{more}: the film of the training is made without")
    alike = [grid for grid in grids if grid.shape == grids[-1].shape]  # a run may have gone on under other code
    return np.stack([*alike, *alike[-1:] * _GROWTH_FPS]) if len(alike) > 1 else None


def _hparams(run: Run) -> dict[str, Any]:
    # The table shows the first few in the alphabet: the arm and the seed, then the settings.
    settings = run.config.model_dump(mode="json", exclude={"seed"})
    return {"arm": run.arm, "seed": run.config.seed, **{f"setting/{key}": value for key, value in settings.items()}}
