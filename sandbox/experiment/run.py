"""A run's folder: who it is, what it was made with, how far it came, what it scored.

    runs/<study>/<experiment>/[<task>/]<arm>/seed-<n>/
      config.yaml         identity: study, experiment, arm, resolved precision, every field
      environment.json    commit, versions, device
      metrics.jsonl       the scalars of the curves, one line a point
      checkpoints/        see checkpoints.py
      samples/            grids and GIFs
      result.json         scores and costs; there once the run is complete

The name is deterministic, so the same command finds its run again.
"""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml

from sandbox.base.errors import UserError, nearest, one_line
from sandbox.base.files import write_atomically, write_json
from sandbox.base.locks import hold
from sandbox.base.world import announced
from sandbox.experiment.config import Config, differences, folder_name, validated
from sandbox.experiment.spec import folder_of, study_spec

State = Literal["new", "interrupted", "complete"]
PRECISIONS = ("bf16", "32")  # what ``auto`` resolves to


@dataclass(frozen=True)
class Run:
    """One run: its folder and its identity.

    Attributes:
        folder: where it lies.
        study: its name, see `sandbox.experiment.spec.study_spec`.
        experiment: name of the experiment.
        arm: name of the arm.
        precision: the resolved one, ``bf16`` or ``32``.
        config: every field.
        task: name of the task, where the experiment has several.
    """

    folder: Path
    study: str
    experiment: str
    arm: str
    precision: str
    config: Config
    task: str | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "checkpoints"

    @property
    def samples(self) -> Path:
        """The folder of its pictures."""
        return self.folder / "samples"

    def identity(self) -> dict[str, Any]:
        """What makes it this run and no other; the root folder and the device are no part of it."""
        head = {"study": self.study, "experiment": self.experiment, "arm": self.arm, "precision": self.precision}
        if self.task is not None:
            head["task"] = self.task
        return {**head, "config": self.config.model_dump(mode="json")}

    def state(self) -> State:
        """Whether the folder holds nothing of the run yet, a part of it, or all."""
        if not (self.folder / "config.yaml").is_file():
            return "new"
        return "complete" if (self.folder / "result.json").exists() else "interrupted"

    def result(self) -> dict[str, Any]:
        """Scores and costs of a complete run.

        Raises:
            UserError: the run is not complete.
        """
        path = self.folder / "result.json"
        if not path.exists():
            raise UserError(f"{self.folder} has no result yet: run the same command again to complete it")
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            scores = {tag: None if value is None else float(value) for tag, value in document.pop("scores").items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} cannot be read ({one_line(error)}): {self.command()} --evaluate makes it again"
            ) from None
        return {"scores": scores, **document}

    def command(self) -> str:
        """The start of the command that makes this run."""
        return f"{study_spec(self.study).command} ... --arm {self.arm} --seed {self.config.seed}"

    def open(self, *, overwrite: bool = False) -> State:
        """Creates the folder, or checks that what stands there is this very run. Returns the state it was found in.

        Raises:
            UserError: the folder holds another configuration, or something that is no run.
        """
        self._refuse_foreign()
        state = self.state()
        if state != "new" and overwrite:
            self._clear()
            state = "new"
        found = None if state == "new" else read_run(self.folder)
        if found is not None:
            self.refuse_another(found)
        if found is None or found.identity() != self.identity():  # the data may lie elsewhere now
            # config.yaml first: a kill from here on leaves a run that the same command continues
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "config.yaml", yaml.safe_dump(self.identity(), sort_keys=False))
        self.samples.mkdir(exist_ok=True)
        if not (self.folder / "environment.json").exists():
            write_json(self.folder / "environment.json", environment())
        return state

    @contextmanager
    def lock(self, patience: float = 0.0) -> Iterator[None]:
        """Creates the folder and holds it while the run is worked on.

        Args:
            patience: seconds to wait for another process to let go of it.

        Raises:
            UserError: another process holds it, it is no run's, or it cannot be created or written.
        """
        self._refuse_foreign()
        with hold(self.folder, ".lock", f"{self.folder} is in use by another process", patience):
            yield

    def _refuse_foreign(self) -> None:
        try:
            occupied = any(not path.name.startswith(".") for path in self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing there yet; a file in the way is the lock's to complain about
        except OSError as error:
            raise UserError(f"cannot read {self.folder} ({error.strerror}): choose another --root") from None
        if occupied and self.state() == "new":
            raise UserError(f"{self.folder} exists and holds no run: choose another --name or --root")

    def _clear(self) -> None:
        # A config.yaml alone makes no run: --overwrite must not delete what is somebody else's. A torn one is ours.
        config = self.folder / "config.yaml"
        if not config.read_bytes().startswith((b"study:", b"\0")) and config.stat().st_size:
            raise UserError(f"{config} is not a run's: choose another --name or --root")
        # The result goes first, config.yaml last: killed half-way, what is left is an interrupted run of ours. The
        # checkpoints go before the curves: a run that continues from one must find the curves up to it.
        order = {"result.json": 0, "checkpoints": 1, "config.yaml": 3}
        for path in sorted(self.folder.iterdir(), key=lambda path: order.get(path.name, 2)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()

    def refuse_another(self, found: "Run") -> None:
        """Raises `UserError`, with the differences, where ``found`` is not this very run."""
        ours, theirs = self.identity(), found.identity()
        settings = [{name: value for name, value in one.pop("config").items() if name not in self.config.PLACES}
                    for one in (theirs, ours)]  # fmt: skip
        changed = differences(*settings) + differences(theirs, ours)
        if changed:
            raise UserError(
                f"{self.folder} holds a run of another configuration ({'; '.join(changed)}): "
                f"give this one a --name, or start it anew with {self.command()} --overwrite"
            )


def run_folder(
    root: Path, study: str, experiment: str, arm: str, seed: int, *, smoke: bool = False, task: str | None = None
) -> Path:
    """Where a run lies: ``root[/smoke]/study/experiment[/task]/arm/seed-n``, of a study ``a.b`` below ``a``.

    Raises:
        UserError: the experiment or the arm cannot name a folder.
    """
    folder_name(experiment, "the run's name (--name sets another)")
    folder_name(arm, "the arm's name")
    above = (root / "smoke" if smoke else root) / folder_of(study) / experiment
    return (above if task is None else above / task) / arm / f"seed-{seed}"


def read_run(folder: Path | str) -> Run:
    """The run that lies in a folder.

    Raises:
        UserError: there is none, or its configuration cannot be read.
    """
    folder = Path(folder)
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml{_nearest_run(folder)}")
    try:
        head = yaml.safe_load(path.read_text(encoding="utf-8"))
        study, experiment, arm, precision = (str(head[key]) for key in ("study", "experiment", "arm", "precision"))
        values = dict(head["config"])
    except Exception:  # whatever a damaged file makes YAML or the disk raise
        raise UserError(f"{path} is no configuration of a run, or a damaged one (--overwrite starts anew)") from None
    try:
        spec = study_spec(study)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if precision not in PRECISIONS:
        raise UserError(f"{path}: unknown precision {precision!r}: allowed are {', '.join(PRECISIONS)}")
    config, task = validated(spec.config, values, str(path)), head.get("task")
    return Run(folder, study, experiment, arm, precision, config, None if task is None else str(task))


def refuse_mixed_precision(runs: Iterable[Run]) -> None:
    """Raises `UserError` where runs that would be paired differ in their resolved precision."""
    first: dict[str, Path] = {}
    for run in runs:
        first.setdefault(run.precision, run.folder)
    if len(first) > 1:
        found = " but ".join(f"{precision} in {folder}" for precision, folder in first.items())
        raise UserError(f"runs of different precision are not compared: {found}: give --precision and another --name")


def _nearest_run(folder: Path) -> str:
    above = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None)
    if above is None or above in (Path("."), Path("/")):
        return ""
    runs = []
    for visited, (place, folders, files) in enumerate(os.walk(above)):
        if visited == 2000:  # a typing mistake must not search the whole disk
            break
        folders.sort()
        if "config.yaml" in files:
            runs.append(Path(place).as_posix())
    return nearest(folder.as_posix(), runs) or (f"; did you mean {runs[0]!r}?" if runs else "")


def environment() -> dict[str, Any]:
    """What the run is made with: commit, versions, processor and accelerator."""
    import torch  # here: what only reads run folders starts without it

    packages = ("torch", "torchvision", "numpy", "lightning-fabric", "safetensors", "stable-baselines3", "ale-py")
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "platform": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.processor(),
        "threads": torch.get_num_threads(),
        "processes": announced().size,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(checkout)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}{' with changes' if dirty else ''}"


def save_result(run: Run, scores: Mapping[str, float], costs: Mapping[str, Any]) -> None:
    """Writes ``result.json``: from now on the run is complete."""
    write_json(run.folder / "result.json", {"scores": dict(scores), **costs})
