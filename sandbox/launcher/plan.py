"""The grid of a comparison: the command line of `python -m sandbox.compare`, and which runs it names."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.experiment.config import Config, Score, door_of, study_config, study_scores
from sandbox.cli.train import DEVICES, add_fields, overrides_of, own_name
from sandbox.base.errors import UserError
from sandbox.experiment.file import Experiment, load_experiment
from sandbox.cli.flags import Parser, one_of, positive, whole_number
from sandbox.experiment.run import run_folder
from sandbox.experiment.sweep import as_yaml, expand

EPILOG = """examples:
  python -m sandbox.compare gan/sort_of_clevr --smoke             every part once, small
  python -m sandbox.compare gan/sort_of_clevr                     the arms and seeds that the file names
  python -m sandbox.compare gan/sort_of_clevr --arms conv wide    other arms; the first is the reference
  python -m sandbox.compare gan/sort_of_clevr --steps 9000 --name longer
  python -m sandbox.compare rl/mspacman --env pong                another game, in a folder of its own
  python -m sandbox.compare vision/classification --sweep         a grid of settings instead of the arms
  python -m sandbox.compare gan/sort_of_clevr --jobs 4            four runs at a time (extra: cluster)"""


class Cell(NamedTuple):
    """One place of the grid; ``task`` is None where the experiment has but one."""

    task: str | None
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{f'{self.task}, ' if self.task else ''}{self.arm}, seed {self.seed}"


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
        options: everything else the parser read.
    """

    experiment: Experiment
    name: str
    root: Path
    arms: tuple[str, ...]
    tasks: tuple[str | None, ...]
    seeds: tuple[int, ...]
    overrides: Mapping[str, Any]
    steps: Mapping[tuple[str | None, str], int]
    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        """``runs/<study>/<experiment>``: what TensorBoard is pointed at."""
        return self.root / door_of(self.experiment.study) / self.name

    @property
    def file(self) -> Path:
        """The copy of the YAML that its runs are made from: an edit meanwhile must not tell the arms apart."""
        return self.folder / "comparison" / "experiment.yaml"

    def document(self) -> bytes:
        """What that file holds."""
        return as_yaml(self.experiment) if self.experiment.variants else self.experiment.path.read_bytes()

    def cells(self) -> list[Cell]:
        """Every run, the arms of a seed one after another: pairs are complete early."""
        return [Cell(task, arm, seed) for task in self.tasks for seed in self.seeds for arm in self.arms]

    def place(self, cell: Cell) -> Path:
        """A run's folder."""
        return run_folder(self.root, self.experiment.study, self.name, cell.arm, cell.seed, task=cell.task)

    def settings(self, cell: Cell) -> dict[str, Any]:
        """What the command line says about a run."""
        steps = self.steps.get((cell.task, cell.arm))
        return {**self.overrides, **({} if steps is None else {"steps": steps}), "seed": cell.seed}

    def config(self, cell: Cell) -> Config:
        """A run's configuration."""
        return self.experiment.resolve(cell.arm, self.settings(cell), smoke=self.options.smoke, task=cell.task)

    def scores(self) -> tuple[Score, ...]:
        """What every run is scored by, the primary score first.

        Raises:
            UserError: not every run by the same.
        """
        cells = [Cell(task, arm, self.seeds[0]) for task in self.tasks for arm in self.arms]
        declared = {study_scores(self.experiment.study, self.config(cell)): cell for cell in reversed(cells)}
        if len(declared) > 1:
            b, a = list(declared.values())[-2:]
            raise UserError(
                f"({a}) and ({b}) of {self.experiment.path} have different scores: nothing to compare them by"
            )
        return next(iter(declared))

    def flags(self, cell: Cell) -> tuple[str, ...]:
        """The same for the study's door."""
        options = self.options
        flags = [f"--config={self.file.resolve()}", f"--arm={cell.arm}", f"--name={self.name}",
                 f"--root={options.root.resolve()}", f"--device={options.device}"]  # fmt: skip
        task = study_config(self.experiment.study).task_field
        flags += [f"--{task}={cell.task}"] * (cell.task is not None) + ["--smoke"] * options.smoke
        for key, value in self.settings(cell).items():
            flag = key.replace("_", "-")
            flags.append(f"--{flag}={value}" if not isinstance(value, bool) else f"--{'' if value else 'no-'}{flag}")
        return tuple(flags)


def _seeds(text: str) -> list[int] | int:
    numbers = [whole_number(0, 2**31 - 1)(part) for part in text.removesuffix(",").split(",")]
    if len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text!r} names a seed twice")
    if "," in text:
        return numbers
    return whole_number(1, 10_000)(text)


