import math
import string
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from toy.study import ToyConfig

from gan.study import GanConfig
from sandbox.base.errors import UserError
from sandbox.experiment.config import Config, allowed, choices, differences, folder_name, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.names import config_names, find_config
from sandbox.experiment.spec import folder_of

SHARED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder: Path, content: str | bytes, name: str = "made_up.yaml") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def complaint(name: str, arm: str = "conv") -> str:
    with pytest.raises(UserError) as caught:
        load_experiment(name).resolve(arm)
    message = str(caught.value)
    assert message.isprintable(), "a complaint is one line"
    assert len(message) < 500
    return message


# ---- who wins


@SHARED
@given(
    st.fixed_dictionaries({}, optional={place: st.integers(1, 99) for place in ("yaml", "arm", "flag")}), st.booleans()
)
def test_flags_win_over_smoke_over_arm_over_experiment_over_default(
    toy: str, tmp_path: Path, given_in: dict[str, int], smoke: bool
) -> None:
    document = {
        "study": toy,
        "experiment": {"steps": given_in["yaml"]} if "yaml" in given_in else {},
        "arms": {"conv": {"coord": False} | ({"steps": given_in["arm"]} if "arm" in given_in else {})},
    }
    experiment = load_experiment(written(tmp_path, yaml.safe_dump(document)))
    config = experiment.resolve("conv", {"steps": str(given_in["flag"])} if "flag" in given_in else {}, smoke=smoke)
    default = given_in.get("arm", given_in.get("yaml", ToyConfig().steps))
    shrunk = ToyConfig().shrunk().steps
    assert config.steps == given_in.get("flag", shrunk if smoke else default)
    assert config.coord is False


def test_smoke_shrinks_the_recipe_and_nothing_else() -> None:
    recipe = GanConfig(loss="hinge", seed=7, lr_g=0.01)
    changed = {line.split(":")[0] for line in differences(recipe.model_dump(), recipe.shrunk().model_dump())}
    assert changed == {"steps", "batch", "log_every", "preview_every", "checkpoint_every",
                       "width", "d_width", "images", "penalty_every"}  # fmt: skip


def test_both_arms_come_from_one_file_and_differ_in_what_the_arm_says() -> None:
    experiment = load_experiment("gan/sort_of_clevr")
    conv, coord = (experiment.resolve(arm).model_dump() for arm in ("conv", "coord"))
    assert differences(conv, coord) == ["coord: False -> True"]


@pytest.mark.parametrize("name", config_names())
def test_every_config_resolves_in_every_arm_and_opens_with_a_title(name: str) -> None:
    experiment = load_experiment(name)
    for arm, task in product(experiment.arms, tuple(experiment.tasks) or (None,)):
        assert experiment.resolve(arm, task=task) != experiment.resolve(arm, smoke=True, task=task)
    assert find_config(name).read_text().startswith("# ")
    assert name.split("/")[0] == folder_of(experiment.study)


# ---- where a config is found


def test_a_config_is_found_by_name_from_any_folder_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_name = find_config("gan/sort_of_clevr")
    assert by_name.is_file()
    assert find_config(str(by_name)) == by_name
    written(tmp_path, "study: gan", "mine.yml")
    assert load_experiment("mine.yml").name == "mine"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gan/sort_of_clever", ["there are gan/{", ", vae/{sort_of_clevr, ", "did you mean 'gan/sort_of_clevr'?"]),
        ("sort_of_clevr", ["did you mean 'gan/sort_of_clevr'?"]),
        ("gan/sort_of_clevr.yaml", ["no file", "did you mean 'gan/sort_of_clevr'?"]),
        ("nope.yaml", ["no file 'nope.yaml'"]),
        (".", ["is a folder"]),
        ("", ["a path must not be empty"]),
        ("x" * 5000, ["5000 characters"]),
        ("x" * 300, ["cannot be read (File name too long)"]),
        ("a\0b", ["NUL"]),
        ("~nobody-of-that-name/x.yaml", ["no such home folder"]),
    ],
)
def test_a_config_that_is_not_there_is_named_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    message = complaint(name)
    assert message.startswith("--config")
    assert all(part in message for part in parts)


