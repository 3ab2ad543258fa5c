"""`python -m sandbox.video RUN [RUN ...]`: films of trained runs, several side by side."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.video")
