"""How a command ends: its exit code and its line, whatever goes wrong and whoever listens."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from endings import exits
from shop import ENVIRONMENT, files, python

from sandbox.base.errors import Interrupted, RunError, UserError, warn
from sandbox.base.guard import resumable


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no such thing"), 2, "error: no such thing"),
        (RunError("not finite"), 1, "error: not finite"),
        (Interrupted("stopped after step 3"), 130, "interrupted: stopped after step 3: everything is saved"),
        (KeyboardInterrupt(), 130, "interrupted: what was saved before is whole"),
        (OSError(28, "No space left on device", "/a/b"), 1, "error: No space left on device: /a/b"),
        (OSError("strange"), 1, "error: strange"),
        (PermissionError(13, "Permission denied", "/a/b"), 2, "error: Permission denied: /a/b"),
        (OSError(36, "File name too long", "/a"), 2, "error: File name too long: /a"),
        (UserError("no file a\nb\x1b\udcff"), 2, "error: no file a\\nb\\x1b\\udcff"),
        (
            ModuleNotFoundError("No module named 'x'", name="lacking.part"),
            2,
            "error: the package lacking is not installed",
        ),
        (ModuleNotFoundError("No module named 'x'", name="sandbox.nothing"), 1, "error: unforeseen, a defect"),
        (MemoryError("no more"), 1, "error: out of memory (no more): a smaller --batch"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 1, "error: out of memory (CUDA out of memory. Tried):"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "error: out of memory ("),
    ],
)
def test_every_end_has_its_code_and_its_line(
    signals: None, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def command() -> None:
        raise error

    assert exits(code, command, capsys).startswith(line)


def test_a_working_directory_that_is_gone_is_one_line(
    signals: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert exits(2, lambda: None, capsys).startswith("error: this working directory cannot be used (No such file")


@pytest.mark.parametrize("begun", [False, True])
def test_a_defect_of_ours_keeps_its_traceback_in_a_file(
    signals: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    (run / ("config.yaml" if begun else ".lock")).touch()

    def command() -> None:
        with resumable(run):
            torch.ones(2) + torch.ones(3)

    said = exits(1, command, capsys)
    (log,) = [run / "error.log"] if begun else tmp_path.glob("sandbox-error-*.log")
    assert said.startswith("error: unforeseen, a defect of this program: RuntimeError: The size of tensor a (2) must")
    assert said.endswith(f"{log} holds the traceback")
    assert "torch.ones(2) + torch.ones(3)" in log.read_text()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "what was saved before is whole, the same command goes on from there"),
        (OSError(28, "No space left on device", "/a"), "whole, the same command goes on from there"),
        (OSError(21, "Is a directory", "/a"), "whole; put that right, and the same command goes on"),
        (MemoryError(), "a smaller --batch (of a film: --grid, --frames) needs less; what was saved before is whole"),
    ],
)
def test_that_a_run_goes_on_is_said_where_it_does(
    signals: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, said: str
) -> None:
    def command() -> None:
        with resumable(tmp_path):
            raise error

    assert exits(130 if isinstance(error, KeyboardInterrupt) else 1, command, capsys).endswith(said)


@pytest.mark.parametrize(
    "how", [*(pytest.param(how, marks=pytest.mark.slow) for how in ("<&-", ">&-", "2>&-")), "<&- >&- 2>&-"]
)
def test_a_run_trains_to_its_end_whoever_listens(tmp_path: Path, how: str) -> None:
    code = "from sandbox.cli.train import main; from sandbox.base.guard import guarded; guarded(lambda: main('toy'))"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} --root {shlex.quote(str(tmp_path))} {how}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=120)
    assert done.returncode == 0
    run = tmp_path / "toy/toy/coord/seed-0"
    assert (run / "result.json").is_file()
    # What is printed goes nowhere, and not into a file that took the number of a closed stream.
    for path in run.rglob("*"):
        assert not path.is_file() or (b"step/s" not in path.read_bytes() and b"tensorboard:" not in path.read_bytes())


def test_sigterm_is_a_ctrl_c(signals: None, capsys: pytest.CaptureFixture[str]) -> None:
    said = exits(130, lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(60), capsys)
    assert said.startswith("interrupted: ")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m sandbox; echo $? >&2"
    reader = subprocess.run(["sh", "-c", f"( {command} ) | true"], cwd=tmp_path, capture_output=True, text=True)
    assert reader.stderr in ("141\n", "0\n"), "0 where the pipe took all of it before the reader was gone"


@pytest.mark.parametrize(
    "module",
    [
        "torch",
        "pydantic",
        "lightning_fabric",
        pytest.param("gan.study", marks=pytest.mark.slow),
        "sandbox.experiment.run",
    ],
)
def test_ctrl_c_while_starting_is_one_line(tmp_path: Path, module: str) -> None:
    code = f"""
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
sys.argv = ["gan", "--smoke"]
runpy.run_module("sandbox.gan", run_name="__main__", alter_sys=True)
"""
    done = python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: what was saved before is whole\n"
    assert not files(tmp_path)


def test_a_warning_is_one_line_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    warn("a\nb\x1b[2J: left out")
    assert capsys.readouterr().err == "warning: a\\nb\\x1b[2J: left out\n"