# ---- what a file may not hold

GAN = "study: gan\n"
WRONG: list[tuple[str | bytes, list[str]]] = [
    ("", ["is empty", "study, experiment, arms, compare, tasks, seeds"]),
    ("a: [1, 2\nb: }", ["cannot be read as YAML", "line 2"]),
    ("- study", ["no mapping", "['study']"]),
    (b"\x00\x01\x02", ["cannot be read as YAML"]),
    (b"\xff\xfestudy: gan", ["cannot be read as YAML"]),
    ("study: [gan]", ["['gan']", "there are gan"]),
    ("study: gna", ["'gna'", "there are gan", "did you mean 'gan'?"]),
    ("experiment: {steps: 3}", ["no study", "there are gan"]),
    ("study: gan\n---\nstudy: gan", ["cannot be read as YAML"]),
    (GAN + "experiment: " + "[" * 5000, ["cannot be read as YAML"]),
    (GAN + "experiment: !!python/object/apply:os.abort []", ["cannot be read as YAML", "os.abort", "no tags"]),
    (GAN + "experiment: {steps: !!int x}", ["cannot be read as YAML"]),
    (GAN + "experiment: {coord: !!bool x}", ["cannot be read as YAML"]),
    (GAN + "experiment: {steps: 2024-99-99}", ["cannot be read as YAML", "2024-99-99 as a date", "quotes"]),
    (GAN + "experiment: {steps: " + "9" * 6000 + "}", ["cannot be read as YAML", "6000 characters"]),
    (GAN + "experiment:\n  steps: 3\n  steps: 4", ["'steps' stands twice", "line 3", "line 4"]),
    (GAN + "study: gan", ["'study' stands twice"]),
    (GAN + "arms: {conv: {}, conv: {}}", ["'conv' stands twice"]),
    (GAN + "steps: 100", ["'steps'", "settings such as steps stand under experiment"]),
    (GAN + "experimant: {}", ["'experimant'", "did you mean 'experiment'?"]),
    (GAN + "experiment: []", ["experiment must be a mapping", "[]"]),
    (GAN + "experiment: steps", ["experiment must be a mapping", "'steps'"]),
    (GAN + "experiment: {stebs: 3}", ["'stebs'", "did you mean 'steps'?"]),
    (GAN + "experiment: {3: 4}", ["unknown key '3'"]),
    (GAN + "experiment: {steps: 0}", ["steps", "is 0", "whole numbers from 1 to"]),
    (GAN + "experiment: {steps: yes}", ["steps", "is True", "whole numbers from 1 to"]),
    (GAN + "experiment: {steps: null}", ["steps", "is None", "whole numbers from 1 to"]),
    (GAN + "experiment: {steps: [1]}", ["steps", "is [1]", "whole numbers from 1 to"]),
    (GAN + "experiment: {steps: 1.5}", ["steps", "is 1.5", "whole numbers from 1 to"]),
    (GAN + "experiment: {steps: 1, batch: 1}", ["batch", "is 1", "whole numbers from 2 to"]),
    (GAN + "experiment: {gamma: .nan}", ["gamma", "is nan", "numbers from 0 to 10000"]),
    (GAN + "experiment: {gamma: .inf}", ["gamma", "is inf", "numbers from 0 to 10000"]),
    (GAN + "experiment: {precision: 16}", ["precision", "'16'", "auto, bf16, 32"]),
    (GAN + "experiment: {loss: hing}", ["loss", "'hing'", "did you mean 'hinge'?"]),
    (GAN + "experiment: {with_r: maybe}", ["with_r", "'maybe'", "true, false"]),
    (GAN + "experiment: {batch: 64, images: 40}", ["batch (64) must not exceed images (40)"]),
    (GAN + "arms: [conv, coord]", ["arms must be a mapping", "conv: {coord: false}"]),
    (GAN + "arms: {}", ["arms must be a mapping"]),
    (GAN + "arms: {conv: 3}", ["arm conv must be a mapping", "3"]),
    (GAN + "arms: {no: {coord: false}}", ["False", "quotes"]),
    (GAN + "arms: {'../conv': {}}", ["'../conv'", "letters, digits"]),
    (GAN + "arms: {coord: {}}", ["no arm 'conv'", "it has coord"]),
    (GAN + "arms: {conv: {corod: false}}", ["'corod'", "arm conv", "did you mean 'coord'?"]),
    (GAN + "arms: {conv: {}, other: {width: 0}}", ["width", "arm other", "whole numbers from 1 to 512"]),
    *((GAN + f"experiment: {{steps: {written}}}", [f"YAML reads {written} as {read}:", "line 2", "in quotes"])
      for written, read in {"1:30": "90", "1:30.5": "90.5", "010": "8", "-010": "-8", "0x1F": "31", "0b11": "3",
                            "1_000": "1000", "1_0.5": "10.5", "+1:1:1": "3661"}.items()),
    (GAN + "experiment: {data_root: 2024-01-01}", ["YAML reads 2024-01-01 as a date: for text put it into quotes"]),
    (GAN + "arms: {010: {}}", ["YAML reads 010 as 8"]),
    (GAN + "seeds: [0, 0x1]", ["YAML reads 0x1 as 1"]),
    (GAN + "experiment: {steps: 1.5e0}", ["steps", "is '1.5e0'", "whole numbers"]),
    (GAN + "experiment: {steps: 1e400}", ["steps", "is '1e400'", "whole numbers"]),
    (GAN + "experiment: {lr_g: 1e3}", ["lr_g", "is '1e3'", "numbers above 0, up to 1"]),
    (GAN + "experiment: {data_root: ~}", ["data_root", "is None", '"~", in quotes, is the home folder']),
    (GAN + "experiment: {data_root: ''}", ["data_root", "is ''", "a path must not be empty"]),
    (GAN + "arms: {conv: {data_cache: '  '}}", ["data_cache", "arm conv", "a path must not be empty"]),
    (GAN + 'experiment: {data_root: "a\\0b"}', ["data_root", "NUL character"]),
    (GAN + "arms: {conv: {seed: 4}}", ["arm 'conv'", "every arm runs on every seed", "--seeds"]),
    (GAN + "tasks: {t: {seed: 4}}", ["task 't'", "every arm runs on every seed"]),
    (GAN + "experiment: {data_root: ~nobody-of-that-name/x}", ["data_root", "no such home folder"]),
    *((GAN + f"compare: {arms}", ["compare must be a list of different arms, such as [conv, coord]", "not "])
      for arms in ("[[conv], coord]", "[{a: 1}]", "[no]", "[1]", "{conv: coord}", "[conv, 'conv']", "[null]")),
    *((GAN + f"seeds: {seeds}", ["seeds must be", "from 0 to 2147483647"])
      for seeds in ("3", "[]", "[0, 0]", "[-1]", "[true]", "[1.0]", "[2147483648]", "{0: 1}")),
]  # fmt: skip


