"""`python -m sandbox.vision`: trains one arm of a vision task (--task). The studies are in the package `vision`."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.train", "vision")
