"""One run from a command line: `python -m sandbox.gan`, `python -m sandbox train CONFIG`, and so on.

argparse and pydantic rather than a library that does both: a flag and a YAML key go through the same model, so both get
the same one-line complaint with the nearest name.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.base.errors import UserError, in_words, listed, nearest, one_line
from sandbox.base.types import Device
from sandbox.base.world import announced
from sandbox.cli.flags import Parser, one_of, path, path_text
from sandbox.experiment.config import Config, choices, is_path
from sandbox.experiment.file import Experiment, load_experiment
from sandbox.experiment.names import config_title
from sandbox.experiment.spec import folder_of, study_spec, tasks_of

_WIDEST = 80  # characters of names that stand behind a flag; more stand in its help
DEVICES = ("auto", "cpu", "cuda", "mps")
ANY = "python -m sandbox train CONFIG"


@dataclass(frozen=True)
class Order:
    """What a command line asks for."""

    experiment: Experiment
    name: str
    arm: str
    task: str | None
    config: Config
    root: Path
    device: Device
    overwrite: bool
    evaluate: bool
    smoke: bool


def _parser(command: str | None, description: str = "", epilog: str = "") -> Parser:
    """The flags that every study has; ``command`` is None for the command that takes any config."""
    prog = f"python -m sandbox.{command}" if command else ANY
    config = "[--config NAME] " if command else ""
    usage = f"{prog} {config}[--coord | --no-coord | --arm NAME] [--seed N] [--smoke] [settings]"
    parser = Parser(prog, description, usage=usage, epilog=epilog, add_help=False)
    which = parser.add_argument_group("which run")
    if command:
        default = study_spec(command).default
        which.add_argument("--config", default=default, required=default is None, metavar="NAME",
                           help=f"experiment: name, or path of a YAML file (default: {default}; "
                                "`python -m sandbox` lists them)")  # fmt: skip
    else:
        which.add_argument("config", metavar="CONFIG",
                           help="name, or path of a YAML file (`python -m sandbox` lists them)")  # fmt: skip
    arms = which.add_mutually_exclusive_group()
    arms.add_argument("--arm", metavar="NAME", help="arm of the experiment (default: coord)")
    arms.add_argument("--coord", dest="arm", action="store_const", const="coord", help="the same as --arm coord")
    arms.add_argument("--no-coord", dest="arm", action="store_const", const="conv", help="the same as --arm conv")
    which.add_argument("--name", help="names the run's folder in place of the experiment; for runs with other settings")
    which.add_argument("--root", type=path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
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
    given = {**experiment.values, **next(iter(experiment.tasks.values()), {})}
    defaults = {name: field.default for name, field in model.model_fields.items()}
    defaults |= {**model.following(given), **experiment.values}
    for name, field in model.model_fields.items():
        if name in leave_out:
            continue
        flag, target = f"--{name.replace('_', '-')}", f"field_{name}"
        default = defaults[name]
        shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
        shown = one_line(shown, 100) if isinstance(shown, str) else in_words(shown)
        text, names = f"{field.description} (default: {shown})", ",".join(choices(field))
        long = len(names) > _WIDEST
        text = (f"{text}: {names.replace(',', ', ')}" if long else text).replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(flag, dest=target, action=argparse.BooleanOptionalAction,
                               default=argparse.SUPPRESS, help=text)  # fmt: skip
        else:
            metavar = "NAME" if long else f"{{{names}}}" if names else "N" if field.annotation is int else "X"
            group.add_argument(flag, dest=target, default=argparse.SUPPRESS, metavar=metavar, help=text,
                               type=path_text if is_path(field) else str)  # fmt: skip


def overrides_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that a command line names: field -> text, or a truth value."""
    return {key.removeprefix("field_"): value for key, value in vars(options).items() if key.startswith("field_")}


