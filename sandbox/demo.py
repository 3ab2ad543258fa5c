"""`make demo`: both arms of the default GAN comparison, one seed, then their paths side by side and their scores.

python -m sandbox.demo [any flag of `python -m sandbox.gan`, the arm's excepted]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.files import write_atomically
from sandbox.guard import guarded

ARMS = ("conv", "coord")
SHOWN = ("score/valid", "score/position_divergence", "score/coherence")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not complete yet; says where the pictures are and how to open TensorBoard."""
    from sandbox import doors  # here, so that a Ctrl-C while torch loads is one line as well

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    folders = [doors.main("gan", [*arguments, "--arm", arm]) for arm in ARMS]
    film = _compare(folders)
    _table(folders)
    print(
        f"\nside by side:  {film}\nTensorBoard:   {Path(sys.executable).parent / 'tensorboard'} --logdir {film.parent}"
    )


def _compare(folders: Sequence[Path]) -> Path:
    from sandbox.video import encode_gif, film_of_runs

    output = folders[0].parent.parent / f"{folders[0].name}.gif"
    write_atomically(output, encode_gif(film_of_runs(folders)))
    return output


def _table(folders: Sequence[Path]) -> None:
    from sandbox.run import read_run

    rows = [read_run(folder).result()["scores"] for folder in folders]
    print(f"\n{'':28}" + "".join(f"{arm:>12}" for arm in (*ARMS, "real data")))
    for tag in SHOWN:
        values = [row[tag] for row in rows] + [rows[0].get(tag.replace("score/", "real/"))]
        print(f"{tag.removeprefix('score/'):28}" + "".join(f"{'-' if v is None else f'{v:.3f}':>12}" for v in values))


if __name__ == "__main__":
    guarded(main)
