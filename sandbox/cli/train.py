"""The doors: `python -m sandbox.gan` and so on. From the command line to a finished run.

argparse and pydantic rather than a library that does both: a flag and a YAML key go through the same model, so both get
the same one-line complaint with the nearest name.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sandbox.experiment.config import STUDIES, Config, choices, command_of, door_of, printed_scores, study_config, tasks_of
from sandbox.base.errors import UserError, nearest
from sandbox.experiment.file import Experiment, config_title, load_experiment
from sandbox.cli.flags import Parser, one_of, whole_number
from sandbox.base.guard import guarded
from sandbox.base.world import announced

if TYPE_CHECKING:
    from sandbox.experiment.run import Run
    from sandbox.train.loop import Study

__all__ = ["DEFAULT_CONFIG", "Order", "Parser", "guarded", "main", "one_of", "parse", "whole_number"]

DEFAULT_CONFIG = {
    "gan": "gan/sort_of_clevr",
    "vae": "vae/sort_of_clevr",
    "rl": "rl/mspacman",
    "vision": "vision/classification",
}
_WIDEST = 80  # characters of names that stand behind a flag; more stand in its help
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Order:
    """What a command line asks for."""

    experiment: Experiment
    name: str
    arm: str
    task: str | None
    config: Config
    root: Path
    device: str
    overwrite: bool
    evaluate: bool
    smoke: bool


def _parser(study: str, description: str = "", epilog: str = "") -> Parser:
    prog = f"python -m sandbox.{study}"
    usage = f"{prog} [--config NAME] [--coord | --no-coord | --arm NAME] [--seed N] [--smoke] [settings]"
    parser = Parser(prog, description, usage=usage, epilog=epilog, add_help=False)
    which = parser.add_argument_group("which run")
    default = DEFAULT_CONFIG.get(study)
    which.add_argument("--config", default=default, required=default is None, metavar="NAME",
                       help=f"experiment: name, or path of a YAML file (default: {default}; "
                            "`python -m sandbox` lists them)")  # fmt: skip
    arms = which.add_mutually_exclusive_group()
    arms.add_argument("--arm", metavar="NAME", help="arm of the experiment (default: coord)")
    arms.add_argument("--coord", dest="arm", action="store_const", const="coord", help="the same as --arm coord")
    arms.add_argument("--no-coord", dest="arm", action="store_const", const="conv", help="the same as --arm conv")
    which.add_argument("--name", help="names the run's folder in place of the experiment; for runs with other settings")
    which.add_argument("--root", type=Path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
    how = parser.add_argument_group("how it runs")
    how.add_argument("--smoke", action="store_true",
                     help="the same recipe shrunk, every part run, under ROOT/smoke; settings given hold")  # fmt: skip
    again = how.add_mutually_exclusive_group()
    again.add_argument("--evaluate", action="store_true", help="make a finished run's scores and pictures again")
    again.add_argument("--overwrite", action="store_true", help="delete the run that stands there, start anew")
    how.add_argument("--device", type=one_of(*DEVICES), default="auto", metavar="{" + ",".join(DEVICES) + "}",
                     help="where it computes (default: auto, the best there is)")  # fmt: skip
    return parser


def add_fields(
    parser: Parser, model: type[Config], experiment: Experiment, leave_out: Sequence[str] = ("coord",)
) -> None:
    """Makes every field of a study's model a flag; `overrides_of` reads them back. The arm sets ``coord``."""
    group = parser.add_argument_group("settings", f"each default is that of {experiment.path.name}, for every arm that "
                                      "does not set its own")  # fmt: skip
    for name, field in model.model_fields.items():
        if name in leave_out:
            continue
        flag, target = f"--{name.replace('_', '-')}", f"field_{name}"
        default = experiment.values.get(name, field.default)
        shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
        text, names = f"{field.description} (default: {shown})", ",".join(choices(field))
        long = len(names) > _WIDEST
        text = (f"{text}: {names.replace(',', ', ')}" if long else text).replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(flag, dest=target, action=argparse.BooleanOptionalAction,
                               default=argparse.SUPPRESS, help=text)  # fmt: skip
        else:
            metavar = "NAME" if long else f"{{{names}}}" if names else "N" if field.annotation is int else "X"
            group.add_argument(flag, dest=target, default=argparse.SUPPRESS, metavar=metavar, help=text)


