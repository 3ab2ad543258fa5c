"""Killed, or on a full disk, at many moments: a damaged run that goes on, the pictures' cache, a comparison."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import FILES, Answer, commanded_apart
from PIL import Image
from shop import ENVIRONMENT, WORKSHOP, Command, Said, Workshop, compare, copied, fault, outcome, wrapped

from sandbox.data.lsun import open_images

pytestmark = pytest.mark.slow
PLACE = Path("toy/toy/coord/seed-0")
KILL = "def new(self, step):\n    if step == 10: os.kill(os.getpid(), signal.SIGKILL)\n    return old(self, step)"
CODES = {"kill": -signal.SIGKILL, "full": 1, "interrupt": 130}


@pytest.mark.parametrize("kind", ["kill", "full"])
@pytest.mark.parametrize("place", ["metrics.jsonl", "checkpoints/step-00000009/state.pt", "environment.json"])
def test_a_damaged_run_that_is_stopped_again_ends_as_if_nothing_had_been(
    workshop: Workshop, untouched: tuple[dict[str, Any], int], tmp_path: Path, place: str, kind: str
) -> None:
    for operation in range(1, 40, 6):
        root = tmp_path / str(operation)
        assert workshop.toy("--root", root, before=wrapped("step", KILL)).wait() == -signal.SIGKILL
        FILES["truncated"](root / PLACE / place)
        stopped = workshop.toy("--root", root, before=fault(operation, kind))
        assert stopped.wait() in (CODES[kind], 0)
        assert sum(line.startswith("error:") for line in stopped.complaints()) == (stopped.wait() == 1)
        again = commanded_apart(workshop.toy("--root", root))
        assert again.code == 0, again.lines
        found = outcome(root / PLACE)
        differs = {key for key in found if found[key] != untouched[0][key]}
        assert differs <= ({"metrics"} if place == "metrics.jsonl" else set())


# ---- the cache


def _cache(workshop: Workshop, data: Path, cache: Path, before: str = "") -> Command:
    return workshop.start(f"""
from pathlib import Path
from sandbox.base.guard import guarded
from sandbox.data import lsun, parts
parts.PART = 8
{before}
guarded(lambda: lsun.open_images(Path({str(data)!r}), "bedroom", 16, cache=Path({str(cache)!r}), processes=1))
""")


@pytest.mark.parametrize("kind", ["kill", "full", "interrupt"])
def test_a_cache_that_is_stopped_anywhere_is_finished_by_the_next(
    workshop: Workshop, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "data").mkdir()
    for k in range(20):
        content = io.BytesIO()
        Image.new("RGB", (20, 20), (10 * k, 255 - 10 * k, 90)).save(content, "PNG")
        (tmp_path / "data" / f"{k:02d}.png").write_bytes(content.getvalue())
    assert _cache(workshop, tmp_path / "data", tmp_path / "whole").wait() == 0
    expected = open_images(tmp_path / "data", "bedroom", 16, cache=tmp_path / "whole")
    operation = 0
    while True:
        operation += 1
        cache = tmp_path / str(operation)
        stopped = _cache(workshop, tmp_path / "data", cache, fault(operation, kind))
        if stopped.wait() == 0:
            break
        # What --data-cache cannot hold is the user's to put right, a disk that fills up is nobody's mistake.
        assert stopped.wait() == CODES[kind] or (kind == "full" and stopped.wait() == 2)
        lines = [line for line in stopped.complaints() if "image/s" not in line and "?image" not in line]
        assert len(lines) == (kind != "kill"), lines
        again = commanded_apart(_cache(workshop, tmp_path / "data", cache))
        assert (again.code, again.lines) == (0, [])
        found = open_images(tmp_path / "data", "bedroom", 16, cache=cache)
        np.testing.assert_array_equal(found.images, expected.images)
        assert not list(cache.rglob("*part*"))
    assert operation > 10


# ---- a comparison


@pytest.fixture
def started(compared: tuple[Path, Said], tmp_path: Path) -> Path:
    copied(compared[0], tmp_path / "r")
    return tmp_path / "r"


@pytest.mark.parametrize("kind", ["full", "kill", "interrupt"])
@pytest.mark.parametrize("operation", [1, 3, 6, 12, 25])
def test_a_comparison_that_is_stopped_while_it_reports_is_reported_by_the_next(
    workshop: Workshop, started: Path, operation: int, kind: str
) -> None:
    scores = (started / "toy/toy/comparison/scores.csv").read_text()
    stopped = compare(workshop, started, "--seeds", 2, before=fault(operation, kind))
    stopped.wait()
    answer = Answer(stopped.wait(), stopped.stdout, stopped.complaints())
    assert answer.code == CODES[kind] or (kind == "full" and answer.code == 2)
    assert len(answer.lines) == (kind != "kill"), answer.lines
    again = compare(workshop, started, "--seeds", 2)
    assert again.wait() == 0, again.stderr
    assert (started / "toy/toy/comparison/scores.csv").read_text() == scores


@pytest.mark.parametrize(("place", "kind"), [
    ("coord/seed-1/result.json", "zeroed"), ("coord/seed-1/checkpoints/step-00000011/state.pt", "truncated"),
    ("comparison/runs/coord/seed-1.json", "pipe"), ("comparison/experiment.yaml", "folder"),
])  # fmt: skip
def test_a_damaged_comparison_goes_on(workshop: Workshop, started: Path, place: str, kind: str) -> None:
    folder = started / "toy/toy"
    scores = (folder / "comparison/scores.csv").read_text()
    if "checkpoints" in place or "runs" in place:
        (folder / "coord/seed-1/result.json").unlink()  # or nobody would look
    FILES[kind](folder / place)
    again = compare(workshop, started, "--seeds", 2)
    assert again.wait() == 0, again.stderr
    now = (folder / "comparison/scores.csv").read_text()
    costs = [line.split(",")[:6] for line in (scores + now).splitlines()]
    assert costs[: len(costs) // 2] == costs[len(costs) // 2 :]


# ---- names that are no text


@pytest.mark.parametrize("root", [b"r\xff", "r\u00fc\u2603".encode()])
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_root_in_any_bytes_is_trained_in_and_compared(tmp_path: Path, root: bytes, locale: dict[str, str]) -> None:
    place = os.fsencode(tmp_path) + b"/" + root
    for module, *flags in (["sandbox", "train"], ["sandbox.compare"], ["sandbox.compare", "--report-only"]):
        words = [*(flags if module == "sandbox" else []), str(WORKSHOP / "toy.yaml"), "--root", place,
                 *(["--seeds", "1", *flags] if module == "sandbox.compare" else [])]  # fmt: skip
        done = subprocess.run([sys.executable, "-m", module, *words], cwd=tmp_path, env={**ENVIRONMENT, **locale},
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    assert os.path.isfile(place + b"/toy/toy/comparison/report.html")
    assert os.path.isfile(place + b"/toy/toy/coord/seed-0/result.json")
