"""The loop for torch studies: steps, progress, logging, checkpoints, resume, guards.

    study = build(run, device)          # networks and optimisers of `<study>.study`
    result = complete(run, study)       # train from the newest checkpoint on, score, render

What a study owes the loop is the abstract class `Study`, five methods.
"""

import io
import math
import random
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from sandbox.train import processes
from sandbox.train.checkpoints import Checkpoint, newest_checkpoint, save_checkpoint
from sandbox.experiment.config import Config, study_scores
from sandbox.base.errors import Interrupted, RunError, UserError, nearest
from sandbox.base.files import write_atomically
from sandbox.train.finish import finish
from sandbox.base.memory import keep_freed_memory, peak_memory_mb
from sandbox.experiment.run import Run
from sandbox.train.tracking import Tracker
from sandbox.film.paths import Sheet

Device = Literal["auto", "cpu", "cuda", "mps"]
Picture = UInt8[np.ndarray, "h w 3"]


class Study(ABC):
    """A comparison's networks and how they learn. Step t must depend on the seed and t alone: a resumed run is exact.

    Several processes call ``step`` together (see processes.py), the first one alone all the rest.

    Attributes:
        config: the run's configuration.
        fabric: device, precision, processes.
        modules: what a checkpoint holds, by name.
        optimisers: by name.
        film_frames, film_grid, film_fps, film_mp4: the film that ends a run: its length, rows and columns of pictures,
            frames a second, and whether it is kept as an MP4 beside the GIF.
    """

    film_frames: ClassVar[int] = 120
    film_grid: ClassVar[tuple[int, int]] = (4, 4)
    film_fps: ClassVar[int] = 30
    film_mp4: ClassVar[bool] = False

    config: Config
    fabric: Fabric
    modules: Mapping[str, nn.Module]
    optimisers: Mapping[str, Optimizer]

    @abstractmethod
    def step(self, step: int) -> dict[str, Tensor]:
        """Trains one step; returns its losses and gradient norms by tag, each a scalar that must be finite."""

    @abstractmethod
    def preview(self) -> tuple[Picture, dict[str, float]]:
        """A sample grid from latents that never change, and the cheap scores that make a learning curve."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """The scores of the trained networks, by tag. NaN where a score is undefined."""

    @abstractmethod
    def film(self, *, frames: int, count: int, path: str, seed: int) -> UInt8[np.ndarray, "t n 3 h w"]:
        """``count`` walks through latent space of ``frames`` frames each; seeded, the same latents in both arms."""

    def films(self) -> dict[str, tuple[Sheet, int]]:
        """Further films for the end of a run: name -> film and frames a second; `Config.FILMS` says what they show."""
        return {}

    def files(self) -> dict[str, bytes]:
        """Further files for the ``samples`` of a finished run, by name: tables, pictures."""
        return {}

    def between(
        self, ends: tuple[int | Image.Image, int | Image.Image], *, frames: int
    ) -> UInt8[np.ndarray, "t 3 3 h w"]:
        """A walk from one image to another: in each frame the first image, the walk, the second image.

        Args:
            ends: an index of the data or an RGB picture of any size, each.
            frames: at least 2.

        Raises:
            UserError: the study encodes no images.
        """
        raise UserError("--from and --to are for networks that encode images, as a VAE's do: this run has none")

    @abstractmethod
    def costs(self) -> dict[str, Any]:
        """Parameters and multiply-adds of each network; a text under ``note`` stands at the head of a report."""


def resolve_device(device: Device) -> str:
    """The accelerator that ``auto`` means here.

    Raises:
        UserError: there is no such device, or not here.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(device, False):
        here = ", ".join(name for name, is_there in there.items() if is_there)
        close = nearest(device, ["auto", *there]) if device not in there else ""
        raise UserError(f"device {device!r} is not available: here are auto, {here}{close}")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """``bf16`` or ``32``: what ``auto`` means on a device. Emulated bf16 would be slower than float32."""
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    capabilities = torch.cpu.get_capabilities()
    has = device == "cpu" and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if has else "32"


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric on one device for each process, quiet about its choice of precision."""
    import logging

    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    keep_freed_memory()
    arguments = processes.fabric_arguments(device)
    fabric = Fabric(accelerator=device, precision="bf16-mixed" if precision == "bf16" else "32-true", **arguments)
    if processes.count() > 1:
        fabric.launch()
    return fabric


def build(run: Run, device: str) -> Study:
    """The study of a run with fresh networks, from ``<study>.study``; seeds the random streams of torch and Python."""
    torch.manual_seed(run.config.seed)
    random.seed(run.config.seed)
    study: Study = import_module(f"{run.study}.study").STUDY(run.config, make_fabric(device, run.precision))
    return study


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM ask the loop to stop after the step in hand; a second one stops at once."""
    requests: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)

    # Python lets only the main thread catch signals; in another one the caller must see to them.
    caught = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    old = {number: signal.signal(number, ask) for number in caught}
    try:
        yield requests
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Curve:
    """The mean of each tag since the last point. Its sums travel in the checkpoint: no restart changes a point."""

    def __init__(self, sums: Mapping[str, list[float]]) -> None:
        self.sums = {tag: list(pair) for tag, pair in sums.items()}

    def add(self, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            pair = self.sums.setdefault(tag, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def point(self) -> dict[str, float]:
        means = {tag: total / count for tag, (total, count) in self.sums.items()}
        self.sums = {}
        return means


class _Guard:
    """Stops a run whose losses or gradients are not finite, with what it takes to look into it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.last: deque[tuple[int, dict[str, float]]] = deque(maxlen=5)

    def check(self, step: int, values: dict[str, float]) -> None:
        self.last.append((step, values))
        bad = [tag for tag, value in values.items() if not math.isfinite(value)]
        if bad:
            saved = newest_checkpoint(self.run.checkpoints)
            history = "; ".join(
                f"step {at}: " + " ".join(f"{tag} {value:.4g}" for tag, value in row.items()) for at, row in self.last
            )
            raise RunError(
                f"{', '.join(bad)} not finite at step {step}. Last losses: {history}. "
                f"Last good checkpoint: {saved.path if saved else 'none'}"
            )


class Loop:
    """Trains a study from where its run stands to its last step. Without a tracker: beside a process that has it."""

    def __init__(self, run: Run, study: Study, tracker: Tracker | None, found: Checkpoint | None) -> None:
        self.counters = found.counters if found else {}
        self.run, self.study, self.tracker = run, study, tracker
        self.start = found.step if found else 0
        self.began = time.monotonic() - float(self.counters.get("seconds", 0.0))
        self.curve = _Curve(self.counters.get("curve", {}))
        self.guard = _Guard(run)
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.watched = study_scores(run.study, run.config)[0].curve
        self.shown: dict[str, str] = {}
        # Reading a loss waits for the GPU; there, losses are read at the points of the curve.
        self.read_every = 1 if study.fabric.device.type == "cpu" else run.config.log_every

    def train(self) -> dict[str, Any]:
        """Runs the remaining steps. Returns the counters of the last checkpoint.

        Raises:
            Interrupted: Ctrl-C or SIGTERM came; a checkpoint holds everything.
            RunError: a loss or gradient is not finite.
            OSError: the disk is full; the checkpoints that stood are untouched.
        """
        config = self.run.config
        with _stop_requests() as requests, self._bar() as bar:
            if self.start == 0:
                self._preview(0)
            for step in range(self.start + 1, config.steps + 1):
                self.pending.append((step, self.study.step(step)))
                # Asked once a step: a request that comes later waits for the next one, in every process.
                stop = processes.agreed(bool(requests))
                due = step % config.checkpoint_every == 0 or step == config.steps or stop
                if due or step % self.read_every == 0 or step % config.log_every == 0:
                    self._read(bar)
                if step % config.log_every == 0 and self.tracker:
                    self.tracker.scalars(self.curve.point(), step * config.batch)
                if step % config.preview_every == 0 or step == config.steps:
                    self._preview(step)
                if due:
                    self._save(step)
                bar.update()
                if stop:
                    break
        # After the last step too: the scores can take longer than the user wants to wait.
        if processes.agreed(bool(requests)):
            raise Interrupted(f"stopped after step {step} of {config.steps}")
        return self.counters

    def _bar(self) -> "tqdm[Any]":
        config = self.run.config
        # A log file wants a line now and then, not ten a second.
        pace = 0.2 if sys.stderr.isatty() else 30.0
        label = f"{self.run.arm} seed {config.seed}"
        return tqdm(total=config.steps, initial=self.start, desc=label, unit="step", mininterval=pace,
                    dynamic_ncols=True, disable=self.tracker is None)  # fmt: skip

    def _read(self, bar: "tqdm[Any]") -> None:
        tags = [list(losses) for _, losses in self.pending]
        flat = torch.stack([value.detach().float() for _, losses in self.pending for value in losses.values()])
        values = iter(processes.mean(flat).tolist())  # before the guard: what is not finite anywhere stops all
        for (step, _), names in zip(self.pending, tags, strict=True):
            row = {tag: next(values) for tag in names}
            self.guard.check(step, row)
            self.curve.add(row)
            self._show(row)
        bar.set_postfix(self.shown, refresh=False)
        self.pending.clear()

    def _show(self, values: Mapping[str, float]) -> None:
        """The bar has the newest losses, and the primary score's curve, which has fewer points."""
        self.shown |= {tag.split("/")[-1]: f"{value:.2f}" for tag, value in values.items()
                       if tag.startswith("loss/") or tag == self.watched}  # fmt: skip

    def _preview(self, step: int) -> None:
        if self.tracker is None:
            return
        picture, scores = self.study.preview()
        self._show(scores)
        images = step * self.run.config.batch
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        write_atomically(self.run.samples / f"step-{step:08d}.png", content.getvalue())
        self.tracker.picture("samples", picture, images)
        if scores:
            self.tracker.scalars(scores, images)

    def _save(self, step: int) -> None:
        if self.tracker is None:
            return
        memory = max(peak_memory_mb(self.study.fabric.device), self.counters.get("peak_memory_mb", 0.0))
        self.counters = {
            "seconds": time.monotonic() - self.began,
            "peak_memory_mb": memory,
            "curve": self.curve.sums,
            "mark": self.tracker.mark(),
        }
        save_checkpoint(self.run.checkpoints, step, self.study.modules, self.study.optimisers, self.counters)


def complete(run: Run, study: Study, *, evaluate: bool = False) -> dict[str, Any]:
    """Trains what is left of a run, scores it and renders its film. Returns what ``result.json`` then holds.

    Args:
        run: opened and locked.
        study: its study, with fresh networks.
        evaluate: the run is complete; its scores and pictures are made again.

    Raises:
        UserError: ``evaluate``, but the training is not finished; a checkpoint of other code.
        Interrupted, RunError, OSError: see `Loop.train`.
    """
    found = _checkpoint(run)
    if evaluate and (found is None or found.step < run.config.steps):
        raise UserError(f"{run.folder} holds no finished training to evaluate: the command without --evaluate goes on")
    if found is not None:
        found.restore(study.modules, study.optimisers)
        found.restore_random()
    if found is not None and found.step >= run.config.steps:
        counters = found.counters
    elif processes.is_first():
        with Tracker(run.folder, found.counters["mark"] if found else {}) as tracker:
            counters = Loop(run, study, tracker, found).train()
    else:
        counters = Loop(run, study, None, found).train()
    return processes.from_first(lambda: finish(run, study, counters))


def _checkpoint(run: Run) -> Checkpoint | None:
    """The checkpoint to go on from, the same in every process: the first one mends, then the others read."""
    with processes.first_goes_ahead():
        found = newest_checkpoint(run.checkpoints, mend=processes.is_first())
    step = found.step if found else 0
    if processes.agreed(step != processes.from_first(lambda: step)):
        raise UserError(f"not every process sees the same {run.checkpoints}: --root must lie on a disk that all share")
    return found
