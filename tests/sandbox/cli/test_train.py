import os
import shlex
from pathlib import Path

import pytest
from endings import exits
from shop import Workshop, files, python

from gan.study import GanConfig
from sandbox.base.errors import UserError
from sandbox.cli.flags import one_of, whole_number
from sandbox.cli.train import main, parse
from sandbox.experiment.config import COMMAND_LINE
from sandbox.experiment.names import config_names, study_names
from sandbox.experiment.spec import study_spec

PLACE = Path("toy/toy/coord/seed-0")


# ---- mistakes on the command line

MISTAKES = {
    "--nane x": ["unknown argument '--nane'", "did you mean '--name'?"],
    "--lr_g 1e-3": ["unknown argument '--lr_g'", "did you mean '--lr-g'?"],
    "--see 3": ["unknown argument '--see'", "did you mean '--seed'?"],
    "--configg x": ["unknown argument '--configg'", "did you mean '--config'?"],
    "spam": ["unknown argument 'spam'", "--help"],
    "--smoke yes": ["unknown argument 'yes'"],
    "--smoke=yes": ["--smoke: ignored explicit argument 'yes'"],
    "--seed": ["--seed: expected one argument"],
    "--seed x": ["--seed is 'x'", "whole numbers from 0 to 2147483647"],
    "--seed -1": ["--seed is '-1'", "whole numbers from 0 to 2147483647"],
    "--seed 2147483648": ["--seed is '2147483648'", "whole numbers from 0 to 2147483647"],
    "--steps 0": ["--steps is '0'", "whole numbers from 1 to 1000000000"],
    "--steps 1.5": ["--steps is '1.5'", "whole numbers from 1 to 1000000000"],
    "--lr-g nan": ["--lr-g is 'nan'", "numbers above 0, up to 1"],
    "--lr-g inf": ["--lr-g is 'inf'", "numbers above 0, up to 1"],
    "--gamma=-inf": ["--gamma is '-inf'", "numbers from 0 to 10000"],
    "--precision b16": ["--precision is 'b16'", "auto, bf16, 32", "did you mean 'bf16'?"],
    "--loss hing": ["--loss is 'hing'", "did you mean 'hinge'?"],
    "--batch 100 --images 50": ["the command line: batch (100) must not exceed images (50)"],
    "--device gpu": ["--device: 'gpu' is not one of auto, cpu, cuda, mps", "did you mean 'cpu'?"],
    "--arm cord": ["no arm 'cord'", "it has conv, coord", "did you mean 'coord'?"],
    "--coord --arm conv": ["--arm: not allowed with argument --coord"],
    "--coord --no-coord": ["--no-coord: not allowed with argument --coord"],
    "--evaluate --overwrite": ["--overwrite: not allowed with argument --evaluate"],
    "--evaluate": ["holds no run yet: --evaluate is for those whose training is finished"],
    "--config nope": ["no config 'nope'", "gan/{", "vision/{cam, classification, "],
    "--config .": ["'.' is a folder, not a YAML file"],
    "--config broken.yaml": ["broken.yaml cannot be read as YAML"],
    "--config toy.yaml": ["a config of the study 'toy'", "python -m sandbox train toy.yaml"],
    "--config mine.yaml --arm x": ["no arm 'x'", "it has thin, thick"],
    "--config mine.yaml --coord": ["no arm 'coord'", "it has thin, thick"],
    "--name a/b": ["'a/b'", "letters, digits"],
    "--name ''": ["''", "letters, digits"],
    "--root file": ["cannot write to file/", "Not a directory", "another --root"],
    "--root /dev/null": ["cannot write to /dev/null/", "another --root"],
    "--root foreign": ["holds no run", "another --name or --root"],
    "--root foreign --overwrite": ["holds no run", "another --name or --root"],
    "--root damaged": ["config.yaml is no configuration of a run, or a damaged one"],
    "--root other --steps 8": ["holds a run of another configuration (steps: 7 -> 8", "--name", "--overwrite"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_one_line_and_loses_nothing(
    toy: str,
    signals: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    below = Path("gan/sort_of_clevr/coord/seed-0")
    for name, content in {
        "file": "", "broken.yaml": "a: [", "toy.yaml": "study: toy", "mine.yaml": "study: gan\narms: {thin: , thick: }",
        f"foreign/{below}/notes.txt": "mine", f"damaged/{below}/config.yaml": "study: ga",
        f"other/{below}/config.yaml":
            "{study: gan, experiment: sort_of_clevr, arm: coord, precision: '32', config: {steps: 7}}",
    }.items():  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)
    before = files(tmp_path)
    flags = [*shlex.split(line), *([] if "--precision" in line else ["--precision", "32"])]
    said = exits(2, lambda: main("gan", flags), capsys)
    assert said.startswith("error: ")
    assert all(part in said for part in MISTAKES[line]), said
    assert files(tmp_path) == before
    assert not Path("runs").exists()


def test_a_root_that_may_not_be_written_is_refused(
    toy: str, signals: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid():
        said = exits(2, lambda: main("toy", ["--root", str(locked)]), capsys)
    else:  # everything is allowed to root: be nobody
        tmp_path.chmod(0o755)
        os.seteuid(65534)
        try:
            said = exits(2, lambda: main("toy", ["--root", str(locked)]), capsys)
        finally:
            os.seteuid(0)
    assert str(locked) in said
    assert "(Permission denied): choose another --root" in said
    assert not list(locked.iterdir())


# ---- what a command line means


@pytest.mark.parametrize(
    ("short", "long"), [("--coord", "--arm coord"), ("--no-coord", "--arm conv"), ("", "--arm coord")]
)
def test_coord_and_no_coord_are_the_two_arms(short: str, long: str) -> None:
    assert parse("gan", short.split()) == parse("gan", long.split())
    assert parse("gan", short.split()).config.coord == ("coord" in long)


CHANGED: dict[str, object] = {
    "seed": 5, "steps": 7, "batch": 9, "precision": "bf16", "compile": True, "log_every": 3, "preview_every": 4,
    "checkpoint_every": 5, "stem": "tiled", "head": "pooled", "coord_in": "g", "coord_layers": "first", "with_r": True,
    "padding_mode": "circular", "width": 3, "d_width": 4, "latent": 5, "latent_law": "normal", "loss": "hinge",
    "gamma": 2.5, "penalty_every": 3, "g_steps": 2, "lr_g": 0.25, "lr_d": 0.5, "beta1": 0.125, "beta2": 0.75,
    "decay": 0.125, "ema": 0.5, "images": 99, "separation": "paper", "data": "lsun", "size": 32,
    "megapixels": 7, "data_root": "elsewhere", "data_cache": "there", "category": "kitchen",
    "fid_weights": "weights.pth",
}  # fmt: skip


def test_every_setting_has_a_flag_that_reaches_the_config(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("study: gan")
    # architecture has stem and head of its own, and copies are of shapes: they cannot be changed beside the others
    assert set(CHANGED) == set(GanConfig.model_fields) - {"coord", "architecture", "before_tanh", "copies"}
    published = parse("gan", ["--architecture", "paper", "--before-tanh"]).config.model_dump()
    assert (published["architecture"], published["before_tanh"]) == ("paper", True)
    assert parse("gan", ["--copies", "excluded", "--images", "500"]).config.model_dump()["copies"] == "excluded"
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in CHANGED.items()]
    config = ["--config", str(tmp_path / "plain.yaml")]
    others = {"coord": True, "architecture": "matched", "before_tanh": False, "copies": "allowed"}
    assert parse("gan", [*config, *flags]).config.model_dump() == {**others, **CHANGED}
    default = parse("gan", config).config.model_dump()
    assert not [name for name, value in CHANGED.items() if default[name] == value], "each is another than the default"


def test_what_is_said_on_the_command_line_holds_under_smoke_too() -> None:
    order = parse("gan", ["--smoke", "--steps", "8"])
    assert order.config == GanConfig(**order.experiment.values).shrunk().model_copy(update={"steps": 8})
    assert order.smoke


def test_whole_numbers_and_names_as_flags() -> None:
    assert [whole_number(-3, 12)(text) for text in ("-3", "0", "12")] == [-3, 0, 12]
    for text in ("-4", "13", "x", "", "--3", "1.0", "9" * 5000):
        with pytest.raises(Exception, match="is not a whole number from -3 to 12"):
            whole_number(-3, 12)(text)
    assert one_of("a", "b")("b") == "b"
    with pytest.raises(Exception, match="'c' is not one of a, b"):
        one_of("a", "b")("c")


# ---- pages


def test_the_list_has_a_line_for_each_command_and_each_config(tmp_path: Path) -> None:
    done = python("-m", "sandbox", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for study in {*study_names()} - {"toy"}:
        spec = study_spec(study)
        text = [*spec.command.split(), *spec.summary.split()]
        assert [line.split() for line in lines if line.split()[: len(text)] == text] == [text]
    for name in config_names():
        assert sum(line.split()[:1] == [name] and len(line.split()) > 3 for line in lines) == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trian", "unknown command 'trian': there are train and compare, gan, results, rl, vae, video, vision; "
         "did you mean 'train'?; without any, a list"),
        ("gan", "gan is a command of its own: python -m sandbox.gan"),
    ],
)  # fmt: skip
def test_the_list_refuses_arguments(workshop: Workshop, word: str, said: str) -> None:
    command = workshop.module("sandbox", word)
    assert command.wait() == 2
    assert command.stderr == f"error: {said}\n"


def test_help_is_a_page_with_every_flag_its_meaning_its_default_and_examples(workshop: Workshop) -> None:
    command = workshop.module("sandbox.gan", "--help", "--config", "gan/sort_of_clevr_paper")
    assert (command.wait(), command.stderr) == (0, "")
    page = " ".join(command.stdout.split())
    order = parse("gan", ["--config", "gan/sort_of_clevr_paper"])
    for name, field in GanConfig.model_fields.items():
        default = order.experiment.values.get(name, field.default)
        if name != "coord":
            assert f"--{name.replace('_', '-')}" in page
            shown = {"True": "on", "False": "off"}.get(str(default), default)
            assert f"{field.description} (default: {shown})" in page
    for flag in (
        "--config",
        "--arm",
        "--coord",
        "--no-coord",
        "--root",
        "--name",
        "--overwrite",
        "--evaluate",
        "--smoke",
    ):
        assert f"{flag} " in page
    for text in (
        "conv coord: false",
        "coord coord: true",
        "the same command continues",
        "examples:",
        "sort_of_clevr_paper",
    ):
        assert text in page
    assert all(len(line) <= 120 for line in command.stdout.splitlines())


def test_the_command_line_is_called_by_its_name() -> None:
    with pytest.raises(UserError, match=COMMAND_LINE):
        parse("gan", ["--batch", "50", "--images", "40"])


@pytest.mark.parametrize("name", ["100%.yaml", "a%(prog)d.yaml"])
def test_help_shows_a_file_s_name_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / name).write_text("study: gan\n")
    with pytest.raises(SystemExit, match="0"):
        parse("gan", ["--config", str(tmp_path / name), "--help"])
    assert f"each default is that of {name}, for every arm" in capsys.readouterr().out
