"""`python -m sandbox.gan`: trains one arm of a GAN comparison. The study itself is the package `gan`."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.train", "gan")
