"""Commands as a user runs them, in processes of their own, and what they leave behind."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKSHOP = Path(__file__).parent
TOY = str(WORKSHOP / "toy.yaml")
CHECKOUT = WORKSHOP.parents[2]  # the commands are those of the tests' own checkout, whatever is installed
# Bit for bit is a promise of one thread on the CPU; and a process that has asked for a GPU must not fork.
# The toy is a study through its entry point, which Python finds beside it.
PATH = os.pathsep.join(map(str, (WORKSHOP, CHECKOUT)))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": PATH}
# One run over two processes on this machine.
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")


@dataclass
class Command:
    """A command that was started in the workshop.

    Attributes:
        pid: its process.
        out: where its output goes, without ``.stdout`` and ``.stderr``.
    """

    workshop: "Workshop"
    pid: int
    out: Path

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.pid not in self.workshop.ended:
            os.kill(self.pid, number)

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        self.workshop.listen(0.0)
        return self.pid not in self.workshop.ended

    def wait(self) -> int:
        """Its exit code; minus the signal that killed it."""
        while self.pid not in self.workshop.ended:
            self.workshop.listen(60.0)
        return self.workshop.ended[self.pid]

    @property
    def stdout(self) -> str:
        """What it printed."""
        return self.out.with_suffix(".stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it complained about."""
        return self.out.with_suffix(".stderr").read_text()

    def complaints(self) -> list[str]:
        """The lines of stderr but the progress bar's."""
        lines = [line for part in self.stderr.split("\n") for line in part.split("\r")]
        return [line for line in lines if line.strip() and "step/s" not in line]


@dataclass
class Workshop:
    """Starts commands within milliseconds; see tests/sandbox/workshop/zygote.py."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    ended: dict[int, int] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    rest: bytes = b""
    orders: int = 0

    def listen(self, patience: float) -> None:
        """Reads what the workshop says, waiting at most ``patience`` seconds for it to say something."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        until = time.monotonic() + patience
        while True:
            self.rest += self.process.stdout.read() or b""
            *lines, self.rest = self.rest.split(b"\n")
            for words in (line.decode().split() for line in lines):
                if words[0] == "ended":
                    self.ended[int(words[1])] = int(words[2])
                else:
                    self.heard.append(" ".join(words))
            if lines or time.monotonic() >= until:
                return
            assert self.process.poll() is None, "the workshop has died"
            time.sleep(0.002)

    def hear(self) -> str:
        """The next answer."""
        while not self.heard:
            self.listen(60.0)
        return self.heard.pop(0)

    def start(self, code: str, cwd: Path | None = None) -> Command:
        """Runs Python code in a process of its own."""
        assert self.process.stdin is not None
        self.orders += 1
        out = self.folder / f"order-{self.orders}"
        order = {"code": code, "cwd": str(cwd or self.folder), "out": str(out)}
        self.process.stdin.write(f"{json.dumps(order)}\n".encode())
        self.process.stdin.flush()
        return Command(self, int(self.hear().removeprefix("started ")), out)

    def toy(self, *flags: object, before: str = "", cwd: Path | None = None) -> Command:
        """The command of the toy study with ``flags``, after the code ``before``."""
        return self.start(f"{before}\nfrom sandbox.base.guard import guarded\nfrom sandbox.cli.train import main\n"
                          f"guarded(lambda: main('toy', {list(map(str, flags))!r}))", cwd)  # fmt: skip

    def module(self, name: str, *flags: object, before: str = "", cwd: Path | None = None) -> Command:
        """``python -m name flags``, after the code ``before``."""
        return self.start(f"{before}\nimport runpy, sys\nsys.argv = ['', *{list(map(str, flags))!r}]\n"
                          f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)", cwd)  # fmt: skip


@contextmanager
def open_workshop(folder: Path) -> Iterator[Workshop]:
    """Starts the workshop; closed, it kills what still runs."""
    command = [sys.executable, str(WORKSHOP / "zygote.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        shop = Workshop(folder, process)
        assert shop.hear() == "ready"
        yield shop
        assert process.stdin is not None
        process.stdin.close()


@dataclass(frozen=True)
class Said:
    """What a command printed, and what it complained about."""

    stdout: str
    stderr: str


@dataclass(frozen=True)
class SmokeRun:
    """A complete smoke run of the GAN study, made by the command a user types.

    Attributes:
        flags: of the command, but ``--root``.
        root: nobody may change what is in it.
        folder: the run's.
        stdout: what the command printed.
        stderr: the progress bar.
    """

    flags: tuple[str, ...]
    root: Path
    folder: Path
    stdout: str
    stderr: str


def python(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A fresh interpreter: what a user waits for."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content; locks, which are always empty, excepted."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def curves(folder: Path) -> list[tuple[str, int, str]]:
    """Every point of every curve that TensorBoard shows, pictures too, in order; doubled points stand twice."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    scalars = [
        (tag, point.step, repr(point.value)) for tag in events.Tags()["scalars"] for point in events.Scalars(tag)
    ]
    images = [(tag, image.step, str(zlib.crc32(image.encoded_image_string))) for tag in events.Tags()["images"]
              for image in events.Images(tag)]  # fmt: skip
    return sorted(scalars + images)


def outcome(folder: Path) -> dict[str, Any]:
    """What of a complete run must not depend on when it was stopped: weights, optimisers, curves, pictures, scores."""
    import torch

    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    state = torch.load(last / "state.pt", weights_only=True)
    state["counters"] = {"curve": state["counters"]["curve"]}
    everything = files(folder)
    return {
        "weights": {path.name: path.read_bytes() for path in sorted(last.glob("*.safetensors"))},
        "state": repr(state),
        "metrics": everything["metrics.jsonl"].decode(),
        "curves": curves(folder),
        "scores": json.loads(everything["result.json"])["scores"],
        "config": everything["config.yaml"],
        "samples": {name: content for name, content in everything.items() if name.startswith("samples/")},
    }


def compare(workshop: Workshop, root: Path, *flags: object, config: str = TOY, before: str = "") -> Command:
    """The command that compares the arms of a file, the toy's unless told otherwise, after the code ``before``."""
    return workshop.module("sandbox.compare", config, "--root", root, *flags, before=before)


def copied(compared: Path, root: Path) -> Path:
    """A comparison of the toy at its place below another root, without locks."""
    return Path(shutil.copytree(compared, root / "toy/toy", ignore=shutil.ignore_patterns(".*lock")))


def scores_of(compared: Path) -> list[dict[str, str]]:
    """The rows of a comparison's scores.csv."""
    with (compared / "comparison/scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def fault(operation: int, kind: str) -> str:
    """Code that puts a fault before an operation on files; see workshop/faults.py."""
    return f"import faults\nfaults.at_operation({operation}, {kind!r})"


def wrapped(method: str, body: str) -> str:
    """Code that replaces a method of the toy study; ``old`` is what stood there."""
    return f"import os, signal, toy.study\nold = toy.study.ToyStudy.{method}\n{body}\ntoy.study.ToyStudy.{method} = new"
