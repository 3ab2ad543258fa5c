"""`python -m sandbox.rl`: trains one arm of an agent on an Atari game. The study itself is the package `rl`."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.train", "rl")
