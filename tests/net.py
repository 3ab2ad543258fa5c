"""The net under a change of structure: the same commands before and after it, and whether they leave the same behind.

    python tests/net.py                                  # against the commit before: 12 to 15 minutes on 2 free cores
    python tests/net.py --only gan/rooms vision/neurons  # some cases: the beginning of a name will do
    python tests/net.py --before HEAD --keep DIR         # another commit; the folders stay, for a look

Every command runs in a process of its own on both sides, in float32, on the CPU, in one thread; then every value in
every file is compared bit for bit, but for `ALLOWED`. After that this checkout takes over what the other one made: it
loads, scores and continues a run of every study, and reports every comparison. No test: pytest does not collect it.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from net_cases import ALLOWED, COMMANDS, INEXACT, LOAD, NO_SMOKE, REPORTS, SMOKE, SWEEP

BEFORE = "70904e0520bcbcf7b7788efc889f9fd2bf9a182d"
ROOT = Path(__file__).resolve().parent.parent
FORK = get_context("fork")
# Imported once, then forked: it takes longer than most commands. Nothing of ours, which is another on each side.
PRELOADED = ("torch", "torch.utils.tensorboard", "torchvision", "lightning_fabric", "stable_baselines3", "captum.attr",
             "scipy.stats", "matplotlib.pyplot", "rich.table", "jinja2", "cv2", "av", "lmdb", "ale_py")  # fmt: skip

# ---- what files hold


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of a document by its path; of a tensor its type, its shape and a sum of its bytes."""
    if isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(item, f"{name}/{key}" if name else str(key))
    elif hasattr(value, "numpy"):
        yield name, f"{value.dtype} {tuple(value.shape)} {_sum(value.contiguous().numpy().tobytes())}"
    else:
        yield name, repr(value)


def _events(content: bytes) -> list[dict[str, Any]]:
    """The values in a TensorBoard file, without the times."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found, at = [], 0
    while at < len(content):  # length, its checksum, a record, its checksum
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        at += length + 16
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            if plugin.plugin_name == "hparams":  # a map, which every process writes in an order of its own
                plugin.content = HParamsPluginData.FromString(plugin.content).SerializeToString(deterministic=True)
            found.append({value.tag: [event.step, _sum(value.SerializeToString(deterministic=True))]})
    return found


def _values(path: Path) -> Any:
    """What a file holds, as a document; of a file that is compared as a whole its ``content`` alone."""
    content = path.read_bytes()
    if path.name == "metrics.jsonl":
        return [json.loads(line) for line in content.splitlines()]
    if path.suffix == ".json":
        return json.loads(content)
    if path.name == "scores.csv":
        return list(csv.DictReader(content.decode().splitlines()))
    if path.suffix == ".safetensors":
        return import_module("safetensors.torch").load(content)
    if path.name == "state.pt":
        return import_module("torch").load(path, weights_only=True)
    return _events(content) if ".tfevents." in path.name else {"content": _sum(content)}


def _tree(folder: Path) -> dict[str, dict[str, str]]:
    """Every file below a folder, value by name. A folder's event files count as one: a continued run has two."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, values = re.sub(r"tfevents\..*", "tfevents", path.relative_to(folder).as_posix()), _values(path)
        found[name] = found[name] + values if name in found else values
    return {name: dict(_flat(values)) for name, values in found.items()}


def _differences(before: Path, after: Path, *, values: bool = True) -> Iterator[str]:
    """What differs between two folders: "FILE only SIDE", and where ``values``, "FILE VALUE"."""
    a, b = _tree(before), _tree(after)
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            yield f"{name} only {'before' if name in a else 'after'}"
        elif values:
            keys = sorted(a[name].keys() | b[name].keys())
            yield from (f"{name} {key}" for key in keys if a[name].get(key) != b[name].get(key))


# ---- commands


