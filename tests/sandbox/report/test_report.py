"""What a report says agrees with numbers worked out here, and it says so in one file that needs nothing else."""

import csv
import io
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from sandbox.base.files import write_json
from sandbox.experiment.run import Run, run_folder, save_result
from sandbox.experiment.spec import Captions, Score, study_spec
from sandbox.film.encode import encode_gif
from sandbox.report.comparison import Cell, Comparison
from sandbox.report.gather import read_row
from sandbox.report.page import plots, write_report
from sandbox.report.texts import interval_text, number
from sandbox.train.tracking import checksum

SCORES = (Score("score/error", "lower", "error", primary=True, curve="preview/error"), Score("score/b", "higher", "b"))
CONV = [0.50, 0.52, 0.47, 0.55, 0.51, 0.49, 0.53, 0.50]
COORD = [0.41, 0.46, 0.39, 0.44, 0.43, 0.42, 0.40, 0.45]
VOID = {"meta", "link", "img", "source", "br", "hr"}
Values = dict[str, list[float | None]]
pytestmark = pytest.mark.usefixtures("toy")


def write_run(folder: Path, cell: Cell, value: float | None, film: bool) -> None:
    config = study_spec("toy").config.model_validate({"seed": cell.seed, "coord": cell.arm != "conv"})
    run = Run(folder, "toy", "made_up", cell.arm, "32", config, cell.task)
    run.open()
    environment = {
        "commit": "abc",
        "python": "3.11",
        "packages": {"torch": "2.0"},
        "processor": f"P{cell.seed // 4}",
        "accelerator": None,
    }
    write_json(folder / "environment.json", environment)
    points = [{"images": 100.0 * i, "preview/error": 1.0 / (i + 1), "loss/toy": 0.5} for i in range(4)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(point)}\n" for point in points))
    Image.new("RGB", (8, 8), "red").save(folder / "samples/step-00000004.png")
    if value is None:
        return
    if film:
        grey = np.broadcast_to(np.arange(0, 250, 50, np.uint8)[:, None, None, None], (5, 8, 8, 3)).copy()
        (folder / "samples/interpolation.gif").write_bytes(encode_gif(grey))
    costs = {"seconds": 10.0 + cell.seed, "parameters": {"body": 3 + (cell.arm != "conv"), "head": 5}, "steps": 4,
             "images": 400, "steps_per_second": 0.4}  # fmt: skip
    save_result(run, {"score/error": value, "score/b": 2 * value, "real/error": 0.125}, costs, checksum(folder))


def made(root: Path, values: Values, *, tasks: tuple[str | None, ...] = (None,), film: bool = False,
         error: str | None = None, **settings: Any) -> Comparison:  # fmt: skip
    """Runs with these values of the primary score; None: interrupted."""
    seeds, rows = tuple(range(len(next(iter(values.values()))))), []
    for task in tasks:
        for seed in seeds:
            for arm in values:
                cell = Cell(task, arm, seed)
                folder = run_folder(root, "toy", "made_up", arm, seed, task=task)
                write_run(folder, cell, values[arm][seed], film)
                rows.append(read_row(cell, folder, error if values[arm][seed] is None else None))
    more = {"source": "toy.yaml", "command": "python -m sandbox.compare toy", "budget": "steps", **settings}
    return Comparison("toy", "made_up", root / "toy/made_up", arms=tuple(values), tasks=tasks, seeds=seeds,
                      scores=SCORES, rows=tuple(rows), **more)  # fmt: skip


