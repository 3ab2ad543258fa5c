"""The same command again: after its end, under other settings, beside itself."""

from pathlib import Path

import pytest
from shop import SmokeRun, Workshop, files, outcome, wrapped

PLACE = Path("toy/toy/coord/seed-0")


def test_a_smoke_run_runs_every_part_and_prints_what_it_cost_and_scored(smoke_run: SmokeRun) -> None:
    there = set(files(smoke_run.folder))
    assert {"config.yaml", "environment.json", "metrics.jsonl", "result.json", "samples/interpolation.gif",
            "samples/training.gif"} < there  # fmt: skip
    assert {f"samples/step-{step:08d}.png" for step in (0, 3, 6, 8)} < there
    assert {path.name for path in (smoke_run.folder / "checkpoints").iterdir()} == {"step-00000006", "step-00000008"}
    for text in (
        "new, cpu, 32",
        "multiply_adds_per_image",
        "score/valid",
        "8 steps in",
        str(smoke_run.folder / "samples"),
    ):
        assert text in smoke_run.stdout
    assert "error" not in smoke_run.stderr
    assert "8/8" in smoke_run.stderr


def test_a_complete_run_says_so_prints_its_results_and_is_not_touched(workshop: Workshop, smoke_run: SmokeRun) -> None:
    command = workshop.module("sandbox.gan", *smoke_run.flags, "--root", smoke_run.root)
    assert (command.wait(), command.stderr) == (0, "")
    first, *rest = command.stdout.splitlines()
    assert first.startswith(f"{smoke_run.folder} is complete (")
    assert rest == smoke_run.stdout.splitlines()[-len(rest) :]
    assert len(rest) > 10


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        ("--steps 9 --ema 0.25", "steps: 8 -> 9; ema: 0.995 -> 0.25"),
        ("--precision bf16", "precision: '32' -> 'bf16'"),
    ],
)
def test_a_changed_command_is_refused_with_the_difference(
    workshop: Workshop, smoke_run: SmokeRun, flags: str, difference: str
) -> None:
    command = workshop.module("sandbox.gan", *smoke_run.flags, "--root", smoke_run.root, *flags.split())
    assert (command.wait(), command.stdout) == (2, "")
    (line,) = command.stderr.splitlines()
    assert line.startswith(f"error: {smoke_run.folder} holds a run of another configuration (")
    assert difference in line
    assert "give this one a --name, or start it anew with" in line
    assert line.endswith("--overwrite")


def test_evaluate_makes_scores_and_pictures_again_and_doubles_no_point(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.toy("--root", tmp_path).wait() == 0
    before = outcome(tmp_path / PLACE)
    (tmp_path / PLACE / "samples" / "interpolation.gif").unlink()
    (tmp_path / PLACE / "result.json").write_text("torn")
    assert workshop.toy("--root", tmp_path, "--evaluate").wait() == 0
    assert outcome(tmp_path / PLACE) == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "interrupt", "terminate", "full"])
def test_an_evaluation_that_is_stopped_loses_nothing(workshop: Workshop, tmp_path: Path, fault: str) -> None:
    assert workshop.toy("--root", tmp_path).wait() == 0
    before = outcome(tmp_path / PLACE)
    operations = 0
    while True:
        operations += 1
        stopped = workshop.toy(
            "--root", tmp_path, "--evaluate", before=f"import faults\nfaults.at_operation({operations}, {fault!r})"
        )
        if stopped.wait() == 0:
            break
        assert stopped.wait() == {"kill": -9, "interrupt": 130, "terminate": 130, "full": 1}[fault]
        assert len(stopped.complaints()) == (fault != "kill")
        assert workshop.toy("--root", tmp_path).wait() == 0
        assert outcome(tmp_path / PLACE) == before
    assert operations > 5


def test_overwrite_starts_anew(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.toy("--root", tmp_path).wait() == 0
    before = outcome(tmp_path / PLACE)
    assert workshop.toy("--root", tmp_path, "--rate", "0.5").wait() == 2
    assert workshop.toy("--root", tmp_path, "--rate", "0.5", "--overwrite").wait() == 0
    assert outcome(tmp_path / PLACE)["weights"] != before["weights"]
    assert workshop.toy("--root", tmp_path, "--overwrite").wait() == 0
    assert outcome(tmp_path / PLACE) == before


def test_overwrite_deletes_nothing_where_the_new_run_cannot_be_built(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.toy("--root", tmp_path).wait() == 0
    before = files(tmp_path / PLACE)
    broken = wrapped("costs", "from sandbox.base.errors import UserError\ndef new(self): raise UserError('no data')")
    again = workshop.toy("--root", tmp_path, "--overwrite", before=broken)
    assert again.wait() == 2
    assert again.complaints() == ["error: no data"]
    assert files(tmp_path / PLACE) == before


def test_an_overwriting_that_is_killed_can_be_repeated(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.toy("--root", tmp_path).wait() == 0
    before = outcome(tmp_path / PLACE)
    for operation in range(2, 30, 5):
        killed = workshop.toy("--root", tmp_path, "--overwrite",
                              before=f"import faults\nfaults.at_operation({operation}, 'kill')")  # fmt: skip
        assert killed.wait() == -9
        assert workshop.toy("--root", tmp_path).wait() == 0, "what a half overwriting left is a run that continues"
        assert outcome(tmp_path / PLACE)["weights"] == before["weights"]


def test_a_second_process_on_the_same_run_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    go, began = tmp_path / "go", tmp_path / "began"
    waits = f"""
import pathlib, time, toy.study
step = toy.study.ToyStudy.step
def slow(self, number):
    pathlib.Path({str(began)!r}).touch()
    while not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.01)
    return step(self, number)
toy.study.ToyStudy.step = slow
"""
    first = workshop.toy("--root", tmp_path, before=waits)
    while not began.exists():
        assert first.is_running()
    for flags in ((), ("--overwrite",)):
        second = workshop.toy("--root", tmp_path, *flags)
        assert (second.wait(), second.stdout) == (2, "")
        assert second.stderr == f"error: {tmp_path / PLACE} is in use by another process\n"
    go.touch()
    assert first.wait() == 0
    assert workshop.toy("--root", tmp_path).wait() == 0
