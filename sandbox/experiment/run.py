"""A run's folder: who it is, what it was made with, how far it came, what it scored.

    runs/<study>/<experiment>/[<task>/]<arm>/seed-<n>/
      config.yaml         identity: study, experiment, arm, resolved precision, every field, content of the user's data
      environment.json    commit, versions, device
      metrics.jsonl       the scalars of the curves, one line a point
      checkpoints/        see checkpoints.py
      samples/            grids and GIFs
      result.json         scores and costs; there once the run is complete

The name is deterministic, so the same command finds its run again.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ValidationError

from sandbox.base.errors import UserError, nearest, warn
from sandbox.base.files import make_way, remove, set_aside, write_atomically, write_json
from sandbox.base.locks import hold
from sandbox.base.reading import Unreadable, read_json, required
from sandbox.experiment.config import Config, differences, folder_name, validated
from sandbox.experiment.content import Content
from sandbox.experiment.environment import Environment, environment
from sandbox.experiment.spec import folder_of, study_spec
from sandbox.experiment.written import SMALL, Owned, Result, differs, read_sealed, sealed

State = Literal["new", "interrupted", "complete"]
PRECISIONS = ("bf16", "32")  # what ``auto`` resolves to
W = TypeVar("W", bound=Owned)


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
        content: what it learns from, where that is a user's own data; None: nothing of the kind, or not known yet.
    """

    folder: Path
    study: str
    experiment: str
    arm: str
    precision: str
    config: Config
    task: str | None = None
    content: Content | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "checkpoints"

    @property
    def exported(self) -> bool:
        """Whether it was read from one file, which `sandbox.experiment.exported` wrote, rather than from a folder."""
        return self.folder.suffix == ".json"

    @property
    def samples(self) -> Path:
        """The folder of its pictures."""
        return self.folder / "samples"

    def identity(self) -> dict[str, Any]:
        """What makes it this run and no other; the root folder and the device are no part of it."""
        head = {"study": self.study, "experiment": self.experiment, "arm": self.arm, "precision": self.precision}
        if self.task is not None:
            head["task"] = self.task
        data = {} if self.content is None else {"data": self.content.model_dump()}
        return {**head, **data, "config": self.config.model_dump(mode="json")}

    def proof(self) -> dict[str, Any]:
        """What is written into each of its files, to tell it from those of other runs: all that no machine changes."""
        identity = self.identity()
        settings = {name: value for name, value in identity["config"].items() if name not in self.config.PLACES}
        return {**{name: identity[name] for name in identity if name != "data"}, "config": settings}

    def state(self) -> State:
        """Whether the folder holds nothing of the run yet, a part of it, or all."""
        if not (self.folder / "config.yaml").is_file():
            return "new"
        return "complete" if (self.folder / "result.json").is_file() else "interrupted"

    def result(self) -> dict[str, Any]:
        """Scores and costs of a complete run, see `sandbox.experiment.written.Result`.

        Raises:
            UserError: the run is not complete, or its result is damaged or another run's.
        """
        if not (self.folder / "result.json").is_file():
            raise UserError(f"{self.folder} has no result yet: run the same command again to complete it")
        with required(f"{self.command()} makes it again from the last checkpoint"):
            return self._read("result.json", Result).model_dump(exclude={"run"}, exclude_unset=True)

    def environment(self) -> dict[str, Any]:
        """What it was made with.

        Raises:
            UserError: that cannot be read.
        """
        with required("what this run was made with is not known"):
            return self._read("environment.json", Environment).model_dump(exclude={"run"})

    def _read(self, name: str, model: type[W]) -> W:
        found = read_json(self.folder / name, model, SMALL)
        if other := differs(found.run, self.proof(), self.config.PLACES):
            raise Unreadable(self.folder / name, f"belongs to another run ({other})")
        return found

    def command(self) -> str:
        """The start of the command that makes this run."""
        return f"{study_spec(self.study).command} ... --arm {self.arm} --seed {self.config.seed}"

    def open(self, device: str = "cpu") -> State:
        """Creates the folder, or checks that what stands there is this very run. Returns the state it was found in.

        What stands in the way of the run's own files, and a result that cannot be read, is set aside with a warning.
        ``device``, on which it is begun, goes into ``environment.json``.

        Raises:
            UserError: the folder holds another configuration, or something that is no run.
        """
        self._refuse_foreign()
        state = self.state()
        found = None if state == "new" else read_run(self.folder)
        if found is not None:
            self.refuse_another(found)
        # config.yaml first: a kill from here on leaves a run that the same command continues
        known = self if found is None or self.content else replace(self, content=found.content)
        if found is None or found.identity() != known.identity():  # the data may lie elsewhere now
            known.write_config()
        self._make_way()
        self.samples.mkdir(exist_ok=True)
        if not (self.folder / "environment.json").exists():
            if found is not None and (state == "complete" or any(self.checkpoints.glob("step-*"))):
                warn(f"{self.folder / 'environment.json'} is not there: what this run was begun with is not known any "
                     "more, from now on it says what is here now")  # fmt: skip
            write_json(self.folder / "environment.json", {**environment(device), "run": self.proof()})
        return self.state() if state == "complete" else state

    def _make_way(self) -> None:
        for path in (self.checkpoints, self.samples):
            make_way(path, folder=True)
        for name in ("metrics.jsonl", "environment.json", "result.json"):
            make_way(self.folder / name)
        for part in (*self.folder.glob(".*.part"), *self.samples.glob(".*.part")):  # of a write that was killed
            remove(part)
        files: tuple[tuple[str, type[Owned]], ...] = (("environment.json", Environment), ("result.json", Result))
        for name, model in files:
            try:
                self._read(name, model)
            except Unreadable as error:
                if error.path.exists():
                    set_aside(error.path, error.problem)

    def write_config(self) -> None:
        """Writes ``config.yaml``, a checksum in its last line; raises `OSError` where that cannot be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "config.yaml", sealed(yaml.safe_dump(self.identity(), sort_keys=False)))

    def learning_from(self, content: Content | None) -> "Run":
        """This run, its data's content recorded: at the first time, or where the run is older than such records.

        Args:
            content: of the data that lie there now; None: the study draws its own.

        Raises:
            UserError: it has learned from other data.
        """
        known = self.content or (read_run(self.folder).content if self.state() != "new" else None)
        if known is not None and not known.same_as(content):
            raise UserError(f"{self.folder} has learned from {known}, but here is {content or 'none'}: "
                            "give --data-root the same data, or this run a --name")  # fmt: skip
        run = replace(self, content=content)
        if content is not None and known is None and self.state() != "new":
            warn(f"{self.folder} does not say what it has learned from: from now on that is {content}")
            run.write_config()
        return run

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

    def clear(self) -> None:
        """Deletes the run that stands in the folder, whichever it is; nothing where there is none.

        Raises:
            UserError: what stands there is no run.
        """
        self._refuse_foreign()
        if self.state() == "new":
            return
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
        """Raises `UserError`, with the differences, where ``found``, a folder's or an exported one, is not this run."""
        theirs, ours = found.proof(), self.proof()
        changed = differences(theirs.pop("config"), ours.pop("config")) + differences(theirs, ours)
        if changed:
            anew = "delete the file" if found.exported else f"start it anew with {self.command()} --overwrite"
            raise UserError(f"{found.folder} holds a run of another configuration ({'; '.join(changed)}): "
                            f"give this one a --name, or {anew}")  # fmt: skip


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
        return identified(read_sealed(path), folder, path)
    except Unreadable as error:
        raise UserError(f"{path} is no configuration of a run, or a damaged one: it {error.problem} "
                        "(--overwrite starts anew)") from None  # fmt: skip