class Page(HTMLParser):
    """Balance of tags, addresses, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.seen: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster")]
        assert tag != "img" or dict(attrs).get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def report(comparison: Comparison) -> tuple[Page, str]:
    path = write_report(comparison)
    page = Page(path.read_text(encoding="utf-8"))
    assert all(address.startswith("data:") for address in page.addresses)
    assert "script" not in page.seen
    return page, (comparison.folder / "report.md").read_text(encoding="utf-8")


# Numbers


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(-0.0004, "+", "-0.0004"), (0.0004, "", "0.00"), (-0.0004, "", "0.00"), (-3e-7, "+", "0.00"), (0.0, "+", "0.00"),
     (0.5, "+", "+0.50"), (float("nan"), "+", "-"), (None, "", "-")],
)  # fmt: skip
def test_a_difference_keeps_its_sign_while_six_decimals_can_tell_it(value: float | None, sign: str, text: str) -> None:
    assert number(value, 2, sign) == text


def test_an_interval_tells_its_side_of_zero() -> None:
    assert interval_text(0.0001, 0.02, 2, "+") == "[+0.0001, +0.0200]"
    assert interval_text(-1e-8, 2e-7, 1, "+") == "[0.0, 0.0]"


def test_numbers_agree_with_those_worked_out_here(tmp_path: Path) -> None:
    page, markdown = report(made(tmp_path, {"conv": CONV, "coord": COORD}))
    d = np.array(COORD) - np.array(CONV)
    half = stats.t.ppf(0.975, 7) * d.std(ddof=1) / math.sqrt(8)
    numbers = [f"{np.mean(COORD):.3f}", f"{np.std(CONV, ddof=1):.3f}", f"{d.mean():+.3f}",
               f"[{d.mean() - half:+.3f}, {d.mean() + half:+.3f}]", ".00781", f"{d[3]:+.3f}", "0.125"]  # fmt: skip
    assert round(2 / 2**8, 5) == 0.00781, "all seeds fall: the sign-flip p"
    for figure in numbers:
        assert figure in page.text
        assert figure in markdown.replace("\\", "")


def test_the_csv_holds_every_run(tmp_path: Path) -> None:
    comparison = made(tmp_path, {"conv": CONV, "coord": [*COORD[:7], None]})
    report(comparison)
    rows = list(csv.DictReader(io.StringIO((comparison.folder / "scores.csv").read_text())))
    assert len(rows) == 16
    assert [float(row["score/error"]) for row in rows if row["arm"] == "conv"] == CONV
    last = rows[-1]
    assert (last["arm"], last["seed"], last["state"], last["score/error"]) == ("coord", "7", "interrupted", "")
    assert (rows[1]["parameters.body"], rows[1]["seconds"], rows[1]["task"]) == ("4", "10.0", "")


# Words


@pytest.mark.parametrize(
    ("coord", "words"),
    [
        (COORD, "Better : coord does better than conv in error, lower is better: -0."),
        ([1 - value for value in COORD], "Worse : coord does worse than conv in error, lower is better: +0."),
        ([0.52, 0.50, 0.48, 0.53, 0.52, 0.48, 0.54, 0.49], "Inconclusive : coord against conv, error: "),
    ],
)
def test_the_conclusion_comes_first(tmp_path: Path, coord: list[float | None], words: str) -> None:
    page, markdown = report(made(tmp_path, {"conv": CONV, "coord": coord}))
    text = page.text.replace(" :", ":")
    assert text.index(words.replace(" :", ":")) < text.index("Primary score")
    assert f"**{words.split()[0]}**" in markdown.split("##")[0]
    assert "over 8 paired seeds" in text.split("Primary score")[0]


def test_too_few_seeds(tmp_path: Path) -> None:
    page, _ = report(made(tmp_path, {"conv": CONV[:3], "coord": COORD[:3]}))
    assert "3 paired seeds, 6 are needed" in page.text.split("Primary score")[0]


def test_what_is_missing_is_said_first(tmp_path: Path) -> None:
    values: Values = {"conv": CONV[:4], "coord": [0.4, None, 0.4, None]}
    page, markdown = report(made(tmp_path, values, error="RunError: loss/toy is inf <at step 3> | *"))
    for text in (page.text.split("Primary score")[0], markdown.split("##")[0]):
        assert "6 of 8 runs complete, 2 failed" in text
        assert "2 of 4 seeds paired; missing 1, 3" in text
    assert "RunError: loss/toy is inf <at step 3> | *" in page.text
    assert "RunError: loss/toy is inf \\<at step 3\\> \\| \\*" in markdown


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page, markdown = report(made(tmp_path, {"conv": CONV, "coord": COORD}, source=evil, command=f"{evil} &amp;"))
    assert f"{evil} &amp;" in page.text
    assert "<script>alert(1)</script> &amp;" in markdown.splitlines()[-1]  # in a block of code
    assert "\\<script\\>" in markdown


def test_settings_environment_and_costs(tmp_path: Path) -> None:
    page, _ = report(made(tmp_path, {"conv": CONV, "coord": COORD}))
    assert "coord false true coordinate convolutions" in page.text
    assert "differs: P0 (conv, seed 0; coord, seed 0;" in page.text
    assert "torch 2.0" in page.text
    assert "parameters: body 3 4 1.333" in page.text
    assert "python -m sandbox.compare toy" in page.text


# Shapes of a comparison


def test_no_complete_run(tmp_path: Path) -> None:
    page, _ = report(made(tmp_path, {"conv": [None, None], "coord": [None, None]}))
    assert "0 of 4 runs complete: nothing to compare." in page.text
    assert "no seed is complete in both" in page.text


def test_a_score_that_an_arm_does_not_have(tmp_path: Path) -> None:
    comparison = made(tmp_path, {"conv": CONV, "coord": COORD})
    rows = [replace(row, scores={**row.scores, comparison.primary.tag: None}) if row.cell.arm == "coord" else row
            for row in comparison.rows]  # fmt: skip
    page, _ = report(replace(comparison, rows=tuple(rows)))
    assert "coord against conv, error: undefined where both are complete" in page.text


def test_no_run_at_all(tmp_path: Path) -> None:
    cells = [Cell(None, arm, 0) for arm in ("conv", "coord")]
    rows = tuple(read_row(cell, tmp_path / "none") for cell in cells)
    root = tmp_path / "toy/made_up"
    page, _ = report(
        Comparison("toy", "made_up", root, "a", "b", ("conv", "coord"), (None,), (0,), SCORES, "macs", rows)
    )
    assert "No run has begun." in page.text
    assert sorted(path.name for path in (root / "comparison").iterdir()) == ["report.html", "report.md", "scores.csv"]


def test_one_arm(tmp_path: Path) -> None:
    page, _ = report(made(tmp_path, {"conv": CONV}))
    assert "conv is the only arm: error 0." in page.text


def test_one_seed(tmp_path: Path) -> None:
    page, _ = report(made(tmp_path, {"conv": CONV[:1], "coord": COORD[:1]}))
    assert "1 paired seed, 6 are needed" in page.text
    assert "nan" not in page.text


def test_tasks_and_several_arms_are_corrected_for(tmp_path: Path) -> None:
    values: Values = {"conv": CONV[:6], "coord": COORD[:6], "wide": CONV[1:7]}
    page, _ = report(made(tmp_path, values, tasks=("pong", "qbert")))
    conclusion = page.text.split("Primary score")[0]
    assert conclusion.count("against conv") + conclusion.count("than conv") == 5, "four contrasts and the subtitle"
    assert "Holm's correction is over 2 comparisons" in page.text
    d = np.array(COORD[:6]) - np.array(CONV[:6])
    p = float(stats.ttest_1samp(d, 0).pvalue)
    assert (f"{2 * p:.3g}".replace("0.", ".", 1) if 2 * p >= 0.001 else "< .001") in page.text


# Files


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    comparison = made(tmp_path, {"conv": CONV[:2], "coord": COORD[:2]}, film=True)
    contents = []
    for _ in range(2):
        write_report(comparison)
        contents.append({path.name: path.read_bytes() for path in comparison.folder.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"report.html", "report.md", "scores.csv", "scores.png", "scores.svg", "curves.png",
                                "curves.svg", "interpolation.gif", "interpolation.mp4"}  # fmt: skip
    gif = Image.open(io.BytesIO(contents[0]["interpolation.gif"]))
    assert getattr(gif, "n_frames", 0) == 5
    assert gif.width >= 2 * 80


def test_the_x_axis_says_what_the_study_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = made(tmp_path, {"conv": CONV[:1]})
    for counted in ("images seen", "agent steps"):
        monkeypatch.setattr(Comparison, "captions", Captions(counted=counted))
        figure = plots.curves_figure(comparison)
        assert figure is not None
        assert figure.axes[0].get_xlabel() == counted


def test_pictures_say_what_stands_in_for_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = made(tmp_path, {"conv": CONV[:1], "coord": COORD[:1]}, film=True)
    monkeypatch.setattr(study_spec("toy").config, "data_note", "Data: made up.")
    page, _ = report(comparison)
    assert page.text.count("Data: made up") == 3  # two samples, one film
    monkeypatch.undo()
    assert "samples after step 4." not in report(comparison)[0].text


def test_every_task_has_its_samples_and_its_films(tmp_path: Path) -> None:
    comparison = made(tmp_path, {"conv": CONV[:1], "coord": COORD[:1]}, tasks=("near", "far"), film=True)
    page, _ = report(comparison)
    for task in ("near", "far"):
        assert (comparison.folder / f"interpolation-{task}.gif").is_file()
        assert f"{task}, coord, seed 0: samples after step 4" in page.text
        assert f"on the same path if it has the same latents. {task}, seed 0." in page.text
    assert (comparison.folder / "report.html").read_text().count("data:image/gif") == 2


def test_further_films_are_shown_where_every_arm_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comparison, "captions", Captions(films={"further": "What else there is."}))
    comparison = made(tmp_path, {"conv": CONV[:2], "coord": COORD[:2]}, film=True)
    without, _ = report(comparison)  # runs of a time when there was no such film
    assert "What else there is." not in without.text
    grey = np.broadcast_to(np.arange(0, 250, 50, np.uint8)[:, None, None, None], (5, 8, 12, 3)).copy()
    for row in comparison.rows[1:]:
        (row.folder / "samples/further.gif").write_bytes(encode_gif(grey, 8))
    page, markdown = report(comparison)  # of seed 0 one arm's is missing
    assert "What else there is. Seed 1." in page.text
    assert "What else there is. Seed 1." in markdown
    assert "on the same path if it has the same latents. Seed 0." in page.text
    with Image.open(comparison.folder / "further.gif") as gif:
        assert (getattr(gif, "n_frames", 0), gif.info["duration"]) == (5, 120)


def test_a_film_that_is_gone_leaves_no_old_one(tmp_path: Path) -> None:
    comparison = made(tmp_path, {"conv": CONV[:1], "coord": COORD[:1]}, film=True)
    report(comparison)
    (comparison.rows[0].folder / "samples/interpolation.gif").unlink()
    report(comparison)
    assert not (comparison.folder / "interpolation.gif").exists()


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1200, 400])
def test_chromium_shows_it_without_a_complaint_or_a_request(tmp_path: Path, width: int) -> None:
    path = write_report(made(tmp_path, {"conv": CONV, "coord": COORD}, film=True))
    page = browser.screenshot(path.as_uri(), tmp_path, (width, 2000))
    assert page.console == []
    assert page.requests == []
    assert "does better than conv" in page.dom
    assert len(Image.open(io.BytesIO(page.picture.read_bytes())).convert("RGB").getcolors(2**24) or []) > 50
