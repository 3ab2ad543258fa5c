"""What coordinates change in arms other than the reference: made-up scores, in tables and as placeholders."""

from pathlib import Path

import pytest
from scipy import stats

from sandbox.experiment.run import Run
from sandbox.experiment.spec import Margin, Score, study_spec
from sandbox.launcher.plan import Cell
from sandbox.report.comparison import Comparison, Row
from sandbox.report.coordinates import coordinates_table
from sandbox.report.page import conclusions
from sandbox.report.placeholders import fill, tree

pytestmark = pytest.mark.usefixtures("toy")
SCORES = (
    Score("score/error", "higher", "share", primary=True, margin=Margin(0.5, "half is seen")),
    Score("score/border", "higher", "share at the border"),
)
GAIN = (0.3, 0.1, 0.2, 0.4, 0.25, 0.15)


def made(root: Path, arms: dict[str, float | None]) -> Comparison:
    """Each arm has an offset; coordinates add ``GAIN`` of the seed, at the border twice that; None: undefined."""
    rows = []
    for seed, gain in enumerate(GAIN):
        for arm, offset in arms.items():
            coord = arm.endswith("coord")
            config = study_spec("toy").config.model_validate({"seed": seed, "coord": coord})
            run = Run(root / arm / f"seed-{seed}", "toy", "x", arm, "32", config)
            value = None if offset is None else offset + 0.01 * seed + coord * gain
            border = (offset or 0.0) + 0.01 * seed + 2 * coord * gain
            scores = {"score/error": value, "score/border": border}
            rows.append(Row(Cell(None, arm, seed), run.folder, "complete", run, scores, {"seconds": 1.0}, {}, []))
    return Comparison("toy", "x", root, "x", "again", tuple(arms), (None,), tuple(range(len(GAIN))), SCORES, "steps",
                      tuple(rows))  # fmt: skip


def test_an_arm_with_coordinates_is_set_against_the_same_without(tmp_path: Path) -> None:
    c = made(tmp_path, {"zeros": 0.0, "reflect": 1.0, "zeros_coord": 0.0, "reflect_coord": 1.0, "other_coord": 3.0})
    (error,), (border,) = (c.coordinate_contrasts(score) for score in SCORES)
    assert (error.arm, error.score.tag, border.score.tag) == ("reflect_coord", "score/error", "score/border")
    assert list(error.stats.differences.values()) == pytest.approx(GAIN)
    assert list(border.stats.differences.values()) == pytest.approx([2 * gain for gain in GAIN])
    assert error.stats.p_t == pytest.approx(stats.ttest_1samp(GAIN, 0.0).pvalue)


def test_it_is_described_and_the_verdicts_stay(tmp_path: Path) -> None:
    arms = {"conv": 0.0, "coord": 0.0, "wide": 1.0}
    before, after = made(tmp_path, arms), made(tmp_path, arms | {"wide_coord": 1.0})
    (item,) = after.coordinate_contrasts(SCORES[0])
    assert (item.verdict, item.equal) == (None, None)
    assert conclusions(after, after.primary_contrasts())[0] == conclusions(before, before.primary_contrasts())[0]
    table = coordinates_table(after)
    assert table is not None
    assert table.groups[0].rows[0][:3] == ("wide_coord - wide", "described", "+0.23")


@pytest.mark.parametrize(
    "arms",
    [{"conv": 0.0, "coord": 0.0}, {"conv": 0.0, "wide": 1.0, "coord": 0.0}, {"zeros": 0.0, "v": None, "v_coord": None}],
)
def test_no_pair_no_table(tmp_path: Path, arms: dict[str, float | None]) -> None:
    assert coordinates_table(made(tmp_path, arms)) is None


def test_texts_can_name_the_difference(tmp_path: Path) -> None:
    c = made(tmp_path, {"zeros": 0.0, "zeros_coord": 0.0, "reflect": 1.0, "reflect_coord": 1.0})
    text = "{{ reflect_coord.error.coordinates.mean }} {{ reflect_coord.border.coordinates.low | to(2) }}"
    assert fill(text, tree(c, {}), "here") == "+0.23 +0.24"
