"""`python -m sandbox.vision`: trains one arm of a vision task (--task). The studies are in the package `vision`."""

import sys
from importlib import import_module

from sandbox.base.guard import guarded


def _main() -> None:
    arguments = import_module("vision.door").arguments(sys.argv[1:])
    import_module("sandbox.cli.train").main("vision", arguments)


if __name__ == "__main__":
    # Imported inside, so that a Ctrl-C while torch loads is one line as well.
    guarded(_main)
