"""`python -m sandbox`: lists the commands and the configs; `python -m sandbox train CONFIG` runs any study."""

import sys
from importlib import import_module
from pathlib import Path

from sandbox.base.errors import UserError, listed, nearest
from sandbox.base.guard import guarded
from sandbox.cli.flags import Parser
from sandbox.experiment.names import config_names, find_config, study_names
from sandbox.experiment.spec import study_spec

_NO_COMMANDS = ("coordconv",)  # modules beside the commands
_OTHERS = {
    "python -m sandbox train CONFIG": "any config, also of studies in packages of your own",
    "python -m sandbox.compare CONFIG": "every arm x task x seed of a config, then the report",
    "python -m sandbox.results": "the pages of docs/results, from the sources in results/",
    "python -m sandbox.video RUN": "films of trained runs as GIF or MP4, several side by side",
}


def _title(name: str) -> str:
    first = find_config(name).read_text(encoding="utf-8", errors="replace").split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def _study(name: str) -> tuple[str, str]:
    """A study's command and its summary; what is wrong with one must not hide the others."""
    try:
        spec = study_spec(name)
        return spec.command, spec.summary
    except UserError as error:
        return name, str(error)


def _list() -> None:
    commands = dict(map(_study, study_names())) | _OTHERS
    width = max(map(len, commands))
    print("Commands (each with --help):")
    for command, summary in commands.items():
        print(f"  {command:{width}}  {summary}")
    print("\nConfigs (python -m sandbox train NAME):")
    for name in config_names():
        print(f"  {name:<26} {_title(name)}")


def main() -> None:
    """Prints a line for each command and each config, or trains what ``train`` names."""
    words = sys.argv[1:]
    if words[:1] == ["train"]:
        import_module("sandbox.cli.train").main(None, words[1:])
        return
    if words and not words[0].startswith("-"):
        known = sorted({path.stem for path in Path(__file__).parent.glob("[a-z]*.py")} - {*_NO_COMMANDS})
        if words[0] in known:
            raise UserError(f"{words[0]} is a command of its own: python -m sandbox.{words[0]}")
        near = nearest(words[0], ["train", *known])
        raise UserError(f"unknown command {words[0]!r}: there are train and {listed(known)}{near}; without any, a list")
    Parser("python -m sandbox", "Lists the commands and the configs.").parse(words)
    _list()


if __name__ == "__main__":
    guarded(main)
