"""Contrasts of several arms: made-up scores with a known interaction, read from a file, told in reports and exports."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse
from sandbox.experiment.contrasts import read_contrasts
from sandbox.experiment.run import Run
from sandbox.experiment.spec import Margin, Score, study_spec
from sandbox.launcher.plan import Cell
from sandbox.report.combined import combined, combined_table, formula
from sandbox.report.comparison import Comparison, Row
from sandbox.report.gather import gather
from sandbox.report.page import conclusions, warnings, write_report
from sandbox.report.placeholders import fill, plain, tree
from sandbox.report.sources import export, read_sources
from sandbox.report.tables import contrast_table
from sandbox.report.verdicts import Lost

pytestmark = pytest.mark.usefixtures("toy")
SCORE = Score("score/error", "higher", "share", primary=True, margin=Margin(0.5, "half is seen"))
ARMS = ("conv_flat", "coord_flat", "conv_mean", "coord_mean")
INTERACTION = {"coord_mean": 1.0, "conv_mean": -1.0, "coord_flat": -1.0, "conv_flat": 1.0}
TWO = {"interaction": INTERACTION, "under_mean": {"coord_mean": 1.0, "conv_mean": -1.0}}
NOISE = (0.1, -0.2, 0.05, 0.0, 0.15, -0.1, 0.02, -0.07)


def made(root: Path, gains: dict[str | None, float], seeds: int = 8, **changes: Any) -> Comparison:
    """Each arm has an offset of its own; coordinates add 1, and under the mean the task's gain and noise beside."""
    rows = []
    for task, gain in gains.items():
        for seed in range(seeds):
            for offset, arm in enumerate(ARMS):
                config = study_spec("toy").config.model_validate({"seed": seed, "coord": arm.startswith("coord")})
                run = Run(root / f"{task}" / arm / f"seed-{seed}", "toy", "x", arm, "32", config, task)
                value = 0.3 * offset + seed + (arm == "coord_mean") * (gain + NOISE[seed])
                value += arm.startswith("coord") * (1 + 0.01 * seed**2) + arm.endswith("mean") * 0.02 * seed
                costs = {"steps": 3, "images": 12, "seconds": 1.0, "steps_per_second": 3.0}
                rows.append(Row(Cell(task, arm, seed), run.folder, "complete", run, {SCORE.tag: value}, costs, {}, []))
    return replace(
        Comparison("toy", "x", root, "x", "again", ARMS, tuple(gains), tuple(range(seeds)), (SCORE,), "steps",
                   tuple(rows), combinations=TWO), **changes,
    )  # fmt: skip


def test_an_interaction_is_the_difference_of_two_differences(tmp_path: Path) -> None:
    c = made(tmp_path, {"a": 2.0, "b": 0.0})
    a, b, simple, _ = combined(c)
    assert (a.arm, a.task, b.task, simple.arm) == ("interaction", "a", "b", "under_mean")
    assert list(a.stats.differences.values()) == pytest.approx([2.0 + e for e in NOISE])
    expected = stats.ttest_1samp([2.0 + e for e in NOISE], 0.0)
    assert a.stats.p_t == pytest.approx(expected.pvalue)
    assert a.stats.p_sign_flip == 2 / 2**8
    assert (a.p_adjusted, a.compared) == (pytest.approx(2 * expected.pvalue), 2)  # Holm over the two tasks
    assert a.verdict is not None
    assert b.verdict is not None
    assert (a.verdict.outcome, b.verdict.outcome) == ("better", "equivalent")  # inside half a point
    assert simple.verdict is simple.equal is None
    assert simple.stats.mean == pytest.approx(1 + 2.0 + np.mean(NOISE) + 0.3 + 0.01 * np.mean(np.arange(8) ** 2))


def test_the_simple_differences_then_conclude_nothing(tmp_path: Path) -> None:
    c = made(tmp_path, {None: 2.0})
    assert [item.verdict for item in c.contrasts()] == [None] * 3
    alone = replace(c, combinations={})
    assert [item.verdict and item.verdict.outcome for item in alone.contrasts()] == ["better"] * 3
    table = contrast_table(c, c.contrasts())
    assert table is not None
    assert [row[1] for row in table.groups[0].rows] == ["described"] * 3
    (told,) = conclusions(c, c.contrasts())
    assert told["outcome"] == "Better"
    assert "interaction (coord_mean - conv_mean - coord_flat + conv_flat), share, higher is better" in told["text"]