def _become(checkout: Path, folder: Path, words: Sequence[str], log: Path) -> None:
    """Turns this process into ``python -m WORDS``, or ``python -c LOAD ...``, of a checkout, in a folder."""
    os.chdir(folder)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["PYTHONPATH"] = str(checkout)  # of a comparison's runs
    sys.path[:] = [str(checkout), *(path for path in sys.path if path != str(Path(__file__).parent))]
    sys.argv[:] = list(words)
    if words[0] == LOAD:
        exec(LOAD, {"__name__": "__load__"})
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def _stop(process: Any) -> None:
    """Asks a process to stop, kills it where it does not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
    process.join(30)
    process.kill()
    process.join()


@dataclass
class Case:
    """The commands of a case, on both sides; then on the one side what the other one has left.

    Attributes:
        name: in `COMMANDS`.
        checkouts: before and after.
        work: a folder of its own.
    """

    name: str
    checkouts: tuple[Path, Path]
    work: Path

    def __call__(self) -> None:
        """Runs all of it. The process ends with 1 where something differs."""
        with suppress(KeyboardInterrupt):
            sys.exit(not all(list(self._all())))
        sys.exit(130)

    def _all(self) -> Iterator[bool]:
        sides, told = (self.work / "before", self.work / "after"), set[str]()
        for side in sides:
            side.mkdir(parents=True)
            (side / "sweep.yaml").write_text(SWEEP)
        rows = [(command.split(), *also.partition(" ")[::2]) for name, command, also in COMMANDS if name == self.name]
        for number, ((module, *flags), verb, run) in enumerate(rows):
            words = [f"sandbox.{module}", *flags, *(SMOKE if module not in NO_SMOKE else ())]
            run = f"runs/smoke/{run}/seed-0"
            yield self._both(words, sides, stop=run if verb == "stop" else "", told=told)
            copies = self.work / f"before-{number}", self.work / f"after-{number}"
            if verb in ("take", "report"):
                for copy in copies:
                    shutil.copytree(sides[0], copy)
                yield from self._take(words, run, copies) if verb == "take" else self._report(words, copies)

    def _take(self, words: list[str], run: str, folders: tuple[Path, Path]) -> Iterator[bool]:
        """The one after loads a run of the one before, scores it, and goes on from its last but one checkpoint."""
        new, folder = self.checkouts[1], folders[1]
        yield self._both([LOAD, run], folders, label=f"loaded: {run}")
        failed = self._run(new, folder, [*words, "--evaluate"])
        yield self._tell(f"scored again: {run}", failed or _differences(*folders))
        (folder / run / "result.json").unlink()
        checkpoints = sorted((folder / run / "checkpoints").glob("step-*"))
        assert len(checkpoints) == 2, "a run keeps two"
        shutil.rmtree(checkpoints[1])
        failed = self._run(new, folder, words)
        exact = not words[0].endswith(INEXACT)
        yield self._tell(f"continued: {run}", failed or _differences(*folders, values=exact))

    def _report(self, words: list[str], folders: tuple[Path, Path]) -> Iterator[bool]:
        """Both report the comparison that the one before has made: even the seconds are the same then."""
        words = [word for word in words if word not in SMOKE[-2:]] + ["--report-only"]
        yield self._both(words, folders, allowed=ALLOWED.keys() - REPORTS.keys())

    def _both(self, words: list[str], folders: tuple[Path, Path], label: str = "", stop: str = "", **tell: Any) -> bool:
        """Runs a command on both sides and compares."""
        pairs = zip(self.checkouts, folders, strict=True)
        failed = [line for checkout, folder in pairs for line in self._run(checkout, folder, words, stop)]
        return self._tell(label or " ".join(words), failed or _differences(*folders), **tell)

    def _run(self, checkout: Path, folder: Path, words: list[str], stop: str = "") -> list[str]:
        """Runs a command, where ``stop`` names a run, until that has its last checkpoint. Returns what is wrong."""
        log, last = self.work / f"{folder.name}.log", folder / stop / "checkpoints/step-00000006"
        process = FORK.Process(target=_become, args=(checkout, folder, words, log))
        process.start()
        try:
            while process.is_alive():
                process.join(0.2 if stop else None)
                if stop and last.is_dir():
                    os.kill(process.pid or 0, signal.SIGINT)
                    process.join()
        except KeyboardInterrupt:
            _stop(process)
            raise
        if process.exitcode == (130 if stop else 0):
            return []
        said = log.read_text(errors="replace").strip().splitlines() or ["not a word"]
        return [f"exit code {process.exitcode} of {checkout}: {said[-1]}"]

    def _tell(
        self, label: str, found: Iterable[str], allowed: Iterable[str] = ALLOWED, told: set[str] | None = None
    ) -> bool:
        """Prints the line of a command, and the first few files that differ, but for what stands in ``told``."""
        new = [line for line in found if not any(fnmatchcase(line, pattern) for pattern in allowed)]
        if told is not None:
            new = [line for line in new if line not in told]
            told.update(line for line in new if not line.startswith("exit code"))
        files: dict[str, list[str]] = {}
        for line in new:
            files.setdefault(line.partition(" ")[0], []).append(line)
        lines = [f"{line}{f' and {len(rest)} more' if rest else ''}" for line, *rest in files.values()]
        more = [f"and {len(lines) - 8} more files"] * (len(lines) > 8)
        print(f"{'DIFFERS' if new else 'same':8}{self.name}: {label}", *lines[:8], *more, sep="\n        ", flush=True)
        return not new


# ---- all of it


def _work(names: list[str], checkouts: tuple[Path, Path], work: Path, jobs: int) -> list[str]:
    """Runs cases, ``jobs`` at a time. Returns the names of those in which something differs."""
    running: dict[int, tuple[str, Any]] = {}
    waiting, bad = list(names), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                process = FORK.Process(target=Case(name, checkouts, work / name.replace("/", "-")))
                process.start()
                running[process.sentinel] = name, process
            for sentinel in wait(list(running)):
                name, process = running.pop(sentinel)
                process.join()
                bad += [name] * (process.exitcode != 0)
    finally:
        for _, process in running.values():
            _stop(process)
    return bad


def main() -> int:
    """``python tests/net.py``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help="what this checkout is compared with")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="cases, or how their names begin")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for all that is made, which stays")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="commands at a time (default: 2)")
    options = parser.parse_args()
    every = dict.fromkeys(name for name, *_ in COMMANDS)
    names = [name for name in every if name.startswith(tuple(options.only))]
    if not names:
        parser.error(f"--only: there are {', '.join(every)}")
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: in the background a shell has it ignored
        signal.signal(number, signal.default_int_handler)
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for module in PRELOADED:
        import_module(module)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="net-", ignore_cleanup_errors=True) as temporary:
        work, before = (options.keep or Path(temporary)).resolve(), Path(temporary, "before")
        git = ["git", "-C", ROOT, "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", before, options.before], check=True)
        try:
            bad = _work(names, (before, ROOT), work, options.jobs)
        except KeyboardInterrupt:
            return 130
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            subprocess.run([*git, "remove", "--force", before], check=True)
    print(f"{len(names) - len(bad)} of {len(names)} cases are the same ({time.monotonic() - began:.0f} s)")
    print(*(f"differs: {name}" for name in bad), sep="\n", end="\n" * bool(bad))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
