"""`python -m sandbox.data.stand_in DIR`: writes drawn rooms in LSUN's own format."""

import argparse
from collections.abc import Sequence

from sandbox.cli.flags import Parser, path, whole_number
from sandbox.data.lsun import STAND_IN as CATEGORY
from sandbox.data.stand_in import write_stand_in


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("python -m sandbox.data.stand_in", "Writes drawn rooms in LSUN's own format.")
    parser.add_argument("root", type=path, metavar="DIR", help=f"where {CATEGORY}_train_lmdb goes: a run's --data-root")
    parser.add_argument("--images", type=whole_number(1, 10**7), default=12_000, help="default: 12000")
    parser.add_argument("--size", type=whole_number(16, 512), default=128, help="pixels along an edge (default: 128)")
    return parser.parse(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m sandbox.data.stand_in DIR``."""
    options = _parse(arguments)
    print(write_stand_in(options.root, options.images, options.size))
