"""`python -m sandbox.gan`: trains one arm of a GAN comparison. The study itself is the package `gan`."""

from importlib import import_module

from sandbox.base.guard import guarded

if __name__ == "__main__":
    # Imported inside, so that a Ctrl-C while torch loads is one line as well.
    guarded(lambda: import_module("sandbox.cli.train").main("gan"))