def overrides_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that a command line names: field -> text, or a truth value."""
    return {key.removeprefix("field_"): value for key, value in vars(options).items() if key.startswith("field_")}


def _description(experiment: Experiment, tasks: Mapping[str, str]) -> str:
    arms = "\n".join(
        f"  {arm:20} {', '.join(f'{key}: {str(value).lower()}' for key, value in values.items()) or 'no change'}"
        for arm, values in experiment.arms.items()
    )
    return (
        f"Trains one arm of {experiment.path}, scores it and renders what it learned. Arms:\n{arms}\n"
        "Stopped (Ctrl-C) or killed, the same command continues; complete, it prints the results."
        f"{_all_tasks(tasks)}"
    )


def _all_tasks(tasks: Mapping[str, str]) -> str:
    """A line for each task of a door that has several: each has settings of its own, which its own --help shows."""
    if not tasks:
        return ""
    of = {study: ", ".join(task for task in tasks if tasks[task] == study) for study in tasks.values()}
    field = study_config(next(iter(of))).config_field
    lines = "\n".join(f"  {names:20} {STUDIES[study]}" for study, names in of.items())
    return f"\nTasks (--{field} NAME --help shows the settings of each):\n{lines}"


def _examples(experiment: Experiment) -> str:
    first = next(iter(experiment.arms))
    arms = {"--coord": "the coordinate arm, to its end", "--no-coord": "the plain arm, same seed and data"}
    if not {"conv", "coord"} <= experiment.arms.keys():
        arms = {f"--arm {first}": "that arm, to its end"}
    lines = {
        "--smoke": "every part once, small",
        **arms,
        f"{next(iter(arms))} --steps 9000 --name longer": "other settings, another folder",
    }
    command = command_of(experiment.study)
    return "examples:\n" + "\n".join(f"  {command} {flags:36} {text}" for flags, text in lines.items())


def _experiment(study: str, tasks: Mapping[str, str], arguments: Sequence[str]) -> Experiment:
    """The experiment of a command line, which decides what --help shows: --config's, else that of `config_field`."""
    door, _, task = study.partition(".")
    parser, field = _parser(door), study_config(door).config_field
    default = f"{door}/{task}" if task else parser.get_default("config")
    parser.set_defaults(config=None, chosen=None)
    if field:
        parser.add_argument(f"--{field}", dest="chosen")
    early, _ = parser.parse_known_args(arguments)
    chosen = early.chosen
    if chosen is not None and chosen not in tasks:
        raise UserError(f"--{field} is {chosen!r}: allowed are {', '.join(tasks)}{nearest(chosen, tasks)}")
    name = early.config or (f"{door}/{chosen}" if chosen else default)
    experiment = load_experiment(name)
    if door_of(experiment.study) != door:
        raise UserError(f"{experiment.path} is a config of the study {experiment.study!r}: "
                        f"python -m sandbox.{door_of(experiment.study)} --config {name}")  # fmt: skip
    fields = study_config(experiment.study).model_fields
    own = experiment.values.get(field, fields[field].default) if field else None
    if chosen and chosen != own:
        raise UserError(f"--{field} is {chosen!r}, but {experiment.path} is for {own!r}: leave one of the two out")
    return experiment


