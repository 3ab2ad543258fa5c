"""The grid of a comparison and its command line."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import WORKSHOP

from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse
from sandbox.cli.train import parse as parse_run
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.launcher.plan import Cell
from sandbox.launcher.worker import read_order, write_order

GAN = "gan/sort_of_clevr"
TOY = str(WORKSHOP / "toy.yaml")
TASKS = """
study: toy
experiment: {steps: 11, batch: 8, precision: 32}
arms: {conv: {coord: false}, coord: {coord: true}, slow: {coord: true, rate: 0.001}}
compare: [conv, coord]
tasks: {hot: {rate: 0.5}, cold: {rate: 0.25}}
seeds: [4, 7]
"""


@pytest.fixture
def several(tmp_path: Path) -> str:
    """A YAML with tasks."""
    path = tmp_path / "several.yaml"
    path.write_text(TASKS)
    return str(path)


def test_the_default_is_what_the_file_compares() -> None:
    plan = parse([GAN])
    assert plan.arms == ("conv", "coord")
    assert plan.seeds == tuple(range(8))
    assert plan.tasks == (None,)
    assert plan.folder == Path("runs/gan/sort_of_clevr")
    assert plan.place(Cell(None, "coord", 3)) == Path("runs/gan/sort_of_clevr/coord/seed-3")


def test_pairs_are_complete_early() -> None:
    cells = parse([GAN, "--seeds", "2", "--arms", "conv", "coord"]).cells()
    assert [(cell.arm, cell.seed) for cell in cells] == [("conv", 0), ("coord", 0), ("conv", 1), ("coord", 1)]


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", (4,)), ("2", (4, 7)), ("4", (4, 7, 0, 1)), ("9,3", (9, 3)), ("0,4", (0, 4)), ("5,", (5,))]
)
def test_seeds_are_a_number_or_a_list(several: str, text: str, seeds: tuple[int, ...]) -> None:
    assert parse([several, "--seeds", text]).seeds == seeds


def test_every_arm_runs_every_task(several: str) -> None:
    plan = parse([several])
    assert len(plan.cells()) == 2 * 2 * 2
    assert plan.place(Cell("cold", "conv", 7)) == Path("runs/toy/several/cold/conv/seed-7")
    assert [plan.config(Cell(task, "conv", 4)).model_dump()["rate"] for task in ("hot", "cold")] == [0.5, 0.25]
    # the arm has the last word
    assert parse([several, "--arms", "slow"]).config(Cell("hot", "slow", 4)).model_dump()["rate"] == 0.001
    assert parse([several, "--tasks", "cold"]).tasks == ("cold",)


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (["rl/mspacman"], "runs/rl/mspacman"),
        (["rl/mspacman", "--env", "ms_pacman"], "runs/rl/mspacman"),
        (["rl/mspacman", "--env", "space_invaders"], "runs/rl/space_invaders"),
        (["rl/mspacman", "--env", "ALE/Pong-v5", "--report-only"], "runs/rl/pong"),
        (["rl/mspacman", "--env", "pong", "--budget", "macs"], "runs/rl/pong_macs"),
        (["rl/mspacman", "--env", "pong", "--name", "mine"], "runs/rl/mine"),
        (["{copy}", "--env", "pong"], "runs/rl/my_games_pong"),
    ],
)
def test_another_game_has_a_folder_of_its_own(tmp_path: Path, given: list[str], folder: str) -> None:
    copy = tmp_path / "my_games.yaml"
    copy.write_text("study: rl\nexperiment: {env: Breakout}")
    plan = parse([word.format(copy=copy) for word in given])
    assert plan.folder == Path(folder)
    cell = plan.cells()[0]
    env = given[1:3]  # --env and the game
    run = parse_run("rl", ["--config", str(plan.experiment.path), f"--arm={cell.arm}", "--seed=0", *env])
    assert run.config == plan.config(cell)


def test_a_game_s_folder_is_the_one_its_own_door_chooses() -> None:
    order = parse_run("rl", ["--env", "pong", "--coord", "--seed", "0"])
    plan = parse(["rl/mspacman", "--env", "pong"])
    assert order.name == plan.name
    assert order.config == plan.config(Cell(None, "coord", 0))


def test_a_game_of_several_is_a_task() -> None:
    with pytest.raises(UserError, match=r"--env: .*nine_games.yaml has several: --tasks names some, MsPacman, "):
        parse(["rl/nine_games", "--env", "pong"])
    with pytest.raises(UserError, match="did you mean 'Breakout'"):
        parse(["rl/mspacman", "--env", "brekout"])


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    arm=st.sampled_from(["conv", "coord"]),
    steps=st.integers(1, 10**6),
    rate=st.floats(1e-9, 1),
    compiled=st.booleans(),
    smoke=st.booleans(),
)
def test_a_run_is_the_one_the_study_s_own_command_makes(
    seed: int, arm: str, steps: int, rate: float, compiled: bool, smoke: bool
) -> None:
    flags = [f"--steps={steps}", f"--rate={rate}", f"--{'' if compiled else 'no-'}compile", *["--smoke"] * smoke]
    plan = parse([TOY, f"--seeds={seed},{seed // 2 + 1 if seed != seed // 2 + 1 else 0}", *flags])
    order = parse_run("toy", [f"--arm={arm}", f"--seed={seed}", *flags])
    assert order.config == plan.config(Cell(None, arm, seed))
    assert (order.name, order.task, order.smoke) == (plan.name, None, smoke)


def test_a_task_s_run_is_the_command_s_too(several: str) -> None:
    order = parse_run("toy", [f"--config={several}", "--task=cold", "--seed=7"])
    assert order.config == parse([several]).config(Cell("cold", "coord", 7))


@settings(deadline=None)
@given(rate=st.floats(1e-9, 1), law=st.text(max_size=20), steps=st.integers(1, 10**9))
def test_what_a_run_is_handed_is_what_was_resolved(
    tmp_path_factory: pytest.TempPathFactory, rate: float, law: str, steps: int
) -> None:
    plan = parse([TOY, "--root", str(tmp_path_factory.mktemp("orders")), f"--rate={rate}", f"--steps={steps}"])
    plan = replace(plan, overrides={**plan.overrides, "law": law})
    cell = Cell(None, "coord", 0)
    handed = read_order(write_order(plan, cell).file)
    assert study_spec("toy").config.model_validate(handed["config"]) == plan.config(cell)
    assert (handed["folder"], handed["arm"], handed["task"]) == (plan.place(cell).resolve().as_uri(), "coord", None)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"folder": "x"}'])
def test_a_damaged_order_is_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "order.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"order\.json"):
        read_order(file)


def test_gpus_are_asked_of_ray() -> None:
    with pytest.raises(UserError, match="--gpus goes with --ray"):
        parse([GAN, "--jobs", "2", "--gpus", "0.5"])
    assert parse([GAN, "--ray", "--gpus", "0.5"]).options.gpus == 0.5


def test_a_budget_of_multiply_adds_has_a_folder_of_its_own() -> None:
    assert parse([GAN, "--budget", "macs"]).name == "sort_of_clevr_macs"
    assert parse([GAN, "--budget", "macs", "--name", "equal"]).name == "equal"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["CONFIG"]),
        ([""], ["a path must not be empty"]),
        (["-"], ["CONFIG comes first"]),
        (["--arms", "conv", "coord", GAN], ["CONFIG comes first"]),
        ([GAN, "--name", ""], ["names a folder"]),
        ([GAN, "--report-only", "--width", "3"], ["--width goes not with --report-only"]),
        (["gan/sort_of_clever"], ["no config", "did you mean 'gan/sort_of_clevr'"]),
        ([GAN, "--arms", "conv", "cord"], ["no arm 'cord'", "did you mean 'coord'"]),
        ([GAN, "--tasks", "x"], ["unknown argument '--tasks'"]),
        ([GAN, "--seeds", "0"], ["--seeds", "from 1 to"]),
        ([GAN, "--seeds", "1,1"], ["twice"]),
        ([GAN, "--seeds", "1,01"], ["twice"]),
        ([GAN, "--seeds", ",".join(map(str, range(10_001)))], ["names 10001 seeds: at most 10000"]),
        ([GAN, "--seeds", "10001"], ["from 1 to 10000"]),
        ([GAN, "--seeds", "9" * 5000], ["--seeds", "from 0 to"]),
        ([GAN, "--arms", *"abc"], ["no arm 'a'"]),
        ([GAN, "--arms", "x" * 5000], ["no arm 'xxx", "it has conv, coord"]),
        ([GAN, "--name", "x" * 100_000], ["has 100000 characters"]),
        ([GAN, "--root", ""], ["--root", "a path must not be empty"]),
        ([GAN, "--data-root="], ["--data-root", "a path must not be empty"]),
        ([GAN, "--fid-weights", "a\0b"], ["--fid-weights", "NUL"]),
        ([GAN, "--seeds", "one"], ["'one' is not a whole number"]),
        ([GAN, "--seed", "3"], ["unknown argument '--seed'", "did you mean '--seeds'"]),
        ([GAN, "--budget", "mac"], ["not one of steps, macs", "did you mean 'macs'"]),
        ([GAN, "--width", "0"], ["--width is '0'", "1 to 512"]),
        ([GAN, "--jobs", "0"], ["--jobs", "from 1"]),
        ([GAN, "--cpus", "-1"], ["--cpus", "above 0"]),
        ([GAN, "--gpus", "many"], ["--gpus", "above 0"]),
        ([GAN, "--name", "../x"], ["names a folder"]),
        ([GAN, "--stepz", "3"], ["did you mean '--steps'"]),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse(arguments)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("compare: [conv, cord]", ["compare names 'cord'", "did you mean 'coord'"]),
        ("compare: conv", ["list of different arms"]),
        ("compare: [conv, conv]", ["list of different arms"]),
        ("compare: []", ["list of different arms"]),
        ("tasks: [a, b]", ["tasks must be a mapping"]),
        ("tasks: {a/b: {}}", ["names a folder"]),
        ("tasks: {comparison: {}}", ["no task can be called 'comparison'"]),
        ("arms: {runs: {}}", ["no arm can be called 'runs'"]),
        ("tasks: {hot: {rat: 1}}", ["unknown key 'rat'", "task hot", "did you mean 'rate'"]),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, line: str, parts: list[str]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"study: toy\nexperiment: {{precision: 32}}\n{line}\n")
    with pytest.raises(UserError) as error:
        parse([str(path)])
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_task_is_asked_for_where_there_are_several(several: str) -> None:
    experiment = load_experiment(several)
    with pytest.raises(UserError, match="several tasks"):
        experiment.resolve("conv")
    with pytest.raises(UserError, match=r"no task 'hott'.*did you mean 'hot'"):
        experiment.resolve("conv", task="hott")
