"""The grid of a comparison: which runs there are, where each lies and what its settings are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sandbox.base.errors import UserError
from sandbox.base.types import Device
from sandbox.experiment.config import Config, validated
from sandbox.experiment.file import Experiment
from sandbox.experiment.run import run_folder
from sandbox.experiment.spec import Score, folder_of, study_spec
from sandbox.experiment.sweep import as_yaml

RUNS = 20_000  # of a comparison


class Cell(NamedTuple):
    """One place of the grid; ``task`` is None where the experiment has but one."""

    task: str | None
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{f'{self.task}, ' if self.task else ''}{self.arm}, seed {self.seed}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders, one in the other, that the runs of its task and arm have wherever they lie."""
        return (self.task, self.arm) if self.task else (self.arm,)


@dataclass(frozen=True)
class Options:
    """How the runs of a plan are made and reported.

    Attributes:
        smoke: the same recipes, shrunk.
        budget: what every arm has the same of: training steps, or multiply-adds.
        sweep: the arms are the combinations of a sweep.
        report_only: nothing is trained.
        named_seeds: the seeds were named on the command line, not by the file.
        device: where the runs compute.
        jobs: runs at a time on this machine.
        ray: address of a Ray cluster, ``local`` for one on this machine, None for none.
        cpus, gpus: what a run gets; None: a fair share.
        export: the folder that complete runs and the sources of their page are written into.
    """

    smoke: bool = False
    budget: Literal["steps", "macs"] = "steps"
    sweep: bool = False
    report_only: bool = False
    named_seeds: bool = False
    device: Device = "auto"
    jobs: int = 1
    ray: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    export: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What a command line asks for.

    Attributes:
        experiment: the file.
        name: of the experiment's folder.
        root: where runs go, ``smoke`` included.
        arms: the reference first.
        tasks: ``(None,)`` where there is but one.
        seeds: in order.
        overrides: settings given, for every arm.
        steps: (task, arm) -> steps, where a budget of multiply-adds sets them.
        options: how they are made.
        exports: folders of exported runs (`sandbox.experiment.exported`), which count as complete.

    Raises:
        UserError: it has more runs than anybody makes.
    """

    experiment: Experiment
    name: str
    root: Path
    arms: tuple[str, ...]
    tasks: tuple[str | None, ...]
    seeds: tuple[int, ...]
    overrides: Mapping[str, Any]
    steps: Mapping[tuple[str | None, str], int]
    options: Options
    exports: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.arms) * len(self.tasks) * len(self.seeds)
        if count > RUNS:
            parts = f"{len(self.arms)} arms, {len(self.tasks)} tasks and {len(self.seeds)} seeds"
            raise UserError(f"{parts} are {count} runs: at most {RUNS} are compared")  # fmt: skip

    @property
    def folder(self) -> Path:
        """``runs/<study>/<experiment>``: what TensorBoard is pointed at."""
        return self.root / folder_of(self.experiment.study) / self.name

    @property
    def file(self) -> Path:
        """A copy of the YAML file, beside the report: what the runs were made from."""
        return self.folder / "comparison" / "experiment.yaml"

    def document(self) -> bytes:
        """What that file holds."""
        return as_yaml(self.experiment) if self.experiment.variants else self.experiment.path.read_bytes()

    def beside(self, cell: Cell, kind: str, ending: str) -> Path:
        """A file about a run in the comparison's folder: ``comparison/<kind>[/<task>]/<arm>/seed-<n>.<ending>``."""
        return self.folder.joinpath("comparison", kind, *cell.parts, f"seed-{cell.seed}.{ending}")

    def order(self, cell: Cell) -> Path:
        """The file that hands a run its settings; see `sandbox.launcher.worker`."""
        return self.beside(cell, "runs", "json")

    def cells(self) -> list[Cell]:
        """Every run, the arms of a seed one after another: pairs are complete early."""
        return [Cell(task, arm, seed) for task in self.tasks for seed in self.seeds for arm in self.arms]

    def place(self, cell: Cell) -> Path:
        """A run's folder."""
        return run_folder(self.root, self.experiment.study, self.name, cell.arm, cell.seed, task=cell.task)

    def shelves(self, cell: Cell) -> list[Path]:
        """Where exported runs of the cell's task and arm may lie."""
        return [folder.joinpath("runs", *cell.parts) for folder in self.exports]

    def exported(self, cell: Cell) -> Path | None:
        """The file of an exported run, in the first folder that has it; None where the run itself is complete here."""
        if (self.place(cell) / "result.json").is_file():
            return None
        files = (shelf / f"seed-{cell.seed}.json" for shelf in self.shelves(cell))
        return next((file for file in files if file.exists()), None)

    def config(self, cell: Cell) -> Config:
        """A run's configuration."""
        steps = self.steps.get((cell.task, cell.arm))
        settings = {**self.overrides, **({} if steps is None else {"steps": steps}), "seed": cell.seed}
        return self.experiment.resolve(cell.arm, settings, smoke=self.options.smoke, task=cell.task)

    def handed(self, cell: Cell) -> dict[str, Any]:
        """What a run's process is handed: every setting, as JSON has it.

        Raises:
            UserError: the run would refuse it.
        """
        return self._handed(cell, self.config(cell))

    def _handed(self, cell: Cell, config: Config) -> dict[str, Any]:
        settings = config.model_dump(mode="json")
        validated(type(config), settings, f"{self.experiment.path} ({cell})")  # as the run does
        return settings

    def scores(self) -> tuple[Score, ...]:
        """What every run is scored by, the primary score first; scores that only some runs have are left out.

        Raises:
            UserError: not every run has the same primary score; a run would refuse its settings.
        """
        spec = study_spec(self.experiment.study)
        cells = [Cell(task, arm, self.seeds[0]) for task in self.tasks for arm in self.arms]
        configs = {cell: self.config(cell) for cell in cells}
        for cell, config in configs.items():
            self._handed(cell, config)
        declared = {cell: spec.scores_of(config) for cell, config in configs.items()}
        first = declared[cells[0]]
        for cell, scores in declared.items():
            if scores[0] != first[0]:
                raise UserError(
                    f"({cells[0]}) and ({cell}) of {self.experiment.path} have different primary scores, "
                    f"{first[0].name} and {scores[0].name}: nothing to compare them by"
                )
        return tuple(score for score in first if all(score in scores for scores in declared.values()))