def parse(study: str, arguments: Sequence[str] | None = None) -> Order:
    """Reads a study's command line, or that of a door with several tasks: the task decides which study it is.

    Raises:
        UserError: an unknown flag, name or key, or a value out of range.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    door = door_of(study)
    tasks = tasks_of(door)
    experiment = _experiment(study, tasks, arguments)
    model = study_config(experiment.study)
    parser = _parser(door, _description(experiment, tasks), _examples(experiment))
    if field := model.config_field:
        parser.add_argument(f"--{field}", dest=f"field_{field}", default=argparse.SUPPRESS, metavar="NAME",
                            help=f"one of {', '.join(tasks)}; chooses the file too, unless --config does")  # fmt: skip
    if experiment.tasks:
        parser.add_argument(f"--{model.task_field}", dest="task", type=one_of(*experiment.tasks), metavar="NAME",
                            help=f"one of {', '.join(experiment.tasks)} (default: the first)")  # fmt: skip
    leave_out = ["coord", *([field] if field else []), *[model.task_field] * bool(experiment.tasks)]
    add_fields(parser, model, experiment, leave_out)
    parser.add_argument("-h", "--help", action="help", help="this page")
    options = parser.parse(arguments)
    overrides = overrides_of(options)
    arm = options.arm or ("coord" if "coord" in experiment.arms else next(iter(experiment.arms)))
    task = (options.task or next(iter(experiment.tasks))) if experiment.tasks else None
    config = experiment.resolve(arm, overrides, smoke=options.smoke, task=task)
    name = own_name(experiment, overrides) if options.name is None else options.name
    return Order(experiment, name, arm, task, config, options.root, options.device,
                 options.overwrite, options.evaluate, options.smoke)  # fmt: skip


def own_name(experiment: Experiment, overrides: Mapping[str, Any]) -> str:
    """The folder's name: the file's, or that of the task which the command line names in place of the file's."""
    field = study_config(experiment.study).task_field
    if field not in overrides:
        return experiment.name
    arm = next(iter(experiment.arms))
    own, wanted = experiment.resolve(arm), experiment.resolve(arm, {field: overrides[field]})
    if own.task_folder == wanted.task_folder:
        return experiment.name
    ours = config_title(experiment.path) == DEFAULT_CONFIG.get(experiment.study)
    return wanted.task_folder if ours else f"{experiment.name}_{wanted.task_folder}"


def main(study: str, arguments: Sequence[str] | None = None, *, patience: float = 0.0) -> Path:
    """The door of a study: trains the run that the command line names, or says that it is complete.

    Args:
        study: a key of `sandbox.experiment.config.STUDIES`.
        arguments: the command line without the program; None: this process's.
        patience: seconds to wait for another process that works on the same run.

    Returns:
        The run's folder; the run is complete.

    Raises:
        UserError, RunError, Interrupted, OSError: see `sandbox.base.guard.guarded`, which turns each into a line.
    """
    if announced().size == 1:
        return _train(study, arguments, patience)
    from sandbox.train.processes import joined

    with joined():
        return _train(study, arguments, patience)


def _train(study: str, arguments: Sequence[str] | None, patience: float) -> Path:
    order = parse(study, arguments)
    study = order.experiment.study
    from sandbox.train import processes
    from sandbox.experiment.run import Run, run_folder
    from sandbox.train.loop import complete, resolve_device, resolve_precision

    import_module(f"{study}.study")  # seconds: before anything is written, so that a Ctrl-C here leaves nothing behind
    processes.check_batch(order.config.batch)
    device = resolve_device(order.device)  # type: ignore[arg-type]
    precision = resolve_precision(order.config.precision, device)
    folder = run_folder(order.root, study, order.name, order.arm, order.config.seed, smoke=order.smoke, task=order.task)
    run = Run(folder, study, order.name, order.arm, precision, order.config, order.task)
    if order.evaluate and run.state() != "complete":
        raise UserError(f"{folder} is not complete: --evaluate is for finished runs")
    with run.lock(patience) if processes.is_first() else nullcontext():
        # A new run is built before it is written: a mistake that only the data or the networks show leaves nothing.
        early = _built(run, device) if processes.from_first(run.state) == "new" else None
        state = processes.from_first(lambda: run.open(overwrite=order.overwrite))
        if state == "complete" and not order.evaluate:
            print(f"{folder} is complete (--overwrite starts anew, --evaluate scores it again)")
        else:
            # Flushed: in a log file these lines must not wait for the end.
            print(f"{folder}: {state}, {device}, {precision}", flush=True)
            study_object, costs = early or _built(run, device)
            print(yaml.safe_dump(costs, sort_keys=False).rstrip(), flush=True)
            complete(run, study_object, evaluate=order.evaluate)
        if processes.is_first():
            _report(run, run.result())
    return folder


def _built(run: "Run", device: str) -> "tuple[Study, dict[str, Any]]":
    """A run's study and its costs, for which it looks at its data."""
    from sandbox.train.loop import build

    study = build(run, device)
    return study, study.costs()


def _report(run: "Run", result: dict[str, Any]) -> None:
    folder = run.folder
    for line in printed_scores(run.study, result["scores"]):
        print(f"  {line}")
    print(f"  {result['steps']} steps in {result['seconds']:.0f} s, {result['steps_per_second']:.1f} steps/s")
    print(f"pictures:    {folder / 'samples'}\ntensorboard: tensorboard --logdir {folder.parent.parent}")