def _parser(experiment: Experiment | None) -> Parser:
    usage = "python -m sandbox.compare CONFIG [--seeds N] [--arms NAME ...] [--report-only] [settings]"
    about = "Runs every arm x task x seed that is not complete yet, continues those that were interrupted, and reports."
    parser = Parser("python -m sandbox.compare", about, usage=usage, epilog=EPILOG, add_help=False)
    which = parser.add_argument_group("which runs")
    which.add_argument("config", metavar="CONFIG", help="name, or path of a YAML file (`python -m sandbox` lists them)")
    which.add_argument("--arms", nargs="+", metavar="NAME",
                       help=f"the reference first (default: {_listed(experiment, 'compared')}; "
                            f"there are {_listed(experiment, 'arms')})")  # fmt: skip
    if experiment is not None and experiment.tasks:
        which.add_argument("--tasks", nargs="+", metavar="NAME", help=f"{', '.join(experiment.tasks)} (default: all)")
    which.add_argument("--seeds", type=_seeds, metavar="N",
                       help=f"how many, or which: 3,5,7 or 5, (default: {_listed(experiment, 'seeds')})")  # fmt: skip
    which.add_argument("--name", help="names the folder in place of the experiment; for runs with other settings")
    which.add_argument("--root", type=Path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
    which.add_argument("--budget", type=one_of("steps", "macs"), default="steps", metavar="{steps,macs}",
                       help="what every arm has the same of: training steps (default), or multiply-adds, those of the "
                            "reference; the folder is then called CONFIG_macs")  # fmt: skip
    which.add_argument("--sweep", action="store_true",
                       help="instead of the arms every combination of the settings that the file lists under sweep, "
                            "each a run of the first seed; the folder is then called CONFIG_sweep")  # fmt: skip
    which.add_argument("--report-only", action="store_true", help="train nothing, report what the folder holds")
    how = parser.add_argument_group("how they run")
    how.add_argument("--smoke", action="store_true", help="the same recipes shrunk, every part run, under ROOT/smoke")
    how.add_argument("--device", type=one_of(*DEVICES), default="auto", metavar="{" + ",".join(DEVICES) + "}",
                     help="where they compute (default: auto, the best there is)")  # fmt: skip
    how.add_argument("--jobs", type=whole_number(1, 1024), default=1, metavar="N",
                     help="runs at a time on this machine, by Ray (default: 1)")  # fmt: skip
    how.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS",
                     help="on a Ray cluster: auto, ray://HOST:PORT; without ADDRESS one on this machine")  # fmt: skip
    how.add_argument(
        "--cpus", type=positive, metavar="X", help="cores a run asks Ray for (default: all / jobs; 1 on a cluster)"
    )
    how.add_argument(
        "--gpus",
        type=positive,
        metavar="X",
        help="GPUs a run asks Ray for (default: all / jobs; on a cluster 1 with --device cuda)",
    )
    return parser


def _listed(experiment: Experiment | None, attribute: str) -> str:
    return "the file's" if experiment is None else " ".join(map(str, getattr(experiment, attribute)))


def parse(arguments: Sequence[str] | None = None) -> Plan:
    """Reads the command line.

    Raises:
        UserError: an unknown flag, name or key, or a value out of range.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    asks = not arguments or arguments[0] in ("-h", "--help")
    if not asks and arguments[0].startswith("-"):  # --arms takes all names that follow, CONFIG too
        raise UserError(f"CONFIG comes first: python -m sandbox.compare CONFIG {arguments[0]} ...")
    # The file decides which settings and defaults there are.
    experiment = None if asks else load_experiment(arguments[0])
    parser = _parser(experiment)
    if experiment is not None:
        model = study_config(experiment.study)
        chosen = [name for name in (model.config_field, experiment.tasks and model.task_field) if name]  # by the file
        add_fields(parser, model, experiment, leave_out=("coord", "seed", *chosen))
        flag = f"--{model.task_field}"
        if experiment.tasks and any(word.split("=")[0] == flag for word in arguments):
            raise UserError(f"{flag}: {experiment.path} has several: --tasks names some, {', '.join(experiment.tasks)}")
    parser.add_argument("-h", "--help", action="help", help="this page")
    options = parser.parse(arguments)
    assert experiment is not None  # the parser asks for CONFIG
    return _plan(experiment, options)


def _plan(experiment: Experiment, options: argparse.Namespace) -> Plan:
    overrides = overrides_of(options)
    if options.sweep and options.budget == "macs":
        raise UserError("--budget macs goes not with --sweep, whose runs have no reference")
    if options.sweep:
        experiment, options.arms = expand(experiment, options.arms, overrides), None
    arms = tuple(dict.fromkeys(options.arms or experiment.compared))
    tasks = tuple(dict.fromkeys(getattr(options, "tasks", None) or experiment.tasks)) or (None,)
    experiment.check_names(arms, tasks)
    suffix = "_sweep" if options.sweep else "_macs" if options.budget == "macs" else ""
    name = own_name(experiment, overrides) + suffix if options.name is None else options.name
    root = options.root / "smoke" if options.smoke else options.root
    changed = [key for key in overrides if key != study_config(experiment.study).task_field]  # which only says where
    if options.report_only and changed:
        flag = f"--{changed[0].replace('_', '-')}"
        raise UserError(f"{flag} goes not with --report-only, which reports runs as they are; --name says which")
    plan = Plan(experiment, name, root, arms, tasks, _chosen(experiment, options), overrides, {}, options)
    for cell in plan.cells():
        plan.place(cell)
    plan.scores()  # resolves every arm of every task: what is wrong is said now, not after the runs
    return plan


def _chosen(experiment: Experiment, options: argparse.Namespace) -> tuple[int, ...]:
    seeds: list[int] | int | None = options.seeds
    if seeds is None:
        return experiment.seeds[:1] if options.sweep else experiment.seeds
    if isinstance(seeds, list):
        return tuple(seeds)
    more = (seed for seed in range(seeds + len(experiment.seeds)) if seed not in experiment.seeds)
    return tuple([*experiment.seeds, *more][:seeds])
