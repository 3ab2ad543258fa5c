"""What a comparison shows while its runs are made."""

import json
import time
from pathlib import Path

import pytest

from sandbox.launcher.plan import Cell
from sandbox.launcher.screen import Progress, Screen, clock, last_point


def _log(folder: Path, *images: int, torn: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"images": n, "loss/x": 0.5}) + "\n" for n in images)
    (folder / "metrics.jsonl").write_text(lines + torn)
    return folder


def test_the_newest_whole_point_counts(tmp_path: Path) -> None:
    assert last_point(tmp_path) == 0
    assert last_point(_log(tmp_path, 10, 20)) == 20
    assert last_point(_log(tmp_path, 10, 20, torn='{"images": 30, "lo')) == 20
    assert last_point(_log(tmp_path, *range(2000))) == 1999
    assert last_point(_log(tmp_path, torn='{"im')) == 0


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (61.4, "1:01"), (3599.6, "1:00:00"), (7384.0, "2:03:04")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_run_goes_from_waiting_to_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(tmp_path / "run", 100.0)
    progress.look()
    assert str(progress) == "waiting"
    progress.begin()
    _log(progress.folder, 20)
    progress.look()
    assert str(progress).split() == ["20%"]
    now += 4
    _log(progress.folder, 20, 60)
    progress.look()
    assert str(progress).split() == ["60%", "10/s", "0:04"]
    _log(progress.folder, 20, 60, 100)
    progress.look()
    assert str(progress) == "scoring"


def _grid(tmp_path: Path) -> dict[Cell, Progress]:
    cells = [Cell(None, arm, seed) for seed in (0, 1) for arm in ("conv", "coord")]
    grid = {cell: Progress(_log(tmp_path / f"{cell.arm}-{cell.seed}", 40), 100.0) for cell in cells}
    grid[cells[0]].stage, grid[cells[0]].done = "complete", 100.0
    grid[cells[1]].stage = "failed"
    grid[cells[2]].begin()
    return grid


def test_the_time_left_is_reckoned_from_whole_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time: 10 s of start, 40 of training (of 2 images a second), 10 of scores; eight runs: four minutes."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    grid = {Cell(None, "conv", seed): Progress(tmp_path / str(seed), 80.0) for seed in range(8)}
    runs, screen = list(grid.values()), Screen("runs/toy/x", grid, ("conv",))
    said = {}
    for second in range(241):
        now = float(second)
        for pair in range(4):
            age = second - 60 * pair
            for one in runs[2 * pair : 2 * pair + 2]:
                if age == 0:
                    one.begin()
                elif 10 < age <= 50:
                    _log(one.folder, 2 * (age - 10))
                elif age == 60:
                    one.end(failed=False)
        for one in runs:
            one.look()
        said[second] = screen.summary()
    assert said[5] == "0 of 8 runs complete"  # nothing is known yet
    assert said[30].endswith("about 2:20 left")  # 20 s of training, three more pairs of 40
    for second in range(60, 240):
        assert said[second].endswith(f"about {clock(240.0 - second)} left"), second
    assert said[240] == "8 of 8 runs complete"


def test_what_goes_on_from_a_checkpoint_has_less_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    grid = {Cell(None, "conv", seed): Progress(_log(tmp_path / str(seed), 60), 80.0) for seed in range(2)}
    first, second = grid.values()
    first.begin()
    now = 5.0
    first.end(failed=False)
    second.begin()
    assert Screen("runs/toy/x", grid, ("conv",)).summary().endswith("about 0:05 left")


def test_a_terminal_gets_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Screen("runs/toy/x", _grid(tmp_path), ("conv", "coord")) as screen:
        screen.show()
    shown = capsys.readouterr().err
    for word in ("runs/toy/x", "conv", "coord", "seed 0", "seed 1", "complete", "failed", "40%", "waiting",
                 "1 of 4 runs complete, 1 failed"):  # fmt: skip
        assert word in shown


def test_of_many_arms_those_at_work_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    arms = [f"conv_rate-{i}" for i in range(40)]
    grid = {Cell("hot", arm, 0): Progress(tmp_path / arm, 100.0) for arm in arms}
    grid[Cell("hot", arms[7], 0)].begin()
    with Screen("runs/toy/x", grid, arms) as screen:
        screen.show()
    shown = capsys.readouterr().err
    assert "hot, conv_rate-7, seed 0" in shown
    assert "conv_rate-8" not in shown
    assert "0 of 40 runs complete" in shown


def test_a_log_file_gets_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Screen("runs/toy/x", _grid(tmp_path), ("conv", "coord")) as screen:
        for _ in range(100):
            now += 1
            screen.show()
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4
    assert all(line.startswith("1 of 4 runs complete, 1 failed") and "conv, seed 1:" in line for line in lines)


def test_names_are_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Screen("runs/r[/a]", {Cell("t[/b]", "conv", 0): Progress(tmp_path, 1.0)}, ("conv",)) as screen:
        screen.show()
    shown = capsys.readouterr().err
    assert "r[/a]" in shown
    assert "t[/b], seed 0" in shown
