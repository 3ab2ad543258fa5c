"""The comparison as a user runs it: found runs, failed runs, interruptions, reports."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from shop import CHECKOUT, ENVIRONMENT, TOY, WORKSHOP, Said, Workshop, compare, copied, files, outcome, scores_of

from sandbox.base.errors import RunError, UserError
from sandbox.cli.compare import main
from sandbox.cli.compare_parser import parse as parse_plan
from sandbox.launcher.worker import Order

CONFIGS = sorted(f"{p.parent.name}/{p.stem}" for p in (CHECKOUT / "configs").glob("*/*.yaml"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_file_can_be_compared(name: str) -> None:
    """The arms that it names, and all of them: each of their runs takes its settings, and one score decides."""
    plan = parse_plan([name])
    scores = plan.scores()
    assert [score.primary for score in scores] == [True] + [False] * (len(scores) - 1)
    assert replace(plan, arms=tuple(plan.experiment.arms)).scores()[0] == scores[0]


def _workers(root: Path) -> list[int]:
    """Processes of runs below a root."""
    found = subprocess.run(
        ["pgrep", "-f", f"sandbox.launcher.worker .*{root}"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def _wait_for(ready: Callable[[], object], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.05)


def test_every_run_that_was_missing_is_made(compared: tuple[Path, Said]) -> None:
    folder, command = compared
    rows = scores_of(folder)
    assert [(row["arm"], row["seed"], row["state"]) for row in rows] == [
        ("conv", "0", "complete"), ("coord", "0", "complete"), ("conv", "1", "complete"), ("coord", "1", "complete"),
    ]  # fmt: skip
    for row in rows:
        result = json.loads((folder / row["arm"] / f"seed-{row['seed']}" / "result.json").read_text())
        assert float(row["score/error"]) == pytest.approx(result["scores"]["score/error"], rel=1e-12)
    assert "conv, seed 0: complete" not in command.stderr  # it was before
    assert "coord, seed 0: complete" in command.stderr


def test_a_run_that_was_half_done_ends_as_if_never_interrupted(
    compared: tuple[Path, Said], untouched: tuple[dict[str, object], int]
) -> None:
    assert outcome(compared[0] / "coord/seed-0") == untouched[0]


def test_the_screen_says_what_came_out_and_where_it_is(compared: tuple[Path, Said]) -> None:
    folder, command = compared
    assert "coord against conv: inconclusive (2 paired seeds, 6 are needed)" in command.stdout
    assert f"report:      {folder / 'comparison/report.html'}" in command.stdout
    assert f"--logdir {folder}\n" in command.stdout
    assert (folder / "comparison/report.html").is_file()
    assert command.stderr.count(f"renewed as they train: {folder / 'comparison/preview.png'}") == 1
    assert (folder / "comparison/preview.png").is_file()


def test_again_nothing_is_trained_and_the_report_is_the_same(
    compared: tuple[Path, Said], workshop: Workshop, tmp_path: Path
) -> None:
    folder = copied(compared[0], tmp_path)

    def kept() -> dict[str, bytes]:
        return {name: data for name, data in files(folder).items() if "tfevents" not in name and "lock" not in name}

    before = kept()
    for flags in (["--seeds", 2], ["--seeds", 2, "--report-only"], ["--report-only"]):
        command = compare(workshop, folder.parents[1], *flags)
        assert command.wait() == 0, command.stderr
        after = kept()
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert changed <= {"comparison/report.html", "comparison/report.md"}  # they hold the command
    assert not _workers(folder)


def test_one_run_that_fails_does_not_stop_the_others(workshop: Workshop, tmp_path: Path) -> None:
    config = tmp_path / "mixed.yaml"
    arms = "bad: {coord: true, explode_at: 5}\n  coord: {coord: true}"
    config.write_text(f"study: toy\nexperiment: {{steps: 7, batch: 8, precision: 32}}\narms:\n  {arms}\n")
    command = compare(workshop, tmp_path, config=str(config))
    assert command.wait() == 1
    (line,) = [line for line in command.stderr.splitlines() if line.startswith("error:")]
    assert "1 of 2 runs failed" in line
    assert "not finite at step 5" in line
    assert [row["state"] for row in scores_of(tmp_path / "toy/mixed")] == ["interrupted", "complete"]
    assert "not finite at step 5" in (tmp_path / "toy/mixed/comparison/report.html").read_text()
    assert "Traceback" not in command.stderr


def test_where_no_run_could_begin_there_is_a_line_and_no_report(workshop: Workshop, tmp_path: Path) -> None:
    flags = ("--smoke", "--seeds", 1, "--data-root", tmp_path / "nowhere")
    command = compare(workshop, tmp_path, *flags, config="gan/lsun_small")
    assert command.wait() == 2
    assert command.stderr.splitlines()[-1].startswith(
        "error: no run could begin; conv, seed 0: --data-root: there is no"
    )
    assert "inconclusive" not in command.stdout
    assert not list(tmp_path.rglob("report.html"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_stopped_in_the_middle_nothing_goes_on_and_nothing_is_lost(
    workshop: Workshop, tmp_path: Path, number: signal.Signals
) -> None:
    flags = ("--seeds", 1, "--arms", "coord", "--steps", 400, "--checkpoint-every", 5000)
    command = compare(workshop, tmp_path, *flags)
    metrics = tmp_path / "toy/toy/coord/seed-0/metrics.jsonl"
    _wait_for(lambda: metrics.exists() and metrics.stat().st_size > 1000)
    command.kill(number)
    code = command.wait()
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        _wait_for(lambda: not _workers(tmp_path))  # they notice that nobody waits for them any more
    else:
        assert code == 130
        assert "the same command continues" in command.stderr
        assert not _workers(tmp_path)
    saved = [path.name for path in (tmp_path / "toy/toy/coord/seed-0/checkpoints").glob("step-*")]
    assert saved, "the steps since the start are lost"
    again = compare(workshop, tmp_path, *flags)
    assert again.wait() == 0, again.stderr
    log = (tmp_path / "toy/toy/comparison/logs/coord/seed-0.log").read_text()
    assert "interrupted, cpu, 32" in log  # it was continued, not begun anew


def test_two_at_a_time_are_refused(compared: tuple[Path, Said], workshop: Workshop, tmp_path: Path) -> None:
    from filelock import FileLock

    folder = copied(compared[0], tmp_path)
    with FileLock(folder / ".comparison.lock"):
        command = compare(workshop, tmp_path)
        assert command.wait() == 2
        assert compare(workshop, tmp_path, "--report-only").wait() == 0  # what there is, at any time
    assert command.complaints() == [f"error: {folder} is being compared by another process"]


def test_runs_of_another_precision_are_not_paired(compared: tuple[Path, Said], tmp_path: Path, toy: str) -> None:
    config = copied(compared[0], tmp_path) / "coord/seed-1/config.yaml"
    lines = config.read_text().replace("precision: '32'", "precision: bf16", 1).splitlines(keepends=True)
    config.write_text("".join(lines[:-1]))  # without the checksum: changed on purpose
    for flags in (["--report-only"], []):
        with pytest.raises(UserError, match=r"different precision are not compared.*bf16") as error:
            main([TOY, "--seeds", "2", "--root", str(tmp_path), *flags])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rate", "0.25", "--seeds", "2"], r"another configuration \(rate: 0.05 -> 0.25\).*--name"),
        (["--report-only", "--name", "nothing"], "holds no run of conv, coord"),
        (["--report-only", "--seeds", "7,8"], "holds no run of conv, coord"),
        (["--device", "cuda", "--seeds", "3"], "device 'cuda' is not available"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    compared: tuple[Path, Said], tmp_path: Path, toy: str, flags: list[str], message: str
) -> None:
    before = files(copied(compared[0], tmp_path))
    with pytest.raises(UserError, match=message):
        main([TOY, "--root", str(tmp_path), *flags])
    after = files(tmp_path / "toy/toy")
    after.pop(".comparison.lock", None)
    assert after == before
    assert {path.name for path in (tmp_path / "toy").iterdir()} == {"toy"}


def test_a_killed_process_is_named(tmp_path: Path, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Order.begin

    def begin(order: Order, surroundings: dict[str, str]) -> "subprocess.Popen[bytes]":
        process = real(order, surroundings)
        process.kill()
        return process

    monkeypatch.setattr(Order, "begin", begin)
    with pytest.raises(RunError, match=r"1 of 1 runs failed.*killed by SIGKILL"):
        main([TOY, "--root", str(tmp_path), "--seeds", "1", "--arms", "conv"])


def test_help_is_quick_and_lists_every_setting() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "sandbox.compare", "gan/sort_of_clevr", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**ENVIRONMENT, "COLUMNS": "120"})
    assert "--penalty-every" in done.stdout
    assert "--seed " not in done.stdout
    assert "coord_r" in done.stdout
    assert " torch\n" not in done.stderr  # seconds of importing


@pytest.mark.slow
def test_the_runs_say_what_they_had_the_same_of(workshop: Workshop, tmp_path: Path) -> None:
    command = compare(workshop, tmp_path, "--budget", "macs", "--seeds", 1)
    assert command.wait() == 0, command.stderr
    assert "coord: 7 steps" in command.stdout  # 11 * 224 / 352, tests/sandbox/launcher/test_budget.py
    folder = tmp_path / "toy/toy_macs"
    assert "steps: 7\n" in (folder / "coord/seed-0/config.yaml").read_text()
    again = compare(workshop, tmp_path, "--report-only", "--name", "toy_macs")
    assert again.wait() == 0, again.stderr
    assert "equal multiply-adds" in (folder / "comparison/report.md").read_text()
    shutil.rmtree(folder / "comparison/runs")
    assert compare(workshop, tmp_path, "--report-only", "--name", "toy_macs").wait() == 0
    assert "steps not equal" in (folder / "comparison/report.md").read_text()


@pytest.mark.slow
def test_an_edit_of_the_file_meanwhile_does_not_tell_the_arms_apart(workshop: Workshop, tmp_path: Path) -> None:
    config = tmp_path / "edited.yaml"
    config.write_text((WORKSHOP / "toy.yaml").read_text())
    command = compare(workshop, tmp_path, config=str(config))
    handed = tmp_path / "toy/edited/comparison/runs/coord/seed-0.json"
    _wait_for(handed.exists)
    config.write_text(config.read_text().replace("steps: 11", "steps: 5"))
    assert command.wait() == 0, command.stderr
    assert {row["steps"] for row in scores_of(tmp_path / "toy/edited")} == {"11"}


def test_torchrun_is_for_one_run(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="torchrun and srun train one run"):
        main([TOY, "--root", str(tmp_path)])


@pytest.mark.slow
def test_several_runs_at_a_time_need_no_ray_and_end_as_one_after_another(
    workshop: Workshop, compared: tuple[Path, Said], tmp_path: Path
) -> None:
    forbidden = "import sys\nsys.modules['ray'] = None"
    flags = (TOY, "--root", tmp_path, "--seeds", 2, "--jobs", 4)
    command = workshop.module("sandbox.compare", *flags, before=forbidden)
    assert command.wait() == 0, command.stderr
    for arm in ("conv", "coord"):
        place = f"{arm}/seed-1"
        assert outcome(tmp_path / "toy/toy" / place) == outcome(compared[0] / place)


@pytest.mark.slow
def test_ctrl_c_stops_all_that_are_at_work(workshop: Workshop, tmp_path: Path) -> None:
    flags = ("--seeds", 1, "--jobs", 2, "--steps", 100_000, "--checkpoint-every", 100_000)
    command = compare(workshop, tmp_path, *flags)
    curves = [tmp_path / f"toy/toy/{arm}/seed-0/metrics.jsonl" for arm in ("conv", "coord")]
    _wait_for(lambda: all(curve.exists() and curve.stat().st_size > 1000 for curve in curves))
    command.kill(signal.SIGINT)
    assert command.wait() == 130
    assert "stopped with 0 of 2 runs complete" in command.stderr
    assert not _workers(tmp_path)
    for curve in curves:
        assert list((curve.parent / "checkpoints").glob("step-*"))