def test_of_two_arms_it_is_their_difference(tmp_path: Path) -> None:
    c = made(tmp_path, {None: 0.4})
    c = replace(c, arms=ARMS[:2], combinations={})
    (plain_one,) = c.contrasts()
    (item,) = combined(replace(c, combinations={"it": {"coord_flat": 1.0, "conv_flat": -1.0}}))
    assert item.stats == plain_one.stats


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3).filter(bool), min_size=4, max_size=4))
def test_any_weights_are_a_weighted_sum(weights: list[int]) -> None:
    given_weights = dict(zip(ARMS, map(float, weights), strict=True))
    c = made(Path("nowhere"), {None: 1.0}, seeds=3, combinations={"it": given_weights})
    (item,) = combined(c)
    for seed, value in item.stats.differences.items():
        assert value == pytest.approx(sum(w * float(c.values(SCORE.tag, arm)[seed] or 0)
                                          for arm, w in given_weights.items()))  # fmt: skip


def test_a_seed_that_one_arm_lacks_is_left_out(tmp_path: Path) -> None:
    c = made(tmp_path, {None: 2.0})
    rows = [replace(row, scores={SCORE.tag: None}) if row.cell == Cell(None, "conv_mean", 3) else row for row in c.rows]
    item = combined(replace(c, rows=tuple(rows)))[0]
    assert 3 not in item.stats.differences
    assert len(item.stats.differences) == 7
    assert item.equal is not None
    assert item.equal.barred == "conv_mean, seed 3: has no value"
    assert item.lost == Lost(reference=(3,), of_several=True)  # whose weight is negative


@pytest.mark.parametrize(("gain", "outcome"), [(2.0, "positive"), (-2.0, "negative")])
def test_where_arms_of_both_signs_lack_a_seed_neither_direction_is_claimed(
    tmp_path: Path, gain: float, outcome: str
) -> None:
    c = made(tmp_path, {None: gain})
    gone = (Cell(None, "conv_mean", 3), Cell(None, "conv_flat", 3))
    rows = [replace(row, scores={SCORE.tag: None}) if row.cell in gone else row for row in c.rows]
    item = combined(replace(c, rows=tuple(rows)))[0]
    assert item.lost == Lost((3,), (3,), of_several=True)
    assert item.verdict is not None
    assert item.verdict.outcome == "inconclusive"
    assert item.verdict.reason == f"an arm with a {outcome} weight has no value at seed 3, where another arm has one"


def test_sums_have_no_bounds_but_their_arms_have(tmp_path: Path) -> None:
    """Two arms at .5 add up to the best score there is for one: that says nothing."""
    c = made(tmp_path, {None: 0.0})
    flat = [replace(row, scores={SCORE.tag: 0.5 + 0.001 * row.cell.seed}) for row in c.rows]
    c = replace(c, rows=tuple(flat), scores=(replace(SCORE, best=1.0, margin=Margin(0.1, "x")),))
    item = combined(c)[0]
    assert item.equal is not None
    assert item.equal.barred == ""
    near = tuple(replace(row, scores={SCORE.tag: 0.95}) for row in c.rows)
    item = combined(replace(c, rows=near))[0]
    assert item.equal is not None
    assert item.equal.barred == "all arms come within the margin of 1, the best there is"


def test_open_contrasts_say_what_it_takes_and_odd_spreads_are_warned_of(tmp_path: Path) -> None:
    c = made(tmp_path, {None: 0.3})
    c = replace(c, scores=(replace(SCORE, margin=Margin(0.05, "x")),), combinations={
        "interaction": INTERACTION})  # fmt: skip
    spread = {0: 4.0, 1: -4.0}
    rows = [replace(row, scores={SCORE.tag: float(row.scores[SCORE.tag] or 0) + spread.get(row.cell.seed, 0.0)})
            if row.cell.arm == "coord_mean" else row for row in c.rows]  # fmt: skip
    (told,) = conclusions(replace(c, rows=tuple(rows)), [])
    assert "pairs would not settle it (80% power)" in told["text"]
    one = [replace(row, scores={SCORE.tag: 90.0}) if row.cell == Cell(None, "coord_mean", 2) else row for row in c.rows]
    assert any(line.startswith("interaction: the differences are lopsided") for line in
               warnings(replace(c, rows=tuple(one)), []))  # fmt: skip


