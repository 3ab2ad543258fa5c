import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import Workshop, files, outcome
from toy.study import ToyConfig

import sandbox
from sandbox.base.errors import UserError
from sandbox.experiment.config import validated
from sandbox.experiment.run import Run, read_run, run_folder
from sandbox.experiment.spec import study_spec

PLACE = Path("toy/toy/coord/seed-0")


def a_run(folder: Path, **fields: object) -> Run:
    return Run(folder, "toy", "toy", "coord", "32", validated(ToyConfig, fields, "a test"))


@pytest.fixture(scope="module")
def finished(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a complete toy run; nobody may change it."""
    root = tmp_path_factory.mktemp("finished")
    assert workshop.toy("--root", root).wait() == 0
    before = files(root)
    yield root
    assert files(root) == before


# ---- identity


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31 - 1),
            "steps": st.integers(1, 10**9),
            "coord": st.booleans(),
            "rate": st.floats(0, 1, exclude_min=True),
            "law": st.text(max_size=8),
            "precision": st.sampled_from(["auto", "bf16", "32"]),
        },
    )
)
def test_a_run_reads_back_as_what_it_was(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    run = a_run(tmp_path_factory.mktemp("run") / "seed", **fields)
    with run.lock():
        assert run.open() == "new"
        assert read_run(run.folder) == run
        assert run.open() == run.state() == "interrupted"
    with pytest.raises(UserError, match=r"log_every: 20 -> 21"):
        a_run(run.folder, **fields, log_every=21).open()


def test_where_the_data_lie_is_no_part_of_the_identity(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_spec("toy").config, "PLACES", ("law",))
    assert a_run(tmp_path / "seed", law="here").open() == "new"
    assert a_run(tmp_path / "seed", law="there").open() == "interrupted"
    assert read_run(tmp_path / "seed").config.model_dump()["law"] == "there"  # for whoever loads it next
    with pytest.raises(UserError, match=r"configuration \(rate: 0.05 -> 0.5\)"):
        a_run(tmp_path / "seed", law="elsewhere", rate=0.5).open()


def test_the_folder_is_named_by_study_experiment_arm_and_seed(tmp_path: Path) -> None:
    assert run_folder(tmp_path, "toy", "e", "a", 3) == tmp_path / "toy" / "e" / "a" / "seed-3"
    assert run_folder(tmp_path, "toy", "e", "a", 3, smoke=True) == tmp_path / "smoke" / "toy" / "e" / "a" / "seed-3"
    for experiment, arm in (("..", "a"), ("e", "a/b"), ("", "a")):
        with pytest.raises(UserError, match="names a folder"):
            run_folder(tmp_path, "toy", experiment, arm, 3)


def test_the_folder_says_what_the_run_was_made_with(finished: Path) -> None:
    environment = json.loads((finished / PLACE / "environment.json").read_text())
    assert environment["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert environment["threads"] == 1
    assert {"commit", "python", "platform", "processor", "accelerator"} <= set(environment)
    identity = yaml.safe_load((finished / PLACE / "config.yaml").read_text())
    assert list(identity) == ["study", "experiment", "arm", "precision", "config"]
    assert set(identity["config"]) == set(ToyConfig.model_fields)


def test_root_is_no_part_of_the_identity(workshop: Workshop, tmp_path: Path, finished: Path) -> None:
    stopped = workshop.toy("--root", tmp_path / "here", before="import faults\nfaults.at_operation(40, 'kill')")
    assert stopped.wait() == -9
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert workshop.toy("--root", tmp_path / "there", "--device", "cpu").wait() == 0
    assert outcome(tmp_path / "there" / PLACE) == outcome(finished / PLACE)


# ---- the folder's states


def test_a_folder_goes_from_new_over_interrupted_to_complete(toy: str, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    assert run.state() == "new"
    with pytest.raises(UserError, match="has no result yet"):
        run.result()
    run.folder.mkdir()
    (run.folder / ".config.yaml.part").write_text("study: t")  # a kill in the first write
    assert run.open() == "new"
    assert run.state() == "interrupted"
    result = {"scores": {"score/a": 1.0}, "steps": 3, "images": 6, "seconds": 1.0, "steps_per_second": 3.0}
    (run.folder / "result.json").write_text(json.dumps(result))  # of an older version: no checksum, no identity
    assert run.open() == run.state() == "complete"
    assert run.result() == result
    run.clear()
    assert run.open() == "new"
    assert run.state() == "interrupted"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"steps": 3}', "\0\0"])
def test_a_damaged_result_is_one_line_that_says_how_to_mend_it(toy: str, tmp_path: Path, content: str) -> None:
    run = a_run(tmp_path)
    run.open()
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match="makes it again from the last checkpoint") as caught:
        run.result()
    assert str(caught.value).isprintable()
    assert run.open() == "interrupted"
    assert (tmp_path / "damaged-result.json").read_text() == content


DAMAGED = [
    "",
    "\0\0\0",
    "study: toy\nexperi",
    "- 1",
    "study",
    "study: toy",
    "study: [toy]\nexperiment: e\narm: a\n",
    "study: toy\nexperiment: e\narm: a\nprecision: '32'\nconfig: 3",
    "a: [",
    "study: toy\nconfig: {}",
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_configuration_is_refused_in_one_line_and_left_alone(toy: str, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    for read in (lambda: read_run(tmp_path), lambda: a_run(tmp_path).open(), lambda: sandbox.load(tmp_path)):
        with pytest.raises(UserError, match=r"config\.yaml is no configuration of a run, or a damaged one") as caught:
            read()
        assert str(caught.value).isprintable()
    assert files(tmp_path) == {"config.yaml": content.encode()}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("study", "tay", "no study 'tay'.*did you mean 'toy'"),
        ("precision", "16", "unknown precision '16': allowed are bf16, 32"),
        ("config", {"rade": 1}, "unknown key 'rade'.*did you mean 'rate'"),
        ("config", {"rate": 2}, "rate in .*config.yaml is 2: allowed are numbers above 0, up to 1"),
    ],
)
def test_a_configuration_of_other_code_says_what_differs(
    toy: str, tmp_path: Path, key: str, value: object, message: str
) -> None:
    run = a_run(tmp_path)
    run.open()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(run.identity() | {key: value}))
    with pytest.raises(UserError, match=message):
        read_run(tmp_path)


def test_overwrite_deletes_runs_and_nothing_else(toy: str, tmp_path: Path) -> None:
    notes = {"notes.txt": b"mine"}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists and holds no run"):
        a_run(tmp_path / "a").clear()
    (tmp_path / "a" / "config.yaml").write_text("name: mine")
    with pytest.raises(UserError, match="is not a run's"):
        a_run(tmp_path / "a").clear()
    assert files(tmp_path / "a") == notes | {"config.yaml": b"name: mine"}
    run = a_run(tmp_path / "b")
    run.open()
    (run.folder / "samples" / "old.png").write_bytes(b"")
    (run.folder / "config.yaml").write_bytes(b"study: to")  # torn, and still ours
    run.clear()
    assert run.open() == "new"
    assert set(files(run.folder)) == {"config.yaml", "environment.json"}


def test_a_run_is_worked_on_by_one(toy: str, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    with run.lock(), pytest.raises(UserError, match="is in use by another process"), a_run(run.folder).lock():
        pass
    with run.lock():
        assert run.state() == "new"


@pytest.mark.parametrize("dies", [True, False])
def test_a_file_is_the_old_one_or_the_new_one(workshop: Workshop, tmp_path: Path, dies: bool) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    code = f"""
import faults, pathlib
from sandbox.base.files import write_atomically
faults.file_limit(1000, dies={dies})
write_atomically(pathlib.Path({str(path)!r}), "new" * 999)
"""
    assert workshop.start(code).wait() == (-signal.SIGXFSZ if dies else 1)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir() if file != path] == [".result.json.part"] * dies
    with path.open() as reader:
        assert workshop.start(code.replace("1000", "9000")).wait() == 0
        assert reader.read() == "old", "who reads it meanwhile reads the old one to its end"
    assert files(tmp_path) == {"result.json": b"new" * 999}


# ---- load


def test_load_returns_the_trained_networks_and_the_config(toy: str, finished: Path) -> None:
    loaded = sandbox.load(finished / PLACE)
    assert loaded.step == loaded.config.steps == 11
    assert loaded.config == read_run(finished / PLACE).config
    assert set(loaded.networks) == {"body", "head", "tied"}
    assert not any(network.training for network in loaded.networks.values())
    scores = json.loads((finished / PLACE / "result.json").read_text())["scores"]
    assert loaded.study.evaluate()["score/error"] == scores["score/error"]
    assert sandbox.load(str(finished / PLACE), "cpu").step == 11


def test_load_takes_an_interrupted_run_and_leaves_its_folder_and_the_random_stream_alone(
    toy: str, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = workshop.toy("--root", tmp_path, before="import faults\nfaults.at_operation(50, 'kill')")
    assert killed.wait() == -9
    folder = tmp_path / PLACE
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    assert sandbox.load(folder).step == int(newest.name.removeprefix("step-")) > 3
    (newest / "state.pt").write_bytes(b"torn")
    before, chance = files(tmp_path), torch.get_rng_state()
    assert sandbox.load(folder).step == 3
    assert torch.equal(torch.get_rng_state(), chance)
    assert "warning: checkpoint" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_load_says_what_is_missing(
    toy: str, workshop: Workshop, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"seed-1 is no run folder.*did you mean '.*toy/coord/seed-0'"):
        sandbox.load(finished / PLACE.parent / "seed-1")
    with pytest.raises(UserError, match=r"is no run folder.*did you mean '.*toy/coord/seed-0'"):
        sandbox.load(finished)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.yaml$"):
        sandbox.load("nothing/here")
    elsewhere = workshop.start(f"import sandbox\nsandbox.load({str(finished / PLACE)!r}, 'gpu')")
    assert elsewhere.wait() == 1
    assert "device 'gpu' is not available: here are auto, " in elsewhere.complaints()[-1]
    assert elsewhere.complaints()[-1].endswith("did you mean 'cpu'?")
    a_run(tmp_path / "fresh").open()
    with pytest.raises(UserError, match="has no whole checkpoint to load"):
        sandbox.load(tmp_path / "fresh")
