"""`python -m sandbox.compare CONFIG`: every arm x task x seed of one config, then the report."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.compare")
