"""`python -m sandbox.results`: the pages of docs/results and README's table, from the sources in results/.

python -m sandbox.results                       # writes what has changed; make results
python -m sandbox.results --check               # writes nothing; exit code 2 where a page is not what its sources say
python -m sandbox.results --work-out results/NAME    # figures and verdicts anew, from scores.csv
"""

from collections.abc import Sequence
from pathlib import Path

from sandbox.base.errors import UserError, listed
from sandbox.base.files import write_atomically
from sandbox.cli.flags import Parser, path


def main(arguments: Sequence[str] | None = None) -> list[str]:
    """Builds the pages; returns the paths of those that were not what their sources say.

    Raises:
        UserError, OSError: see `sandbox.base.guard.guarded`.
    """
    parser = Parser("python -m sandbox.results", "Builds docs/results and README's table from results/.")
    parser.add_argument("--root", type=path, default=Path(), metavar="DIR", help="the checkout (default: here)")
    parser.add_argument("--check", action="store_true", help="write nothing, complain where a page is stale")
    parser.add_argument("--work-out", type=path, nargs="+", default=[], metavar="DIR",
                        help="figures and verdicts of comparisons anew, from their scores.csv")  # fmt: skip
    options = parser.parse(arguments)
    from sandbox.report.results import build, stale
    from sandbox.report.sources import work_out

    root: Path = options.root
    for folder in options.work_out:
        work_out(folder)
    pages = build(root)
    changed = stale(root, pages)
    if options.check and changed:
        raise UserError(f"not what the sources in results/ say: {listed(changed)}; make results writes them")
    for name in changed:
        if name in pages:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(root / name, pages[name])
        else:
            (root / name).unlink()  # of a comparison that is gone
        print(f"{'written' if name in pages else 'removed'}: {name}")
    print(f"{len(pages)} pages, {len(changed)} of them changed")
    return changed
