"""`python -m sandbox.gan`: trains one arm of a GAN comparison. The study itself is the package `gan`."""

from sandbox.doors import guarded, main

if __name__ == "__main__":
    guarded(lambda: main("gan"))
