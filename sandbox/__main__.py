"""`python -m sandbox`: lists the doors and the configurations."""

import sys

from sandbox.config import STUDIES, config_names, find_config
from sandbox.doors import Parser, guarded


def _title(name: str) -> str:
    first = find_config(name).read_text(encoding="utf-8").split("\n", 1)[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def main() -> None:
    """Prints a line for each door and each configuration."""
    Parser("python -m sandbox", "Lists the doors and the configurations.").parse(sys.argv[1:])
    print("Doors (each with --help):")
    for study, line in STUDIES.items():
        print(f"  python -m sandbox.{study:<8} {line}")
    print(f"  python -m sandbox.{'video':<8} latent paths of a trained run as GIF or MP4")
    print("\nConfigs (python -m sandbox.STUDY --config NAME):")
    for name in config_names():
        print(f"  {name:<26} {_title(name)}")


if __name__ == "__main__":
    guarded(main)
