"""Who may be called equivalent: fresh seeds, runs that learned something, a score that can tell the arms apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.experiment.run import Run
from sandbox.experiment.spec import Margin, Score, StudySpec, no_better_than, study_spec
from sandbox.launcher.plan import Cell
from sandbox.report import comparison as module
from sandbox.report.comparison import Comparison, Row
from sandbox.report.page import conclusions, warnings
from sandbox.report.tables import contrast_table, primary_table
from sandbox.report.texts import NOTHING
from sandbox.report.verdicts import pairs_needed

pytestmark = pytest.mark.usefixtures("toy")
SCORE = Score("score/error", "higher", "share", primary=True, margin=Margin(0.1, "a tenth is seen", fresh_from=2))
CONV = [0.5, 0.52, 0.51, 0.49, 0.5, 0.51, 0.5, 0.49, 0.52, 0.5]
ALIKE = [0.51, 0.51, 0.5, 0.5, 0.49, 0.52, 0.5, 0.5, 0.51, 0.49]


def made(
    root: Path, arms: dict[str, list[float | None]], score: Score = SCORE, errors: tuple[int, ...] = ()
) -> Comparison:
    rows = []
    for arm, values in arms.items():
        for seed, value in enumerate(values):
            config = study_spec("toy").config.model_validate({"seed": seed, "coord": arm != "conv"})
            run = Run(root / arm / f"seed-{seed}", "toy", "x", arm, "32", config)
            error = "killed by SIGKILL" if seed in errors and arm != "conv" else None
            rows.append(Row(Cell(None, arm, seed), run.folder, "complete", run, {score.tag: value, "score/other": 0.1},
                            {"seconds": 1800.0}, {}, [], error))  # fmt: skip
    seeds = tuple(range(len(next(iter(arms.values())))))
    return Comparison("toy", "x", root, "x", "again", tuple(arms), (None,), seeds, (score,), "steps", tuple(rows))


def said(c: Comparison) -> str:
    return " ".join(item["text"] for item in conclusions(c, c.contrasts()))


def test_fresh_runs_within_the_margin_are_equivalent(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV, "coord": ALIKE})
    (item,) = c.contrasts()
    assert item.verdict is not None
    assert item.verdict.outcome == "equivalent"
    assert item.equal is not None
    assert (item.equal.pairs, len(item.stats.differences)) == (8, 10)
    assert "coord is equivalent to conv in share" in said(c)
    table = contrast_table(c, [item])
    assert table is not None
    assert "equivalence p" in table.head
    assert "0.1, a tenth is seen; it was set after runs of seeds below 2 were seen." in table.note


def test_seeds_seen_before_the_margin_claim_nothing(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV[:7], "coord": ALIKE[:7]})
    (item,) = c.contrasts()
    assert item.verdict is not None
    assert item.verdict.outcome == "inconclusive"
    told = said(c)
    assert "Equivalence is not claimed: the margin was set after runs of seeds below 2 were seen" in told
    assert "of later ones 5 are paired, 6 are needed" in told
    assert "about 6 pairs settle it for a margin of 0.1 (80% power): 1 more, about 1 hours" in told
    fresh = replace(SCORE, margin=Margin(0.1, "a tenth is seen"))
    (item,) = made(tmp_path, {"conv": CONV[:7], "coord": ALIKE[:7]}, fresh).contrasts()
    assert item.verdict is not None
    assert item.verdict.outcome == "equivalent"


def spec_with(**changes: Any) -> Callable[[str], StudySpec[Any]]:
    spec = replace(study_spec("toy"), **changes)
    return lambda name: spec


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"errors": (5,)}, "coord, seed 5: failed (killed by SIGKILL)"),
        ({"values": [*ALIKE[:9], None]}, "coord, seed 9: has no value"),
        ({"failed": no_better_than("score/other", 0.2, "chance level")}, "conv, seed 0: other 0.1, chance level"),
        ({"best": 0.52}, "both arms come within the margin of 0.52, the best there is"),
        ({"worst": 0.47}, "both arms come within the margin of 0.47, the worst there is"),
    ],
)
def test_failed_runs_and_ceilings_claim_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], why: str
) -> None:
    if "failed" in how:
        monkeypatch.setattr(module, "study_spec", spec_with(failed=how["failed"]))
    score = replace(SCORE, best=how.get("best"), worst=how.get("worst"))
    c = made(tmp_path, {"conv": CONV, "coord": how.get("values", ALIKE)}, score, how.get("errors", ()))
    (item,) = c.contrasts()
    assert item.equal is not None
    assert item.equal.barred == why
    assert item.verdict is not None
    assert item.verdict.outcome == "inconclusive"
    assert f"Equivalence is not claimed: {why}." in said(c)


def test_no_margin_no_claim(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV, "coord": ALIKE}, replace(SCORE, margin=None))
    (item,) = c.contrasts()
    assert item.equal is None
    assert item.verdict is not None
    assert item.verdict.outcome == "inconclusive"


def test_each_family_is_corrected_by_itself(tmp_path: Path) -> None:
    arms = {"conv": CONV, "coord": ALIKE, "wide": ALIKE[::-1], "radius": ALIKE}
    items = {item.arm: item for item in made(tmp_path, arms).contrasts()}
    assert {arm: item.compared for arm, item in items.items()} == {"coord": 1, "wide": 2, "radius": 2}
    assert items["coord"].equal is not None
    assert items["coord"].equal.p_adjusted == items["coord"].equal.p
    assert items["radius"].equal is not None
    assert items["radius"].equal.p_adjusted > items["radius"].equal.p
    assert items["radius"].equal.claims == 2


def test_a_margin_may_follow_the_configuration(tmp_path: Path) -> None:
    score = replace(SCORE, margin=lambda config: Margin(0.1 * config.steps, "by its steps"))
    c = made(tmp_path, {"conv": CONV, "coord": ALIKE}, score)
    found = c.margin()
    assert found is not None
    assert found.value == pytest.approx(0.1 * study_spec("toy").config().steps)


def test_one_seed_far_out_is_warned_of(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV, "coord": [*ALIKE[:9], 0.05]})
    assert any("the differences are lopsided" in line for line in warnings(c, c.contrasts()))
    c = made(tmp_path, {"conv": CONV, "coord": ALIKE})
    assert not any("lopsided" in line for line in warnings(c, c.contrasts()))


def losing(c: Comparison, arm: str, seeds: tuple[int, ...]) -> Comparison:
    """The same with runs that came to no end, whose error nobody remembers."""
    rows = [replace(row, state="interrupted", scores={}) if row.cell.arm == arm and row.cell.seed in seeds else row
            for row in c.rows]  # fmt: skip
    return replace(c, rows=tuple(rows))


def test_a_planned_run_without_an_end_bars_equivalence(tmp_path: Path) -> None:
    c = losing(made(tmp_path, {"conv": CONV, "coord": ALIKE}), "coord", (9,))
    assert "Equivalence is not claimed: coord, seed 9: no complete run." in said(c)
    assert "pairs settle it" not in said(c)


@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_so_does_one_of_a_seed_that_is_not_fresh(tmp_path: Path, shift: float) -> None:
    """Whether a difference is shown or none."""
    c = losing(made(tmp_path, {"conv": CONV, "coord": [value + shift for value in CONV]}), "coord", (1,))
    (item,) = c.contrasts()
    assert item.equal is not None
    assert item.equal.barred == "coord, seed 1: no complete run"
    assert item.verdict is not None
    assert item.verdict.outcome == "inconclusive"


def test_where_pairs_are_as_many_as_would_settle_it_no_number_is_told(tmp_path: Path) -> None:
    apart = [x + 0.027 for x in (0.05, -0.05, 0.03, -0.03, 0.025, -0.025, 0.02, -0.02)]
    assert pairs_needed(float(np.std(apart, ddof=1)), 0.05) == 7
    score = replace(SCORE, margin=Margin(0.05, "a bit"))
    c = made(tmp_path, {"conv": [0.5] * 8, "coord": [0.5 + x for x in apart]}, score)
    (item,) = c.contrasts()
    assert item.verdict is not None
    assert item.verdict.outcome == "inconclusive"
    assert "pairs settle it" not in said(c)
    c = made(tmp_path, {"conv": [0.5] * 6, "coord": [0.5 + x for x in apart[:6]]}, score)
    assert " more" in said(c)


def test_an_arm_that_lost_runs_is_not_better(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV, "coord": [value + 0.3 for value in ALIKE]})
    assert "coord does better than conv" in said(c)
    told = said(losing(c, "coord", (8, 9)))
    assert "the arm has no value at seeds 8, 9, where the reference has one" in told
    assert "coord does better" not in told
    assert "coord does better than conv" in said(losing(losing(c, "coord", (9,)), "conv", (8, 9)))


def test_a_small_difference_that_may_not_be_called_small_says_so(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV, "coord": [value + 0.05 for value in CONV[:9]] + [CONV[9] + 0.049]})
    assert "coord does better than conv" in said(c)
    assert "The interval lies inside the margin" not in said(c)
    told = said(losing(c, "conv", (9,)))
    assert "The interval lies inside the margin of 0.1; that is not claimed: conv, seed 9: no complete run." in told


def test_a_task_without_a_run_has_as_many_columns_and_costs_are_those_of_the_task(tmp_path: Path) -> None:
    c = made(tmp_path, {"conv": CONV, "coord": ALIKE})
    rows = []
    for task, seconds in (("a", 1800.0), ("b", 60.0)):
        rows += [replace(row, cell=row.cell._replace(task=task), costs={"seconds": seconds}) for row in c.rows]
    rows += [
        replace(row, cell=row.cell._replace(task="c"), state="new", run=None, scores={}, costs={}) for row in c.rows
    ]
    c = replace(c, tasks=("a", "b", "c"), rows=tuple(rows))
    assert c.margin("c") is None
    table = contrast_table(c, c.contrasts())
    assert table is not None
    assert [len(row) for group in table.groups for row in group.rows] == [len(table.head)] * 3
    costs = [[row[-1] for row in group.rows] for group in primary_table(c).groups]
    assert costs == [["1,800"] * 2, ["60"] * 2, [NOTHING] * 2]
