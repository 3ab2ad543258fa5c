"""Sweeps: which runs a grid means, how they are made and reported."""

import csv
import math
import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from shop import Workshop

from sandbox.base.errors import UserError
from sandbox.cli.compare import main
from sandbox.cli.compare_parser import parse
from sandbox.experiment.file import Experiment, load_experiment
from sandbox.experiment.sweep import expand, swept
from sandbox.launcher.plan import Plan
from sandbox.report.comparison import Comparison
from sandbox.report.gather import gather
from sandbox.report.sweep_report import complete_rows, runs_table, scatter, spread_table

GRID = """
study: toy
experiment: {steps: 11, batch: 8, precision: 32}
tasks: {hot: {}, cold: {batch: 4}}
seeds: [4, 7]
sweep:
  conv: {rate: [0.01, 0.1], steps: [5]}
  coord: {rate: [0.02], batch: [8, 16]}
"""


@pytest.fixture
def grid(tmp_path: Path, toy: str) -> str:
    """A YAML with a grid."""
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return str(path)


def test_every_combination_is_an_arm_named_by_what_varies(grid: str) -> None:
    experiment = expand(load_experiment(grid), None, {})
    assert experiment.arms == {
        "conv_rate-0.01": {"coord": False, "rate": 0.01, "steps": 5},
        "conv_rate-0.1": {"coord": False, "rate": 0.1, "steps": 5},
        "coord_batch-8": {"coord": True, "rate": 0.02, "batch": 8},
        "coord_batch-16": {"coord": True, "rate": 0.02, "batch": 16},
    }
    assert set(experiment.variants.values()) == {"conv", "coord"}
    assert swept(experiment) == ("rate", "batch")


RATES = st.floats(0.001, 0.9).map(lambda x: round(x, 3))
FIELDS = {"lr": RATES, "l2": RATES | st.just(0), "fs": st.integers(1, 9), "c": st.integers(1, 16)}


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={name: st.lists(of, min_size=1, max_size=3, unique=True) for name, of in FIELDS.items()}
    ).filter(bool)
)
def test_a_grid_has_as_many_arms_as_its_product(values: dict[str, list[float]]) -> None:
    sweep = {"conv": {name: tuple(items) for name, items in values.items()}}
    experiment = Experiment("vision", "x", Path("x"), {}, {"conv": {"coord": False}}, ("conv",), {}, (0,), sweep)
    arms = expand(experiment, None, {}).arms
    assert len(arms) == math.prod(len(items) for items in values.values())
    points = [tuple(arm[name] for name in values) for arm in arms.values()]
    assert sorted(points) == sorted(product(*values.values()))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("[1e-3, 0.01]", ["conv_rate-1e-3", "conv_rate-0.01"]),
        ("[1.0e-05, 1]", ["conv_rate-1e-05", "conv_rate-1"]),
    ],
)
def test_numbers_name_folders(grid: str, values: str, names: list[str]) -> None:
    Path(grid).write_text(GRID.replace("[0.01, 0.1]", values))
    plan = parse([grid, "--sweep", "--arms", "conv"])
    assert list(plan.arms) == names
    assert all(plan.place(cell) for cell in plan.cells())


def test_what_is_no_name_of_a_folder_is_told_apart_by_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "paths.yaml"
    roots = ["a/b", "a-b", "a b", "x" * 300, "x" * 301, "~/x"]
    path.write_text(f"study: gan\nsweep: {{conv: {{data_root: {roots}}}}}")
    plan = parse([str(path), "--sweep"])
    assert len(set(plan.arms)) == len(roots)
    assert {plan.place(cell).parent.name for cell in plan.cells()} == set(plan.arms)


def test_the_file_beside_the_report_means_the_same(grid: str, tmp_path: Path) -> None:
    plan = parse([grid, "--sweep", "--root", str(tmp_path)])
    assert plan.name == "grid_sweep"
    assert plan.seeds == (4,)
    plan.file.parent.mkdir(parents=True)
    plan.file.write_bytes(plan.document())
    again = load_experiment(str(plan.file))
    assert (again.arms, again.tasks, again.seeds) == (plan.experiment.arms, plan.experiment.tasks, (4, 7))
    for cell in plan.cells():
        assert again.resolve(cell.arm, {"seed": cell.seed}, task=cell.task) == plan.config(cell)


MISTAKES = {
    "--sweep --arms cord": "no arm 'cord' in .*did you mean 'coord'",
    "--sweep --rate 0.5": "--rate goes not with --sweep, which gives conv its own values",
    "--sweep --budget macs": "--budget macs goes not with --sweep",
    "--sweep --report-only": "holds no run of",
}


