"""The command line of `python -m sandbox.compare`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.base.errors import UserError, in_words, listed, nearest
from sandbox.cli.flags import Parser, one_of, path, positive, whole_number
from sandbox.cli.train import DEVICES, add_fields, overrides_of, own_name
from sandbox.experiment.config import SEEDS
from sandbox.experiment.file import MANY_SEEDS, Experiment, load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.experiment.sweep import expand
from sandbox.launcher.plan import Options, Plan

EPILOG = """examples:
  python -m sandbox.compare gan/sort_of_clevr --smoke             every part once, small
  python -m sandbox.compare gan/sort_of_clevr                     the arms and seeds that the file names
  python -m sandbox.compare gan/sort_of_clevr --arms conv wide    other arms; the first is the reference
  python -m sandbox.compare gan/sort_of_clevr --steps 9000 --name longer
  python -m sandbox.compare rl/mspacman --env pong                another game, in a folder of its own
  python -m sandbox.compare vision/classification --sweep         a grid of settings instead of the arms
  python -m sandbox.compare gan/sort_of_clevr --jobs 4            four runs at a time
  python -m sandbox.compare gan/sort_of_clevr --export results/NAME        for the repository: its runs, its page"""


def _seeds(text: str) -> list[int] | int:
    if (count := text.count(",")) >= MANY_SEEDS:
        raise argparse.ArgumentTypeError(f"{in_words(text)} names {count + 1} seeds: at most {MANY_SEEDS} are compared")
    numbers = [whole_number(0, SEEDS - 1)(part) for part in text.removesuffix(",").split(",")]
    if len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{in_words(text)} names a seed twice")
    if "," in text:
        return numbers
    return whole_number(1, MANY_SEEDS)(text)


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
        which.add_argument("--tasks", nargs="+", metavar="NAME", help=f"{listed(experiment.tasks)} (default: all)")
    which.add_argument("--seeds", type=_seeds, metavar="N",
                       help=f"how many, or which: 3,5,7 or 5, (default: {_listed(experiment, 'seeds')})")  # fmt: skip
    which.add_argument("--name", help="names the folder in place of the experiment; for runs with other settings")
    which.add_argument("--root", type=path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
    which.add_argument("--budget", type=one_of("steps", "macs"), default="steps", metavar="{steps,macs}",
                       help="what every arm has the same of: training steps (default), or multiply-adds, those of the "
                            "reference; the folder is then called CONFIG_macs")  # fmt: skip
    which.add_argument("--sweep", action="store_true",
                       help="instead of the arms every combination of the settings that the file lists under sweep, "
                            "each a run of the first seed; the folder is then called CONFIG_sweep")  # fmt: skip
    which.add_argument("--report-only", action="store_true", help="train nothing, report what the folder holds")
    which.add_argument("--from", type=path, dest="source", metavar="DIR",
                       help="folder of exported runs, such as results/NAME: they count as complete")  # fmt: skip
    which.add_argument("--export", type=path, metavar="DIR",
                       help="write every complete run as a small file, and the sources of a page of results, into DIR; "
                       "what DIR holds already counts as complete")  # fmt: skip
    how = parser.add_argument_group("how they run")
    how.add_argument("--smoke", action="store_true", help="the same recipes shrunk, every part run, under ROOT/smoke")
    how.add_argument("--device", type=one_of(*DEVICES), default="auto", metavar="{" + ",".join(DEVICES) + "}",
                     help="where they compute (default: auto, the best there is)")  # fmt: skip
    how.add_argument("--jobs", type=whole_number(1, 1024), default=1, metavar="N",
                     help="runs at a time on this machine (default: 1)")  # fmt: skip
    how.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS",
                     help="on a Ray cluster: auto, ray://HOST:PORT; without ADDRESS one on this machine (extra: "
                     "cluster)")  # fmt: skip
    how.add_argument("--cpus", type=positive, metavar="X", help="cores of a run (default: all / jobs; on a cluster 1)")
    how.add_argument(
        "--gpus",
        type=positive,
        metavar="X",
        help="GPUs a run asks Ray for (default: all / jobs; on a cluster 1 with --device cuda)",
    )
    return parser


def _listed(experiment: Experiment | None, attribute: str) -> str:
    return "the file's" if experiment is None else listed(getattr(experiment, attribute)).replace(", ", " ")


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
        model = study_spec(experiment.study).config
        chosen = [name for name in (model.config_field, experiment.tasks and model.task_field) if name]  # by the file
        add_fields(parser, model, experiment, leave_out=("coord", "seed", *chosen))
        flag = f"--{model.task_field}"
        if experiment.tasks and any(word.split("=")[0] == flag for word in arguments):
            raise UserError(f"{flag}: {experiment.path} has several: --tasks names some, {listed(experiment.tasks)}")
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
    if options.gpus is not None and options.ray is None:
        raise UserError("--gpus goes with --ray: the runs of this machine take its GPUs in turn")
    model = study_spec(experiment.study).config
    arms = tuple(dict.fromkeys(options.arms or experiment.compared))
    wanted = map(model.task_name, getattr(options, "tasks", None) or experiment.tasks)
    tasks = tuple(dict.fromkeys(wanted)) or (None,)
    experiment.check_names(arms, tasks)
    suffix = "_sweep" if options.sweep else "_macs" if options.budget == "macs" else ""
    name = own_name(experiment, overrides) + suffix if options.name is None else options.name
    root = options.root / "smoke" if options.smoke else options.root
    changed = [key for key in overrides if key != model.task_field]  # which only says where
    if options.report_only and changed:
        flag = f"--{changed[0].replace('_', '-')}"
        raise UserError(f"{flag} goes not with --report-only, which reports runs as they are; --name says which")
    how = Options(
        options.smoke, options.budget, options.sweep, options.report_only, options.seeds is not None, options.device,
        options.jobs, options.ray, options.cpus, options.gpus, options.export,
    )  # fmt: skip
    seeds, exports = _chosen(experiment, options), _exports(options.source, options.export)
    plan = Plan(experiment, name, root, arms, tasks, seeds, overrides, {}, how, exports)
    for cell in plan.cells():
        plan.place(cell)
    plan.scores()  # resolves every arm of every task: what is wrong is said now, not after the runs
    return plan


def _exports(source: Path | None, target: Path | None) -> tuple[Path, ...]:
    """The folders whose exported runs are read: what is exported into one that has some must go with them."""
    if source is not None and not (source / "runs").is_dir():
        beside = [place.as_posix() for place in source.parent.glob("*") if (place / "runs").is_dir()]
        raise UserError(f"--from {source} holds no exported runs: there is no {source / 'runs'}"
                        f"{nearest(source.as_posix(), beside)}")  # fmt: skip
    return tuple(dict.fromkeys(folder for folder in (source, target) if folder is not None))


def _chosen(experiment: Experiment, options: argparse.Namespace) -> tuple[int, ...]:
    seeds: list[int] | int | None = options.seeds
    if seeds is None:
        return experiment.seeds[:1] if options.sweep else experiment.seeds
    if isinstance(seeds, list):
        return tuple(seeds)
    own = set(experiment.seeds)
    more = (seed for seed in range(seeds + len(own)) if seed not in own)
    return tuple([*experiment.seeds, *more][:seeds])
