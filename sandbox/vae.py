"""`python -m sandbox.vae`: trains one arm of a VAE comparison. The study itself is the package `vae`."""

from importlib import import_module

from sandbox.base.guard import guarded

if __name__ == "__main__":
    # Imported inside, so that a Ctrl-C while torch loads is one line as well.
    guarded(lambda: import_module("sandbox.cli.train").main("vae"))