@pytest.mark.parametrize(("content", "parts"), WRONG)
def test_a_wrong_file_gets_one_line_that_says_what_is_wrong_and_what_is_allowed(
    tmp_path: Path, content: str | bytes, parts: list[str]
) -> None:
    path = written(tmp_path, content)
    message = complaint(path)
    assert path in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "steps"), [("1e3", 1000), ("1.5e3", 1500), ("1E+1", 10), ("'1000'", 1000), ("1000.0", 1000), ("'08'", 8)]
)
def test_a_number_means_what_everybody_reads(tmp_path: Path, text: str, steps: int) -> None:
    experiment = load_experiment(written(tmp_path, GAN + f"experiment: {{steps: {text}, lr_g: 1e-3}}"))
    config = experiment.resolve("conv")
    assert isinstance(config, GanConfig)
    assert (config.steps, config.lr_g) == (steps, 0.001)
    assert experiment.resolve("conv", {"steps": text.strip("'")}).steps == steps


def test_what_yaml_offers_works(tmp_path: Path) -> None:
    content = GAN + (
        "experiment: &all {precision: 32, lr_g: 5e-4}\n"  # YAML reads a number, and then a text: 5e-4 has no point
        "arms: {conv: {<<: *all, coord: false}, coord: }"
    )
    config = load_experiment(written(tmp_path, content)).resolve("conv")
    assert isinstance(config, GanConfig)
    assert (config.precision, config.lr_g, config.coord) == ("32", 5e-4, False)


