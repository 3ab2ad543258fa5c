"""Paths that a user gives: ~ is the home folder and nothing is no path, wherever a path can be given."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.base.errors import UserError
from sandbox.base.paths import at_home
from sandbox.cli.compare_parser import parse as parse_comparison
from sandbox.cli.stand_in import _parse as parse_stand_in
from sandbox.cli.train import parse
from sandbox.experiment.config import COMMAND_LINE, Config, choices, is_path, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.names import study_names
from sandbox.experiment.spec import study_spec

MODELS = {name: study_spec(name).config for name in study_names()}
FIELDS = [
    (name, field) for name, model in MODELS.items() for field, item in model.model_fields.items() if is_path(item)
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a config in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("study: gan\nexperiment: {data_root: ~/a, data_cache: b/~}\n")
    return tmp_path


def test_the_settings_that_are_paths() -> None:
    assert {field for _, field in FIELDS} == {
        "annotations",
        "data_root",
        "data_cache",
        "fid_weights",
        "test_root",
        "target",
        "weights",
    }
    for model in MODELS.values():
        texts = [name for name, item in model.model_fields.items() if item.annotation is str and not is_path(item)]
        assert not [name for name in texts if name.endswith(("_root", "_cache", "_folder", "_file", "weights"))]


@pytest.mark.parametrize(("study", "field"), FIELDS)
def test_a_setting_s_home_is_the_user_s(home: Path, study: str, field: str) -> None:
    model = MODELS[study]
    assert choices(model.model_fields[field]) == ()
    others = {"data": "rooms"} if field == "fid_weights" else {}
    assert getattr(validated(model, {field: "~/x", **others}, "a test"), field) == str(home / "x")
    for wrong in ("", "  ", "a\0b", "x" * 5000, "~nobody-of-that-name/x"):
        with pytest.raises(UserError, match=field):
            validated(model, {field: wrong}, "a test", given=True)
    with pytest.raises(UserError, match="it is no UTF-8, which a run's file could not hold") as refused:
        validated(model, {field: "/a/\udcff"}, "a test")
    assert "\\udcff" in str(refused.value)
    default = model().model_dump(mode="json")
    assert validated(model, default, "a run's file").model_dump() == model().model_dump(), "nothing is a default"
    flag = f"--{field.replace('_', '-')}"
    with pytest.raises(UserError, match=f"{flag}: a path must not be empty"):
        parse_comparison(
            [study.replace("vision", "vision/classification") if study == "vision" else _config(study), flag, ""]
        )


def _config(study: str) -> str:
    return {"gan": "gan/sort_of_clevr", "vae": "vae/sort_of_clevr"}.get(study, study.replace(".", "/"))


def test_flags_and_yaml_mean_the_home_folder(home: Path) -> None:
    order = parse(None, ["~/mine.yaml", "--root", "~/runs", "--fid-weights", "~/w.pth", "--data", "rooms"])
    values = order.config.model_dump()
    assert (order.root, values["fid_weights"]) == (home / "runs", str(home / "w.pth"))
    assert (values["data_root"], values["data_cache"]) == (str(home / "a"), "b/~")
    plan = parse_comparison(["~/mine.yaml", "--root", "~/runs", "--data-root", "~"])
    assert plan.root == home / "runs"
    assert plan.config(plan.cells()[0]).model_dump()["data_root"] == str(home)
    assert parse("gan", ["--config", "~/mine.yaml"]).experiment.path == home / "mine.yaml"
    assert parse_stand_in(["~/rooms"]).root == home / "rooms"


@pytest.mark.parametrize("words", [["--root", ""], ["--root="], ["--root", " "], ["--root", "a\0b"], ["--config", ""],
                                   ["--config", "a\0b"], ["--data-root", ""], ["--arm", ""]])  # fmt: skip
def test_no_path_is_one_line(words: list[str]) -> None:
    with pytest.raises(UserError, match=words[0].split("=")[0] if words[0] != "--arm" else "no arm ''") as refused:
        parse("gan", words)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=20))
def test_a_path_is_what_was_written_but_for_the_home(text: str) -> None:
    try:
        path = at_home(text)
    except ValueError:
        return
    assert path == text or text.startswith("~")
    assert "\0" not in path


# ---- a run's settings are those that its plan has checked


def test_a_task_of_the_file_and_the_flag_that_chooses_a_file_may_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text("study: vision.shift\ntasks: {a: {}, b: {images: 128}}\n")
    for command, start in ((None, [str(path)]), ("vision", ["--config", str(path)])):
        assert parse(command, start).task == "a"
        order = parse(command, [*start, "--task", "b"])
        assert (order.task, order.config.model_dump()["images"]) == ("b", 128)
        with pytest.raises(UserError, match="'c' is not one of a, b"):
            parse(command, [*start, "--task", "c"])
    plan = parse_comparison([str(path)])
    assert {cell.task for cell in plan.cells()} == {"a", "b"}
    for cell in plan.cells():
        assert validated(MODELS["vision.shift"], plan.handed(cell), COMMAND_LINE) == plan.config(cell)


def test_what_a_run_would_refuse_its_plan_refuses(monkeypatch: pytest.MonkeyPatch, toy: str) -> None:
    path = Path(__file__).parents[1] / "workshop" / "toy.yaml"
    assert parse_comparison([str(path)])

    def changed(self: Config, **kwargs: object) -> dict[str, object]:
        return {"steps": 0}  # as a model may that writes what it does not read

    experiment = load_experiment(str(path))
    experiment.resolve("conv")
    monkeypatch.setattr(study_spec(toy).config, "model_dump", changed)
    with pytest.raises(UserError, match="steps"):
        parse_comparison([str(path)])
