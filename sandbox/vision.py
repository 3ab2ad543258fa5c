"""`python -m sandbox.vision`: trains one arm of a coordinate task. The study itself is the package `vision`."""

from importlib import import_module

from sandbox.guard import guarded

if __name__ == "__main__":
    # Imported inside, so that a Ctrl-C while torch loads is one line as well.
    guarded(lambda: import_module("sandbox.doors").main("vision"))
