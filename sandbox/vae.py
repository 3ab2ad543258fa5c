"""`python -m sandbox.vae`: trains one arm of a VAE comparison. The study itself is the package `vae`."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.train", "vae")