names = st.sampled_from(["study", "experiment", "arms", "seeds", "steps", "conv", "coord", "gan", "batch", "<<"])
scalars = names | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | scalars, inner, max_size=4)
)


@SHARED
@given(
    documents
    | st.fixed_dictionaries(
        {"study": st.just("gan")}, optional={"experiment": documents, "arms": documents, "seeds": documents}
    )
)
def test_any_document_is_an_experiment_or_one_line(tmp_path: Path, document: Any) -> None:
    path, problem = written(tmp_path, yaml.safe_dump(document)), ""
    try:
        experiment = load_experiment(path)
        assert all(isinstance(experiment.resolve(arm), GanConfig) for arm in experiment.arms)
    except UserError as error:
        problem = str(error)
    assert not problem or (problem.isprintable() and path in problem)


@SHARED
@given(st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
def test_any_bytes_are_an_experiment_or_one_line(tmp_path: Path, content: bytes) -> None:
    assert complaint(written(tmp_path, content))  # no 60 bytes of chance name a study


# ---- what a field may be

NUMBERS = [(model, name) for model in (GanConfig, ToyConfig) for name, field in model.model_fields.items()
           if field.annotation in (int, float)]  # fmt: skip


@pytest.mark.parametrize(("model", "name"), NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, "nan", "x", "", True, None, [], 10**12])
def test_a_number_out_of_range_gets_the_range(model: type[Config], name: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        validated(model, {name: value}, "the command line")
    flag = name.replace("_", "-")
    assert str(caught.value) == f"--{flag} is {value!r}: allowed are {allowed(model.model_fields[name])}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("seed", "whole numbers from 0 to 2147483647"),
        ("steps", "whole numbers from 1 to 1000000000"),
        ("gamma", "numbers from 0 to 10000"),
        ("lr_g", "numbers above 0, up to 1"),
        ("beta1", "numbers from 0, below 1"),
        ("precision", "auto, bf16, 32"),
        ("with_r", "true, false"),
    ],
)
def test_the_range_in_words(name: str, words: str) -> None:
    assert allowed(GanConfig.model_fields[name]) == words


@pytest.mark.parametrize("name", [name for name, field in GanConfig.model_fields.items() if choices(field)])
def test_every_choice_is_allowed_and_nothing_else(name: str) -> None:
    others = {"images": 5000} | ({"architecture": "paper"} if name == "before_tanh" else {})
    for choice in choices(GanConfig.model_fields[name]):
        assert str(getattr(validated(GanConfig, {**others, name: choice}, "a test"), name)).lower() == choice
    with pytest.raises(UserError, match=f"{name} in a test is 'bogus': allowed are "):
        validated(GanConfig, {name: "bogus"}, "a test")


def test_several_mistakes_are_all_named() -> None:
    with pytest.raises(UserError) as caught:
        validated(GanConfig, {"steps": 0, "stebs": 1, "loss": "x"}, "a test")
    starts = [part.split()[0] for part in str(caught.value).split("; ") if not part.startswith("did you")]
    assert starts == ["steps", "loss", "unknown"]


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        GanConfig().steps = 3  # type: ignore[misc]


@given(st.text(max_size=70))
def test_a_name_that_passes_is_one_folder_below_the_root(name: str) -> None:
    try:
        assert folder_name(name, "a test") == name
    except UserError:
        return
    below = Path("root") / name
    assert below.parent == Path("root")
    assert below.name == name
    assert not name.startswith((".", "-"))
    assert len(name.encode()) < 256


@given(st.dictionaries(names, st.integers()), st.dictionaries(names, st.integers()))
def test_differences_are_exactly_the_keys_whose_values_differ(old: dict[str, int], new: dict[str, int]) -> None:
    lines = differences(old, new)
    assert {line.split(": ")[0] for line in lines} == {key for key in old | new if old.get(key) != new.get(key)}
    assert differences(old, old) == []
