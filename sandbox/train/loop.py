"""The loop: steps, progress, logging, checkpoints, resume, guards. `sandbox.train.make` starts it."""

import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sandbox.base.errors import Interrupted, RunError
from sandbox.base.files import write_atomically
from sandbox.base.memory import peak_memory_mb
from sandbox.experiment.run import Run
from sandbox.experiment.spec import study_spec
from sandbox.film.encode import png
from sandbox.train import processes
from sandbox.train.checkpoints import Checkpoint, newest_checkpoint, save_checkpoint
from sandbox.train.study import Study
from sandbox.train.tracking import Tracker


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

    def __init__(self, sums: Mapping[str, Sequence[float]]) -> None:
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

    def __init__(self, run: Run, study: Study[Any], tracker: Tracker | None, found: Checkpoint | None) -> None:
        self.counters = found.counters if found else {}
        self.run, self.study, self.tracker = run, study, tracker
        self.start = found.step if found else 0
        self.began = time.monotonic() - float(self.counters.get("seconds", 0.0))
        self.curve = _Curve(self.counters.get("curve", {}))
        self.guard = _Guard(run)
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.watched = study_spec(run.study).primary(run.config).curve
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
                    self.tracker.scalars(self.curve.point(), config.seen(step))
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
        self.shown |= self.study.status()
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
        images = self.run.config.seen(step)
        write_atomically(self.run.samples / f"step-{step:08d}.png", png(picture))
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
        study = self.study
        save_checkpoint(self.run.checkpoints, step, study.modules, study.optimisers, self.counters,
                        study.state_dict(), self.run.proof())  # fmt: skip
