"""`python -m sandbox`: lists the doors and the configurations."""

import sys

from sandbox.experiment.config import STUDIES
from sandbox.experiment.file import config_names, find_config
from sandbox.cli.flags import Parser
from sandbox.base.guard import guarded

_OTHERS = {
    "compare": "every arm x task x seed of a config, then the report: python -m sandbox.compare gan/sort_of_clevr",
    "video": "latent paths of trained runs as GIF or MP4, several side by side",
}


def _title(name: str) -> str:
    first = find_config(name).read_text(encoding="utf-8", errors="replace").split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def main() -> None:
    """Prints a line for each door and each configuration."""
    Parser("python -m sandbox", "Lists the doors and the configurations.").parse(sys.argv[1:])
    print("Doors (each with --help):")
    for name, line in {**STUDIES, **_OTHERS}.items():
        door, _, task = name.partition(".")
        print(f"      --task {task:<19} {line}" if task else f"  python -m sandbox.{door:<13} {line}")
    print("\nConfigs (python -m sandbox.STUDY --config NAME):")
    for name in config_names():
        print(f"  {name:<26} {_title(name)}")


if __name__ == "__main__":
    guarded(main)
