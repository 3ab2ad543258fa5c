"""`python -m sandbox.rl`: trains one arm of an agent on an Atari game. The study itself is the package `rl`."""

import sys
from importlib import import_module

from sandbox.base.guard import guarded


def _main() -> None:
    arguments = import_module("rl.door").arguments(sys.argv[1:])
    import_module("sandbox.cli.train").main("rl", arguments)


if __name__ == "__main__":
    # Imported inside, so that a Ctrl-C while torch loads is one line as well.
    guarded(_main)