def _description(experiment: Experiment, tasks: Mapping[str, str]) -> str:
    arms = "\n".join(
        f"  {arm:20} {', '.join(f'{key}: {_shown(value)}' for key, value in values.items()) or 'no change'}"
        for arm, values in experiment.arms.items()
    )
    return (
        f"Trains one arm of {experiment.path}, scores it and renders what it learned. Arms:\n{arms}\n"
        "Stopped (Ctrl-C) or killed, the same command continues; complete, it prints the results."
        f"{_all_tasks(tasks)}"
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else in_words(value).lower()


def _all_tasks(tasks: Mapping[str, str]) -> str:
    """A line for each task of a command that has several: each has settings of its own, which its own --help shows."""
    if not tasks:
        return ""
    of = {study: ", ".join(task for task in tasks if tasks[task] == study) for study in tasks.values()}
    field = study_spec(next(iter(of))).config.config_field
    lines = "\n".join(f"  {names:20} {study_spec(study).summary}" for study, names in of.items())
    return f"\nTasks (--{field} NAME --help shows the settings of each):\n{lines}"


def _examples(experiment: Experiment, command: str | None) -> str:
    first = next(iter(experiment.arms))
    arms = {"--coord": "the coordinate arm, to its end", "--no-coord": "the plain arm, same seed and data"}
    if not {"conv", "coord"} <= experiment.arms.keys():
        arms = {f"--arm {first}": "that arm, to its end"}
    lines = {
        "--smoke": "every part once, small",
        **arms,
        f"{next(iter(arms))} --steps 9000 --name longer": "other settings, another folder",
    }
    start = study_spec(experiment.study).command if command else ANY.replace("CONFIG", config_title(experiment.path))
    return "examples:\n" + "\n".join(f"  {start} {flags:36} {text}" for flags, text in lines.items())


def _experiment(command: str | None, tasks: Mapping[str, str], arguments: Sequence[str]) -> Experiment:
    """The experiment of a command line, which decides what --help shows: --config's, else that of `config_field`."""
    if command is None:
        if arguments[0].startswith("-"):
            raise UserError(f"CONFIG comes first: {ANY} {arguments[0]} ...")
        return load_experiment(arguments[0])
    parser, field = _parser(command), study_spec(command).config.config_field
    default = parser.get_default("config")
    parser.set_defaults(config=None, chosen=None)
    if field:
        parser.add_argument(f"--{field}", dest="chosen")
    early, _ = parser.parse_known_args(arguments)
    name, chosen = early.config, early.chosen
    if name is not None and _names_tasks(load_experiment(name)):
        chosen = None  # it is a task of the file
    if chosen is not None and chosen not in tasks:
        raise UserError(f"--{field} is {in_words(chosen)}: allowed are {listed(tasks)}{nearest(chosen, tasks)}")
    if name is None:
        name = f"{command}/{chosen}" if chosen else default
    experiment = load_experiment(name)
    if folder_of(experiment.study) != command:
        right = study_spec(experiment.study).command
        right = right.replace("CONFIG", name) if "CONFIG" in right else f"{right.partition(' --')[0]} --config {name}"
        raise UserError(f"{experiment.path} is a config of the study {experiment.study!r}: {right}")
    fields = study_spec(experiment.study).config.model_fields
    own = experiment.values.get(field, fields[field].default) if field else None
    if chosen and chosen != own:
        raise UserError(
            f"--{field} is {in_words(chosen)}, but {experiment.path} is for {own!r}: leave one of the two out"
        )
    return experiment


def _names_tasks(experiment: Experiment) -> bool:
    """Whether the flag that otherwise chooses a command's file names a task of this one."""
    model = study_spec(experiment.study).config
    return bool(experiment.tasks) and model.task_field == model.config_field


def parse(command: str | None, arguments: Sequence[str] | None = None) -> Order:
    """Reads the command line of a study, or that of one with several tasks: the task decides which study it is.

    Args:
        command: ``gan`` for `python -m sandbox.gan`; None for the command that takes any config.
        arguments: behind the program; None: this process's.

    Raises:
        UserError: an unknown flag, name or key, or a value out of range.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if command is None and (not arguments or arguments[0] in ("-h", "--help")):
        _bare_help(arguments)
    tasks = tasks_of(command) if command else {}
    experiment = _experiment(command, tasks, arguments)
    model = study_spec(experiment.study).config
    parser = _parser(command, _description(experiment, tasks), _examples(experiment, command))
    field = model.config_field
    if field and command and not _names_tasks(experiment):
        parser.add_argument(f"--{field}", dest=f"field_{field}", default=argparse.SUPPRESS, metavar="NAME",
                            help=f"one of {', '.join(tasks)}; chooses the file too, unless --config does")  # fmt: skip
    if experiment.tasks:
        names = one_of(*experiment.tasks, alias=model.task_name)
        parser.add_argument(f"--{model.task_field}", dest="task", type=names, metavar="NAME",
                            help=f"one of {listed(experiment.tasks)} (default: the first)")  # fmt: skip
    leave_out = ["coord", *([field] if field else []), *[model.task_field] * bool(experiment.tasks)]
    add_fields(parser, model, experiment, leave_out)
    parser.add_argument("-h", "--help", action="help", help="this page")
    usual = config_title(experiment.path) == experiment.study.replace(".", "/")
    named = any(word.split("=")[0] == "--config" for word in arguments)
    return _order(experiment, parser.parse(arguments), own_file=named if command else not usual)


def _bare_help(arguments: Sequence[str]) -> None:
    parser = _parser(None, "Trains one arm of any config; CONFIG --help shows the settings of its study.")
    parser.add_argument("-h", "--help", action="help", help="this page")
    parser.parse(arguments)


def _order(experiment: Experiment, options: argparse.Namespace, *, own_file: bool) -> Order:
    """What the parsed flags mean; ``own_file``: the user has named a file, and with it the arms and the folder."""
    overrides = overrides_of(options)
    arm, name = options.arm, options.name
    task = (options.task or next(iter(experiment.tasks))) if experiment.tasks else None
    usual = "coord" if "coord" in experiment.arms else next(iter(experiment.arms))
    typed = experiment.resolve(usual if arm is None else arm, overrides, smoke=options.smoke, task=task)
    placed = typed.placed(typed.model_dump(include=set(overrides)), experiment.arms)
    if arm is None and not own_file:
        arm, name = placed[0], placed[1] if name is None else name
    arm = usual if arm is None else arm
    config = experiment.resolve(arm, overrides, smoke=options.smoke, task=task)
    name = own_name(experiment, overrides) if name is None else name
    return Order(experiment, name, arm, task, config, options.root, options.device,
                 options.overwrite, options.evaluate, options.smoke)  # fmt: skip


def own_name(experiment: Experiment, overrides: Mapping[str, Any]) -> str:
    """The folder's name: the file's, or that of the task which the command line names in place of the file's."""
    spec = study_spec(experiment.study)
    field = spec.config.task_field
    if field not in overrides:
        return experiment.name
    arm = next(iter(experiment.arms))
    own, wanted = experiment.resolve(arm), experiment.resolve(arm, {field: overrides[field]})
    if own.task_folder == wanted.task_folder:
        return experiment.name
    ours = config_title(experiment.path) == spec.default
    return wanted.task_folder if ours else f"{experiment.name}_{wanted.task_folder}"


def main(command: str | None = None, arguments: Sequence[str] | None = None) -> Path:
    """Trains the run that the command line names, or says that it is complete.

    Args:
        command: ``gan`` for `python -m sandbox.gan`; None for the command that takes any config.
        arguments: the command line without the program; None: this process's.

    Returns:
        The run's folder; the run is complete.

    Raises:
        UserError, RunError, Interrupted, OSError: see `sandbox.base.guard.guarded`, which turns each into a line.
    """
    if announced().size == 1:
        return _train(command, arguments)
    from sandbox.train.processes import joined

    with joined():
        return _train(command, arguments)


def _train(command: str | None, arguments: Sequence[str] | None) -> Path:
    order = parse(command, arguments)
    study = order.experiment.study
    from sandbox.experiment.run import Run, run_folder
    from sandbox.train import processes
    from sandbox.train.device import resolve_device, resolve_precision
    from sandbox.train.make import make

    study_spec(study).load()  # seconds: before anything is written, so that a Ctrl-C here leaves nothing behind
    processes.check_batch(order.config.batch)
    device = resolve_device(order.device)
    precision = resolve_precision(order.config.precision, device)
    folder = run_folder(order.root, study, order.name, order.arm, order.config.seed, smoke=order.smoke, task=order.task)
    run = Run(folder, study, order.name, order.arm, precision, order.config, order.task)
    make(run, device, overwrite=order.overwrite, evaluate=order.evaluate)
    return folder
