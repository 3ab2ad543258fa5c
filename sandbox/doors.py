"""The doors: `python -m sandbox.gan` and so on. From the command line to a finished run.

argparse and pydantic rather than a library that does both: a flag and a YAML key go through the same model, so both get
the same one-line complaint with the nearest name.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.config import Config, Experiment, choices, load_experiment, study_config
from sandbox.errors import UserError
from sandbox.flags import Parser, one_of, whole_number
from sandbox.guard import guarded

__all__ = ["DEFAULT_CONFIG", "Order", "Parser", "guarded", "main", "one_of", "parse", "whole_number"]

DEFAULT_CONFIG = {"gan": "gan/sort_of_clevr"}
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Order:
    """What a command line asks for."""

    experiment: Experiment
    name: str
    arm: str
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
    which.add_argument("--config", default=DEFAULT_CONFIG[study], metavar="NAME",
                       help=f"experiment: name, or path of a YAML file (default: {DEFAULT_CONFIG[study]}; "
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


def _add_fields(parser: Parser, model: type[Config], experiment: Experiment) -> None:
    group = parser.add_argument_group("settings", f"each default is that of {experiment.path.name}, for every arm that "
                                      "does not set its own")  # fmt: skip
    for name, field in model.model_fields.items():
        if name == "coord":
            continue  # the arm's
        flag, target = f"--{name.replace('_', '-')}", f"field_{name}"
        default = experiment.values.get(name, field.default)
        shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
        text = f"{field.description} (default: {shown})".replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(flag, dest=target, action=argparse.BooleanOptionalAction,
                               default=argparse.SUPPRESS, help=text)  # fmt: skip
        else:
            names = "{" + ",".join(choices(field)) + "}"
            metavar = names if choices(field) else "N" if field.annotation is int else "X"
            group.add_argument(flag, dest=target, default=argparse.SUPPRESS, metavar=metavar, help=text)


def _description(experiment: Experiment) -> str:
    arms = "; ".join(
        f"{arm} ({', '.join(f'{key}: {str(value).lower()}' for key, value in values.items()) or 'no change'})"
        for arm, values in experiment.arms.items()
    )
    return (
        f"Trains one arm of {experiment.path}, scores it and renders what it learned.\nArms: {arms}.\n"
        "Stopped (Ctrl-C) or killed, the same command continues; complete, it prints the results."
    )


def _examples(study: str) -> str:
    lines = {
        "--smoke": "every part once, small",
        "--coord": "the coordinate arm, to its end",
        "--no-coord": "the plain arm, same seed, data and latents",
        "--coord --steps 9000 --name longer": "other settings, another folder",
    }
    return "examples:\n" + "\n".join(f"  python -m sandbox.{study} {flags:36} {text}" for flags, text in lines.items())


def parse(study: str, arguments: Sequence[str] | None = None) -> Order:
    """Reads a study's command line.

    Raises:
        UserError: an unknown flag, name or key, or a value out of range.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    early, _ = _parser(study).parse_known_args(arguments)  # --config decides which defaults --help shows
    experiment = load_experiment(early.config)
    if experiment.study != study:
        raise UserError(f"{experiment.path} is a config of the study {experiment.study!r}: "
                        f"python -m sandbox.{experiment.study} --config {early.config}")  # fmt: skip
    parser = _parser(study, _description(experiment), _examples(study))
    _add_fields(parser, study_config(study), experiment)
    parser.add_argument("-h", "--help", action="help", help="this page")
    options = parser.parse(arguments)
    overrides = {key.removeprefix("field_"): value for key, value in vars(options).items() if key.startswith("field_")}
    arm = options.arm or ("coord" if "coord" in experiment.arms else next(iter(experiment.arms)))
    config = experiment.resolve(arm, overrides, smoke=options.smoke)
    name = experiment.name if options.name is None else options.name
    return Order(experiment, name, arm, config, options.root, options.device,
                 options.overwrite, options.evaluate, options.smoke)  # fmt: skip


def main(study: str, arguments: Sequence[str] | None = None) -> Path:
    """The door of a study: trains the run that the command line names, or says that it is complete.

    Returns:
        The run's folder; the run is complete.

    Raises:
        UserError, RunError, Interrupted, OSError: see `sandbox.guard.guarded`, which turns each into a line.
    """
    order = parse(study, arguments)
    from sandbox.run import Run, run_folder
    from sandbox.training import build, complete, resolve_device, resolve_precision

    device = resolve_device(order.device)  # type: ignore[arg-type]
    precision = resolve_precision(order.config.precision, device)
    folder = run_folder(order.root, study, order.name, order.arm, order.config.seed, smoke=order.smoke)
    run = Run(folder, study, order.name, order.arm, precision, order.config)
    if order.evaluate and run.state() != "complete":
        raise UserError(f"{folder} is not complete: --evaluate is for finished runs")
    with run.lock():
        state = run.open(overwrite=order.overwrite)
        if state == "complete" and not order.evaluate:
            print(f"{folder} is complete (--overwrite starts anew, --evaluate scores it again)")
        else:
            # Flushed: in a log file these lines must not wait for the end.
            print(f"{folder}: {state}, {device}, {precision}", flush=True)
            study_object = build(run, device)
            print(yaml.safe_dump(study_object.costs(), sort_keys=False).rstrip(), flush=True)
            complete(run, study_object, evaluate=order.evaluate)
        _report(run.folder, run.result())
    return folder


def _report(folder: Path, result: dict[str, Any]) -> None:
    width = max(map(len, result["scores"]), default=0)
    for tag, value in result["scores"].items():
        print(f"  {tag:{width}}  {'undefined' if value is None else f'{value:.4g}'}")
    print(f"  {result['steps']} steps in {result['seconds']:.0f} s, {result['steps_per_second']:.1f} steps/s")
    print(f"pictures:    {folder / 'samples'}\ntensorboard: tensorboard --logdir {folder.parent.parent}")
