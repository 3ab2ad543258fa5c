"""The arms' newest samples side by side while they train: a first look long before the report."""

import re
from pathlib import Path

import numpy as np

from sandbox.base.files import write_atomically
from sandbox.base.reading import Unreadable
from sandbox.data.pictures import NoPicture, read_picture
from sandbox.film.encode import png
from sandbox.film.grids import side_by_side
from sandbox.launcher.plan import Cell, Plan

ARMS = 6  # side by side that a screen has room for
_GRID = re.compile(r"step-0*(\d+)\.png")


class Preview:
    """``comparison/preview.png``: samples of every arm at one seed and step, renewed as they train.

    Args:
        plan: of the comparison; with more than `ARMS` arms, or with one, there is no such picture.
        cell: a run that is to be made: its task and seed are shown.
    """

    def __init__(self, plan: Plan, cell: Cell) -> None:
        self.path = plan.folder / "comparison" / "preview.png"
        self.step = 0  # of the picture that is there
        wanted = 1 < len(plan.arms) <= ARMS
        self._cells = [cell._replace(arm=arm) for arm in plan.arms] if wanted else []
        self._folders = [plan.place(other) / "samples" for other in self._cells]

    def renew(self) -> bool:
        """Draws it where all arms have samples of a later trained step. Returns whether it is the first of this call.

        What goes wrong is passed over: a picture is damaged, or the disk full, which the runs will say themselves.
        """
        steps = set.intersection(*map(_steps, self._folders)) if self._folders else set()
        newest, first = max(steps, default=0), self.step == 0
        if newest <= self.step:
            return False
        try:
            grids = [np.asarray(read_picture(folder / f"step-{newest:08d}.png"))[None] for folder in self._folders]
            labels = [f"{cell}, step {newest}" for cell in self._cells]
            write_atomically(self.path, png(side_by_side(dict(zip(labels, grids, strict=True)))[0]))
        except (Unreadable, NoPicture, ValueError, OSError):  # ValueError: of several sizes
            return False
        self.step = newest
        return first


def _steps(folder: Path) -> set[int]:
    """The steps that a run has samples of, the untrained network's left out."""
    found = (_GRID.fullmatch(path.name) for path in folder.glob("step-*.png"))
    return {int(match[1]) for match in found if match} - {0}
