"""The end of a run: scores, films, result."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sandbox.base.files import write_atomically
from sandbox.experiment.run import Run, save_result
from sandbox.train.tracking import Tracker
from sandbox.film.paths import Frames, encode_gif, encode_mp4, frame_size, tile

if TYPE_CHECKING:
    from sandbox.train.loop import Study

_GROWTH_FPS = 5  # frames a second of the sample grids one after another


def finish(run: Run, study: "Study", counters: Mapping[str, Any]) -> dict[str, Any]:
    """Scores a trained study, renders its films and writes ``result.json``. Returns what that then holds.

    Args:
        run: its folder.
        study: trained to the last step.
        counters: of the last checkpoint.

    Raises:
        OSError: the disk is full; what stood before is untouched until everything is computed.
    """
    config, images = run.config, run.config.steps * run.config.batch
    scores = study.evaluate()
    frames = study.film(frames=study.film_frames, count=math.prod(study.film_grid), path="loop", seed=0)
    film = tile(frames, study.film_grid)
    films = {config.FILM_NAME: (film, study.film_fps), "training": (_growth(run), _GROWTH_FPS), **study.films()}
    gifs = {name: (encode_gif(sheets, fps), frame_size(sheets)) for name, (sheets, fps) in films.items()
            if sheets is not None}  # fmt: skip
    mp4 = encode_mp4(film, study.film_fps) if study.film_mp4 else None
    files = study.files()
    costs = {
        "steps": config.steps,
        "images": images,
        "seconds": round(counters["seconds"], 3),
        "steps_per_second": round(config.steps / max(counters["seconds"], 1e-9), 3),
        "peak_memory_mb": counters.get("peak_memory_mb"),
        **study.costs(),
    }
    # Everything is computed before an old result is touched: an evaluation that is stopped loses nothing. The result
    # goes first, because from here on the curves lack their scores.
    (run.folder / "result.json").unlink(missing_ok=True)
    with Tracker(run.folder, counters["mark"]) as tracker:
        for name, (gif, size) in gifs.items():
            tracker.gif(name, gif, size, images)
        tracker.hparams(_hparams(run), scores)
        tracker.scalars(scores, images)
        tracker.mark()  # on the disk before the result that says so
    for name, (gif, _) in gifs.items():
        write_atomically(run.samples / f"{name}.gif", gif)
    if mp4 is not None:
        write_atomically(run.samples / f"{config.FILM_NAME}.mp4", mp4)
    for name, content in files.items():
        write_atomically(run.samples / name, content)
    save_result(run, scores, costs)
    return run.result()


def _growth(run: Run) -> Frames | None:
    """The sample grids one after another, at most 60, the last for a second; None where fewer than two are there."""
    places = [*range(0, run.config.steps, run.config.preview_every), run.config.steps]
    paths = [path for step in places if (path := run.samples / f"step-{step:08d}.png").is_file()]
    kept = [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), 60))]
    grids = [np.asarray(Image.open(path).convert("RGB")) for path in kept]
    alike = [grid for grid in grids if grid.shape == grids[-1].shape]  # a run may have gone on under other code
    return np.stack([*alike, *alike[-1:] * _GROWTH_FPS]) if len(alike) > 1 else None


def _hparams(run: Run) -> dict[str, Any]:
    # The table shows the first few in the alphabet: the arm and the seed, then the settings.
    settings = run.config.model_dump(mode="json", exclude={"seed"})
    return {"arm": run.arm, "seed": run.config.seed, **{f"setting/{key}": value for key, value in settings.items()}}
