"""The doors: `python -m sandbox.gan` and so on. From the command line to a finished run.

argparse and pydantic rather than a library that does both: a flag and a YAML key go through the same model, so both get
the same one-line complaint with the nearest name.
"""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, get_args

import yaml

from sandbox.config import Config, Experiment, load_experiment, study_config
from sandbox.errors import RunError, UserError, nearest

DEFAULT_CONFIG = {"gan": "gan/sort_of_clevr"}
DEVICES = ("auto", "cpu", "cuda", "mps")


class Parser(argparse.ArgumentParser):
    """argparse that reports a mistake in one line, with the nearest name, through `UserError`."""

    def __init__(self, prog: str, description: str, **kwargs: Any) -> None:
        super().__init__(prog, description=description, allow_abbrev=False, formatter_class=_Help, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raises `UserError` instead of printing the usage."""
        raise UserError(message)

    def flags(self) -> list[str]:
        """Every flag there is."""
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parses everything or raises `UserError` naming the first unknown argument and the nearest flag."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            raise UserError(f"unknown argument {flag}{nearest(flag, self.flags())} (--help lists all)")
        return options


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number in ``low..high``."""

    def parse(text: str) -> int:
        if not text.lstrip("-").isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def guarded(main: Callable[[], object]) -> NoReturn:
    """Runs a door and ends the process: 0 done, 1 failed, 2 the user's mistake, 130 interrupted."""
    from sandbox.training import Interrupted

    code = 0
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        code = _complain(str(error), 2)
    except RunError as error:
        code = _complain(str(error), 1)
    except Interrupted as error:
        code = _complain(f"{error}: everything is saved, the same command continues", 130, "interrupted")
    except KeyboardInterrupt:
        code = _complain("the same command continues from the last checkpoint", 130, "interrupted")
    except BrokenPipeError:  # `| head` closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS) and "os error 28" not in str(
            error
        ):
            raise
        where = f" ({error.filename})" if error.filename else ""
        code = _complain(
            f"cannot write: {error.strerror or error}{where}; the last checkpoint is whole, the same command continues",
            1,
        )
    sys.exit(code)


def _complain(message: str, code: int, kind: str = "error") -> int:
    print(f"{kind}: {message}", file=sys.stderr)
    return code


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


def _head(study: str) -> Parser:
    parser = Parser(f"python -m sandbox.{study}", "", add_help=False)
    which = parser.add_argument_group("which run")
    which.add_argument("--config", default=DEFAULT_CONFIG[study], metavar="NAME",
                       help=f"experiment: name, or path of a YAML file (default: {DEFAULT_CONFIG[study]})")  # fmt: skip
    arm = which.add_mutually_exclusive_group()
    arm.add_argument("--arm", help="arm of the experiment (default: coord)")
    arm.add_argument("--coord", dest="arm", action="store_const", const="coord", help="the same as --arm coord")
    arm.add_argument("--no-coord", dest="arm", action="store_const", const="conv", help="the same as --arm conv")
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--root", type=Path, default=Path("runs"), metavar="DIR", help="where run folders go (default: runs)"
    )
    how.add_argument("--name", help="names the run's folder in place of the experiment; for runs with other settings")
    how.add_argument("--device", choices=DEVICES, default="auto", help="default: auto, the best there is")
    how.add_argument("--overwrite", action="store_true", help="start anew where a run stands")
    how.add_argument("--evaluate", action="store_true", help="make a finished run's scores and pictures again")
    how.add_argument("--smoke", action="store_true", help="the same recipe shrunk to seconds, under ROOT/smoke")
    return parser


def _describe(name: str, value: object) -> str:
    return f"{'' if value is None else value}" if not isinstance(value, bool) else ("on" if value else "off")


def _add_fields(parser: Parser, model: type[Config], experiment: Experiment) -> None:
    group = parser.add_argument_group(
        "the experiment", f"each default is that of {experiment.path.name}; the arm may set its own"
    )
    for name, field in model.model_fields.items():
        if name == "coord":
            continue  # the arm's
        flag = f"--{name.replace('_', '-')}"
        value = experiment.values.get(name, field.default)
        text = f"{field.description} (default: {_describe(name, value)})".replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(flag, dest=f"field_{name}", action=argparse.BooleanOptionalAction,
                               default=argparse.SUPPRESS, help=text)  # fmt: skip
        else:
            options = get_args(field.annotation)
            metavar = "{" + ",".join(map(str, options)) + "}" if options else "N" if field.annotation is int else "X"
            group.add_argument(flag, dest=f"field_{name}", default=argparse.SUPPRESS, metavar=metavar, help=text)


def parse(study: str, arguments: Sequence[str] | None = None) -> Order:
    """Reads a study's command line.

    Raises:
        UserError: an unknown flag, name or key, or a value out of range.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    head = _head(study)
    early, _ = head.parse_known_args(arguments)  # --config decides which defaults --help shows
    experiment = load_experiment(early.config)
    if experiment.study != study:
        raise UserError(
            f"{experiment.path} is a config of the study {experiment.study!r}: python -m sandbox.{experiment.study}"
        )
    arms = ", ".join(experiment.arms)
    parser = Parser(head.prog, f"Trains one arm of {experiment.path}, scores it and renders what it learned.\n"
                    f"Arms: {arms}. Interrupted, the same command continues.", parents=[head])  # fmt: skip
    _add_fields(parser, study_config(study), experiment)
    options = parser.parse(arguments)
    overrides = {key.removeprefix("field_"): value for key, value in vars(options).items() if key.startswith("field_")}
    arm = options.arm or ("coord" if "coord" in experiment.arms else next(iter(experiment.arms)))
    config = experiment.resolve(arm, overrides)
    name = options.name or experiment.name
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise UserError(f"--name is {name!r}: letters, digits, '-', '_' and '.' make a folder's name")
    return Order(experiment, name, arm, config.shrunk() if options.smoke else config, options.root, options.device,
                 options.overwrite, options.evaluate, options.smoke)  # fmt: skip


def main(study: str, arguments: Sequence[str] | None = None) -> None:
    """The door of a study: trains the run that the command line names, or says that it is complete."""
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
        state = run.open(overwrite=order.overwrite and not order.evaluate)
        if state == "complete" and not order.evaluate:
            print(f"{folder} is complete (--overwrite starts anew, --evaluate scores it again)")
        else:
            print(f"{folder}: {state}, {device}, {precision}")
            study_object = build(run, device)
            print(yaml.safe_dump(study_object.costs(), sort_keys=False).rstrip())
            complete(run, study_object, evaluate=order.evaluate)
    _report(run.folder, run.result())


def _report(folder: Path, result: dict[str, Any]) -> None:
    width = max(map(len, result["scores"]))
    for tag, value in result["scores"].items():
        print(f"  {tag:{width}}  {'undefined' if value is None else f'{value:.4g}'}")
    print(f"  {result['steps']} steps in {result['seconds']:.0f} s, {result['steps_per_second']:.1f} steps/s")
    print(f"pictures:    {folder / 'samples'}\ntensorboard: tensorboard --logdir {folder.parent.parent}")
