"""TensorBoard over a comparison's folder: what it serves, and what one sees in a browser."""

import io
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, screenshot
from PIL import Image
from shop import ENVIRONMENT, Said

ARMS = ("conv", "coord")
RUNS = {f"{arm}/seed-{seed}" for arm in ARMS for seed in (0, 1)}


class Board:
    """A TensorBoard that runs."""

    def __init__(self, address: str) -> None:
        self.address = address

    def raw(self, path: str, **query: str) -> bytes:
        with urllib.request.urlopen(f"{self.address}/data/{path}?{urllib.parse.urlencode(query)}") as answer:
            return bytes(answer.read())

    def ask(self, path: str, **query: str) -> Any:
        return json.loads(self.raw(path, **query))

    def post(self, path: str, question: object) -> Any:
        request = urllib.request.Request(f"{self.address}/data/{path}", json.dumps(question).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def board(compared: tuple[Path, Said], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """The command of the README."""
    command = [sys.executable, "-W", "ignore", "-m", "tensorboard.main", "--logdir", str(compared[0]), "--port", "0"]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"(http://localhost:\d+)/", line):
                yield Board(found[1])
                break
        else:
            pytest.fail(said)
        process.kill()


def test_the_curves_of_both_arms_are_there(board: Board, compared: tuple[Path, Said]) -> None:
    assert set(board.ask("runs")) == RUNS | {"comparison", "comparison/conv", "comparison/coord"}
    tags = board.ask("plugin/scalars/tags")
    for run in RUNS:
        assert {"loss/toy", "preview/error", "score/error"} <= tags[run].keys()
        points = board.ask("plugin/scalars/scalars", run=run, tag="loss/toy")
        assert [point[1] for point in points] == [16, 32, 48, 64, 80]


def test_the_comparison_has_mean_and_interval_of_each_arm(board: Board, compared: tuple[Path, Said]) -> None:
    import scipy.stats

    layout = board.ask("plugin/custom_scalars/layout")
    charts = {chart["title"]: chart for category in layout["category"] for chart in category["chart"]}
    (parts,) = charts["error on fixed points, during training"]["margin"]["series"]
    for arm in ARMS:
        lines = [board.ask("plugin/scalars/scalars", run=f"{arm}/seed-{s}", tag="preview/error") for s in (0, 1)]
        y = np.array([[point[2] for point in line] for line in lines])
        half = scipy.stats.t.ppf(0.975, 1) * y.std(0, ddof=1) / np.sqrt(2)
        wanted = {"value": y.mean(0), "lower": y.mean(0) - half, "upper": y.mean(0) + half}
        for part, values in wanted.items():
            points = board.ask("plugin/scalars/scalars", run=f"comparison/{arm}", tag=parts[part])
            np.testing.assert_allclose([point[2] for point in points], values, rtol=1e-5, atol=1e-5)
            assert [point[1] for point in points] == [point[1] for point in lines[0]]


def test_the_gif_that_is_served_plays(board: Board) -> None:
    for run in RUNS:
        (image,) = board.ask("plugin/images/images", run=run, tag="interpolation", sample="0")
        content = board.raw(f"plugin/images/individualImage?{image['query']}&x")
        with Image.open(io.BytesIO(content)) as gif:
            assert gif.format == "GIF"
            assert getattr(gif, "n_frames", 1) > 10


def test_the_hparams_table_ranks_the_runs(board: Board, compared: tuple[Path, Said]) -> None:
    question = {
        "experimentName": "", "allowedStatuses": ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN"],
        "colParams": [{"metric": {"group": "", "tag": "score/error"}, "order": "ORDER_ASC"}],
        "startIndex": 0, "sliceSize": 100,
    }  # fmt: skip
    rows = board.post("plugin/hparams/session_groups", question)["sessionGroups"]
    scores = [value["value"] for row in rows for value in row["metricValues"] if value["name"]["tag"] == "score/error"]
    assert len(scores) == 4
    assert scores == sorted(scores)
    assert {row["hparams"]["arm"] for row in rows} == set(ARMS)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_shows_the_curves_the_custom_scalars_and_the_gif(board: Board, tmp_path: Path) -> None:
    # What a page asks for tells that it draws it; its own text lies in shadow trees, which no dump shows.
    for page, wanted in {
        "timeseries": ["timeseries/tags"],
        "scalars": ["plugin/scalars/scalars_multirun"],
        "custom_scalars": [f"custom_scalars/scalars?run=comparison%2F{arm}" for arm in ARMS],
        "images": [f"images?tag=interpolation&run={arm}%2Fseed-0" for arm in ARMS] + ["individualImage?"],
        "hparams": ["hparams/session_groups"],
    }.items():
        folder = tmp_path / page
        folder.mkdir()
        seen = screenshot(f"{board.address}/?darkMode=false#{page}", folder, (1400, 1400), 12_000)
        missing = [part for part in wanted if not any(part in request for request in seen.requests)]
        assert not missing, f"{page} never asked for {missing}: {seen.requests}"
        assert not [line for line in seen.console if "Uncaught" in line]
        assert np.asarray(Image.open(seen.picture).convert("L")).std() > 5
        if page == "timeseries":
            assert all(run in seen.dom for run in RUNS)