def identified(head: Mapping[str, Any], folder: Path, path: Path) -> Run:
    """The run of an identity that was read back.

    Args:
        head: see `Run.identity`.
        folder: the run's; of an exported one its file.
        path: the file that the identity stands in.

    Raises:
        UserError: it is none, or its study is not here.
    """
    try:
        study, experiment, arm, precision = (str(head[key]) for key in ("study", "experiment", "arm", "precision"))
        values, data = dict(head["config"]), head.get("data")
        content = None if data is None else Content.model_validate(data)
    except (KeyError, TypeError, ValueError, ValidationError):
        anew = "" if folder == path else " (--overwrite starts anew)"
        raise UserError(f"{path} is no configuration of a run, or a damaged one{anew}") from None
    try:
        spec = study_spec(study)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if precision not in PRECISIONS:
        raise UserError(f"{path}: unknown precision {precision!r}: allowed are {', '.join(PRECISIONS)}")
    config, task = validated(spec.config, values, str(path)), head.get("task")
    return Run(folder, study, experiment, arm, precision, config, None if task is None else str(task), content)


def refuse_mixed_precision(runs: Iterable[Run]) -> None:
    """Raises `UserError` where runs that would be paired differ in their resolved precision."""
    first: dict[str, Path] = {}
    for run in runs:
        first.setdefault(run.precision, run.folder)
    if len(first) > 1:
        found = " but ".join(f"{precision} in {folder}" for precision, folder in first.items())
        raise UserError(f"runs of different precision are not compared: {found}: give --precision and another --name")


def refuse_mixed_data(runs: Iterable[Run]) -> None:
    """Raises `UserError` where runs that say they see the same have learned from different data of the user's."""
    told: list[Run] = []
    for run in runs:
        if run.content is None:
            continue
        for other in told:
            alike = run.task == other.task and run.config.sees_the_same(other.config)
            if alike and not run.content.same_as(other.content):
                raise UserError(f"runs of different data are not compared: {other.folder} has learned from "
                                f"{other.content}, {run.folder} from {run.content}")  # fmt: skip
        told.append(run)


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


def save_result(run: Run, scores: Mapping[str, float], costs: Mapping[str, Any], curves: str) -> None:
    """Writes ``result.json``: from now on the run is complete. ``curves``: checksum of ``metrics.jsonl``."""
    write_json(run.folder / "result.json", {"scores": dict(scores), **costs, "curves": curves, "run": run.proof()})