@pytest.mark.parametrize("flags", MISTAKES)
def test_what_cannot_be_swept_is_one_line(grid: str, tmp_path: Path, flags: str) -> None:
    with pytest.raises(UserError, match=MISTAKES[flags]) as refused:
        main([grid, "--root", str(tmp_path), *flags.split()])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("  coord: {rate", "  cord: {rate", "sweep names 'cord', but the arms are conv, coord; did you mean 'coord'"),
        ("[8, 16]", "8", "sweep of coord: batch must be a list of different values, not 8"),
        ("[8, 16]", "[8, 8]", "sweep of coord: batch must be a list of different values"),
        ("[8, 16]", "[8, many]", r"batch in .*grid.yaml \(task \w+, arm coord_batch-many\) is 'many'"),
        ("rate: [0.02]", "rat: [0.02]", "unknown key 'rat' .*did you mean 'rate'"),
        ("[8, 16]", "[8, '8']", "batch must be a list of different values: 8 and '8' are the same"),
        ("[8, 16]", "[8, 8.0]", "batch must be a list of different values: 8 and 8.0 are the same"),
        ("[0.02]", "[1e-2, 0.01]", "rate must be a list of different values: '1e-2' and 0.01 are the same"),
        ("[8, 16]", "[[8], [8]]", r"batch in .*grid.yaml .* is \[8\]: allowed are whole numbers"),
        ("[8, 16]", str(list(range(2, 1003))), "sweep of conv, coord has 1003 combinations: at most 1000 are made"),
        ("rate: [0.02]", "seed: [1, 2]", "sweep of coord: every arm runs on every seed: .*--seeds"),
        ("sweep:", "seeps:", "unknown key 'seeps' in .*did you mean"),
    ],
)
def test_a_wrong_grid_names_its_place(grid: str, old: str, new: str, complaint: str) -> None:
    Path(grid).write_text(GRID.replace(old, new))
    with pytest.raises(UserError, match=complaint):
        parse([grid, "--sweep"])


def test_without_a_grid_there_is_no_sweep(tmp_path: Path, toy: str) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("study: toy\n")
    with pytest.raises(UserError, match=r"none.yaml has no sweep"):
        parse([str(path), "--sweep"])


# ---- a real one


@pytest.fixture(scope="module")
def done(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep of one arm that another arm joined. Its root and what the command printed."""
    root = tmp_path_factory.mktemp("sweep")
    (root / "grid.yaml").write_text(GRID)
    flags = ("sandbox.compare", root / "grid.yaml", "--sweep", "--root", root, "--tasks", "hot")
    first = workshop.module(*flags, "--arms", "conv")
    assert first.wait() == 0, first.stderr
    second = workshop.module(*flags)
    assert second.wait() == 0, second.stderr
    assert "conv" not in second.stderr, "a complete run was made again"
    return root, second.stdout


def read(done: tuple[Path, str], toy: str) -> tuple[Comparison, Plan]:
    plan = parse([str(done[0] / "grid.yaml"), "--sweep", "--root", str(done[0]), "--tasks", "hot"])
    return gather(plan, {}, "command"), plan


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_and_reports_every_run(done: tuple[Path, str], toy: str) -> None:
    root, printed = done
    folder = root / "toy/grid_sweep/comparison"
    with (folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["conv_rate-0.01", "conv_rate-0.1", "coord_batch-8", "coord_batch-16"]
    assert {row["state"] for row in rows} == {"complete"}
    assert {"report.html", "report.md", "sweep.png", "sweep.svg"} <= set(os.listdir(folder))
    page = (folder / "report.html").read_text()
    assert "concludes nothing" in page
    assert "Sweep of conv, coord: 4 combinations, 1 seed" in page
    assert str(folder / "report.html") in printed.replace("\n", "")


@pytest.mark.slow
def test_the_tables_rank_runs_and_spread_arms(done: tuple[Path, str], toy: str) -> None:
    comparison, plan = read(done, toy)
    errors = [row.scores["score/error"] for row in complete_rows(comparison, "hot")]
    assert errors == sorted(errors)  # lower is better
    (group,) = runs_table(comparison, plan.experiment).groups
    assert [cells[:4] for cells in sorted(group.rows)] == [
        ("conv", "0.01", "8", "4"),
        ("conv", "0.1", "8", "4"),
        ("coord", "0.02", "16", "4"),
        ("coord", "0.02", "8", "4"),
    ]
    (group,) = spread_table(comparison, plan.experiment.variants).groups
    for arm, runs, best, *_, worst in group.rows:
        assert runs == "2"
        assert float(best) <= float(worst), arm


@pytest.mark.slow
def test_a_point_for_each_run_and_nothing_for_none(done: tuple[Path, str], toy: str) -> None:
    comparison, plan = read(done, toy)
    figure = scatter(comparison, plan.experiment)
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["parameters", "seconds"]  # the toy has no training score
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert any(labels)
        assert not any("$" in label for label in labels)
        assert sum(len(line.get_xdata()) for line in axes.lines) == 4  # type: ignore[arg-type]
    empty = replace(comparison, rows=())
    assert scatter(empty, plan.experiment) is None
    (group,) = spread_table(empty, plan.experiment.variants).groups
    assert [cells[1:3] for cells in group.rows] == [("0", "-"), ("0", "-")]
