"""The table on screen while a comparison's runs are made: who is where, how fast, how long still.

Progress is read from the run folders, so runs on other machines show too.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sandbox.launcher.plan import Cell

Stage = Literal["waiting", "running", "scoring", "complete", "failed"]
_TAIL = 4096  # bytes: the last lines of metrics.jsonl
_PACE = 30.0  # seconds between two reports into a log file
_COLUMNS = 6  # arms that a terminal has room for


@dataclass
class Progress:
    """How far one run is.

    Attributes:
        folder: the run's.
        goal: images (agent steps) at its end.
        stage: what happens to it now.
        done: images so far.
    """

    folder: Path
    goal: float
    stage: Stage = "waiting"
    done: float = 0.0
    _first: tuple[float, float] | None = field(default=None, repr=False)
    _begun: tuple[float, float] | None = field(default=None, repr=False)
    _seconds: float = field(default=0.0, repr=False)

    def begin(self) -> None:
        """It has started."""
        if self.stage == "waiting":
            self.stage = "running"
            self._begun = time.monotonic(), min(last_point(self.folder), self.goal)  # it may go on from a checkpoint

    def end(self, failed: bool) -> None:
        """It has ended."""
        self._seconds = self.elapsed
        self.stage, self.done = ("failed", self.done) if failed else ("complete", self.goal)

    @property
    def elapsed(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self._begun[0] if self._begun else 0.0

    @property
    def cost(self) -> float | None:
        """Seconds an image of the whole run, its start and its scores among them; None where none was made here."""
        if self.stage != "complete" or self._begun is None or self._begun[1] >= self.goal:
            return None
        return self._seconds / (self.goal - self._begun[1])

    def left(self, cost: float) -> float:
        """Seconds to its end, where an image of a whole run costs ``cost``."""
        start = self._begun[1] if self._begun else 0.0
        return max(0.0, cost * (self.goal - start) - self.elapsed)

    def look(self) -> None:
        """Reads the newest point of its curves."""
        if self.stage not in ("running", "scoring"):
            return
        self.done = min(last_point(self.folder), self.goal)
        if self.done and self._first is None:
            self._first = time.monotonic(), self.done
        self.stage = "scoring" if self.done >= self.goal else "running"

    @property
    def rate(self) -> float:
        """Images a second since it was first seen; 0 where that is not known yet."""
        if self._first is None or self.done <= self._first[1]:
            return 0.0
        return (self.done - self._first[1]) / (time.monotonic() - self._first[0])

    def __str__(self) -> str:
        if self.stage != "running":
            return self.stage
        if not self.rate:
            return f"{self.done / self.goal:4.0%}"
        return f"{self.done / self.goal:4.0%} {self.rate:6.0f}/s {clock((self.goal - self.done) / self.rate)}"


def last_point(folder: Path) -> float:
    """Images at the newest whole point of ``metrics.jsonl``; 0 where there is none."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            whole = file.read().rpartition(b"\n")[0]
        return float(json.loads(whole.rpartition(b"\n")[2])["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Screen:
    """Shows the runs: in a terminal a table that moves, in a log file a line now and then.

    Args:
        title: above the table.
        progress: every run of the grid.
        arms: the columns.
    """

    def __init__(self, title: str, progress: Mapping[Cell, Progress], arms: Sequence[str]) -> None:
        self._title, self._progress, self._arms = title, progress, arms
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="ellipsis")
        self._moving = self._console.is_terminal
        self._last = time.monotonic()

    def show(self) -> None:
        """Looks at the runs and shows them."""
        for progress in self._progress.values():
            progress.look()
        if self._moving:
            self._live.update(self._table(), refresh=True)
        elif time.monotonic() - self._last > _PACE:
            now = [f"{cell}: {one}" for cell, one in self._progress.items() if one.stage in ("running", "scoring")]
            self.tell(f"{self.summary()}; {'; '.join(now)}")

    def tell(self, line: str) -> None:
        """A line that stays."""
        self._last = time.monotonic()
        if self._moving:
            self._console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def summary(self) -> str:
        """``3 of 16 runs complete, 1 failed, about 41:10 left``."""
        stages = [one.stage for one in self._progress.values()]
        parts = [f"{stages.count('complete')} of {len(stages)} runs complete"]
        parts += [f"{stages.count('failed')} failed"] * ("failed" in stages)
        left = self._left()
        return ", ".join(parts + ([f"about {clock(left)} left"] if left else []))

    def _left(self) -> float | None:
        """Seconds: by what runs have taken from their start to their end, or, before one ended, by what trains now."""
        busy = [one for one in self._progress.values() if one.stage in ("running", "scoring")]
        costs = [cost for one in self._progress.values() if (cost := one.cost) is not None]
        rates = [one.rate for one in busy if one.rate]
        if not busy or not (costs or rates):
            return None
        cost = sum(costs) / len(costs) if costs else len(rates) / sum(rates)
        now = sum(one.left(cost) if costs else cost * (one.goal - one.done) for one in busy)
        return (now + sum(cost * one.goal for one in self._progress.values() if one.stage == "waiting")) / len(busy)

    def _table(self) -> Table:
        caption = f"{self.summary()}; rates in images (agent steps) a second"
        table = Table(title=Text(self._title), caption=caption, title_justify="left", caption_justify="left")
        if len(self._arms) > _COLUMNS:
            return self._list(table)
        for name in ("run", *self._arms):
            table.add_column(Text(name))
        for task, seed in dict.fromkeys((cell.task, cell.seed) for cell in self._progress):
            label = f"seed {seed}" if task is None else f"{task}, seed {seed}"
            table.add_row(Text(label), *(str(self._progress[Cell(task, arm, seed)]) for arm in self._arms))
        return table

    def _list(self, table: Table) -> Table:
        """What is at work, a row each: a sweep has hundreds of arms."""
        for name in ("run", "progress"):
            table.add_column(Text(name))
        for cell, one in self._progress.items():
            if one.stage in ("running", "scoring"):
                table.add_row(Text(str(cell)), str(one))
        return table

    def __enter__(self) -> Self:
        if self._moving:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._moving:
            self._live.stop()
