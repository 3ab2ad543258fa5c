"""`python -m sandbox.results`: the pages of docs/results and README's table, from the sources in results/."""

from sandbox.base.guard import command

if __name__ == "__main__":
    command("sandbox.cli.results")