def test_tables_pages_and_exports_tell_it(tmp_path: Path) -> None:
    c = made(tmp_path / "runs", {"a": 2.0, "b": 0.0})
    table = combined_table(c)
    assert table is not None
    assert [row[:2] for row in table.groups[0].rows] == [("interaction", "better"), ("under_mean", "described")]
    assert "interaction: coord_mean - conv_mean - coord_flat + conv_flat, seed by seed." in table.note
    assert "Holm's correction is over 2 tasks." in table.note
    assert all(len(row) == len(table.head) for group in table.groups for row in group.rows)
    report = write_report(c)
    for page in (report, report.with_suffix(".md")):
        assert "Contrasts of arms: share" in page.read_text()
    figures = tree(c, {})
    text = fill("{{ a.contrasts.interaction.mean | to(2) }} {{ a.contrasts.interaction.verdict }}", figures, "here")
    assert text == "+1.99 better"
    folder = export(c, tmp_path / "out", {})
    sources, again, _ = read_sources(folder)
    assert sources.contrasts == again.combinations == TWO
    assert plain(tree(again, {}))["b"]["contrasts"] == sources.figures["b"]["contrasts"]
    assert sources.conclusions == conclusions(c, c.contrasts())


def test_a_formula_is_written_as_one_reads_it() -> None:
    assert formula(INTERACTION) == "coord_mean - conv_mean - coord_flat + conv_flat"
    assert formula({"a": -1.0, "b": 0.5, "c": 0.5}) == "-a + 0.5 b + 0.5 c"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], "contrasts must be a mapping"),
        ({"it": {"a": 1}}, "must give two arms or more"),
        ({"it": {"a": 1, "bb": -1}}, "contrast it names 'bb', but the arms are a, b"),
        ({"it": {"a": 1, "b": 1}}, "add up to 2, not to 0"),
        ({"it": {"a": 1, "b": "x"}}, "the weight of b is 'x'"),
        ({"it": {"a": 0.01, "b": -0.01}}, "the positive weights add up to 0.01: at least 1 is needed"),
        ({"it": {"a": True, "b": -1}}, "the weight of a is True"),
        ({"it": {"a": 1, "b": float("nan")}}, "the weight of b"),
        ({"a/b": {"a": 1, "b": -1}}, "names a folder"),
    ],
)
def test_what_is_no_contrast_is_one_line(value: Any, said: str) -> None:
    with pytest.raises(UserError, match="contrast") as caught:
        read_contrasts(Path("x.yaml"), value, {"a": {}, "b": {}})
    assert said in str(caught.value)
    assert str(caught.value).count("x.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_s_contrasts_are_read() -> None:
    assert read_contrasts(Path("x"), {"it": {"a": 2, "b": -2}}, {"a": {}, "b": {}}) == {"it": {"a": 2.0, "b": -2.0}}


def test_the_first_contrast_alone_may_conclude(tmp_path: Path) -> None:
    """With --arms that leave it out the arms are compared as in any file; others would conclude what they describe."""
    arms = "".join(f"  {arm}: {{coord: {str(arm.startswith('coord')).lower()}}}\n" for arm in ARMS)
    contrasts = f"  interaction: {INTERACTION}\n  under_mean: {TWO['under_mean']}\n".replace("'", "")
    file = tmp_path / "it.yaml"
    file.write_text(f"study: toy\nexperiment: {{}}\narms:\n{arms}compare: [{', '.join(ARMS)}]\ncontrasts:\n{contrasts}")

    def kept(*arms: str) -> list[str]:
        return list(gather(parse([str(file), "--root", str(tmp_path), "--arms", *arms]), {}, "x").combinations)

    assert kept(*ARMS) == ["interaction", "under_mean"]
    assert kept("conv_mean", "coord_mean") == []
