"""The table of scores on the terminal: no figure is cut or broken, however many arms there are."""

from pathlib import Path

import pytest

from sandbox.cli.compare import _mean, _scores, _table
from sandbox.report.sources import read_sources

RESULTS = Path(__file__).parents[3] / "results"


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("name", ["gan_sort_of_clevr", "vision_segmentation", "vision_detection"])
def test_every_figure_is_shown_whole(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, c, _ = read_sources(RESULTS / name)
    _table(c)
    shown = capsys.readouterr().out
    assert "…" not in shown
    for task in c.tasks:
        for score in c.scores:
            for arm in c.arms:
                assert _mean(c.summary(score, arm, task)) in shown


@pytest.mark.parametrize(("name", "width", "head"), [
    ("gan_sort_of_clevr", 80, "score"), ("gan_sort_of_clevr", 40, "arm"), ("vision_segmentation", 80, "arm"),
    ("vision_segmentation", 500, "score"),
])  # fmt: skip
def test_arms_are_columns_where_they_fit_and_rows_where_not(
    name: str, width: int, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, c, _ = read_sources(RESULTS / name)
    tables = [*_scores(c, None)]
    assert {str(table.columns[0].header) for table in tables} == {head}
    if head == "arm":
        assert sum(len(table.columns) - 1 for table in tables) == len(c.scores)
    else:
        assert len(tables) == 1
