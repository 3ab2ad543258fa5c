"""A comparison with any file of one of its runs, or of its own, damaged: its report, and going on."""

import csv
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import FILES, FOLDERS, SHAPES, Answer, commanded, marked, other
from shop import WORKSHOP, Said

from sandbox.base.reading import Unreadable
from sandbox.cli.compare import main
from sandbox.data.pictures import NoPicture, read_picture
from sandbox.report import gallery, page
from sandbox.report.comparison import Comparison

RUN = "coord/seed-0"  # of the first seed: its pictures and films are those of the report
OTHERS = {"seed": "coord/seed-1", "arm": "conv/seed-0"}
JSON = ("environment.json", "result.json")
READ = ("config.yaml", "metrics.jsonl", "samples/step-00000011.png", "samples/interpolation.gif",
        "samples/training.gif", *JSON)  # fmt: skip
OWN = ("comparison/runs/coord/seed-1.json", "comparison/experiment.yaml", "comparison/budget")


def _cases() -> list[tuple[str, str]]:
    found = [
        (f"{RUN}/{place}", kind)
        for place in READ
        for kind in (*FILES, *(SHAPES if place in JSON else ()), *(f"of another {name}" for name in OTHERS))
    ]
    found += [(f"{RUN}/samples", kind) for kind in FOLDERS] + [(RUN, kind) for kind in FOLDERS]
    return found + [(place, kind) for place in OWN
                    for kind in (*FILES, *(SHAPES if place.endswith("json") else ()))]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What a report says: the page, a row of scores for each run, its curves."""

    page: str
    text: str
    scores: dict[tuple[str, str], dict[str, str]]
    curves: dict[str, list[Any]]


def _told(root: Path, seen: list[Comparison]) -> Report:
    folder = root / "r/toy/toy/comparison"
    rows = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text())))
    curves = {f"{row.cell.arm}/seed-{row.cell.seed}": list(row.curves) for row in seen[-1].rows}
    return Report((folder / "report.html").read_text(), (folder / "report.md").read_text(),
                  {(row["arm"], row["seed"]): row for row in rows}, curves)  # fmt: skip


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Comparison]:
    """What is reported. Nothing is drawn: that takes a second, and shows but the scores and curves that are here."""
    found: list[Comparison] = []
    write = page.write_report
    monkeypatch.setattr(page, "draw", lambda make: None)
    monkeypatch.setattr(gallery, "encode_mp4", lambda frames, fps: b"")
    monkeypatch.setattr(page, "write_report", lambda c: (found.append(c), write(c))[1])
    return found


@pytest.fixture
def copied(compared: tuple[Path, Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: str) -> Path:
    """A comparison of two arms and two seeds in ``r``, below the folder that the command starts in."""
    shutil.copytree(compared[0], tmp_path / "r/toy/toy", ignore=shutil.ignore_patterns(".*lock", "*.html", "*.mp4"))
    (tmp_path / "r/toy/toy/comparison/budget").write_text("steps")  # of an older version
    monkeypatch.chdir(tmp_path)
    return tmp_path / "r/toy/toy"


def _compare(capsys: pytest.CaptureFixture[str], *flags: str) -> Answer:
    return commanded(lambda: main([str(WORKSHOP / "toy.yaml"), "--root", "r", "--seeds", "2", *flags]), capsys)


def _damage(folder: Path, place: str, kind: str) -> Path:
    path = folder / place
    if kind.startswith("of another"):
        name = kind.removeprefix("of another ")
        other(folder / OTHERS[name] / path.relative_to(folder / RUN))(path)
    elif place == RUN or place.endswith("samples"):
        FOLDERS[kind](path)
    else:
        ({**FILES, **SHAPES})[kind](path)
    return path


EXPECTED: list[Report] = []  # of the undamaged comparison, made by the first that needs it


def _expected(root: Path, seen: list[Comparison], capsys: pytest.CaptureFixture[str]) -> Report:
    if not EXPECTED:
        assert _compare(capsys, "--report-only").code == 0
        EXPECTED.append(_told(root, seen))
    return EXPECTED[0]


def _alike(now: str, then: str, path: Path) -> bool:
    """Whether two pages are the same, but for what does not change the pixels of a picture."""
    shown = r"data:image/png;base64,[^\"]*"
    try:
        grey = path.suffix == ".png" and (np.asarray(read_picture(path)) == 128).all()
    except (Unreadable, NoPicture):
        grey = False
    return now == then or bool(grey and re.sub(shown, "", now) == re.sub(shown, "", then))


def _judge(answer: Answer, found: Callable[[], Report], expected: Report, path: Path) -> str:
    """`same`, `said` or `refused`, having checked what each of these promises."""
    relative = path.relative_to(Path.cwd()).as_posix()
    if answer.code:
        (line,) = answer.errors
        assert answer.code in (1, 2)
        assert relative in line or str(path.parent.relative_to(Path.cwd())) in line, line
        return "refused"
    report = found()
    for key, row in expected.scores.items():
        now = report.scores[key]
        assert now == row or (now["state"] != "complete" and "/seed-".join(key) == RUN and not now["score/error"])
    if _alike(report.page, expected.page, path) and report.curves == expected.curves:
        return "same"
    folder = relative if path.name.startswith("seed-") else relative.rpartition("/")[0]
    if report.scores["coord", "0"]["state"] != "complete" and path.name in ("result.json", "seed-0"):
        assert "3 of 4 runs complete" in report.text  # it may well not have been made yet
        return "said"
    said = [
        line
        for line in (*answer.warnings, *report.text.replace("\\", "").splitlines())
        if relative in line or folder in line
    ]
    assert said, f"another report, and nothing said of {relative}: {answer.lines}"
    return "said"


@pytest.mark.parametrize(("place", "kind"), marked(_cases(), 7))
def test_a_report_of_a_damaged_comparison(
    copied: Path, seen: list[Comparison], capsys: pytest.CaptureFixture[str], place: str, kind: str
) -> None:
    root = copied.parents[2]
    expected = _expected(root, seen, capsys)
    path = _damage(copied, place, kind)
    answer = _compare(capsys, "--report-only")
    verdict = _judge(answer, lambda: _told(root, seen), expected, path)
    assert verdict in ("same", "said") or place.endswith("config.yaml"), "only what a run is may stop a report"
