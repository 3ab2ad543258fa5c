"""A run as one small file: read like its folder, guarded like it, and nothing of this machine in it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shop import WORKSHOP, Said

from sandbox.base.errors import UserError
from sandbox.base.files import write_json
from sandbox.cli.compare import main
from sandbox.experiment.exported import POINTS, read_exported, write_exported
from sandbox.experiment.run import Run, read_run
from sandbox.experiment.spec import study_spec
from sandbox.report.sources import Sources, _command

TOY = str(WORKSHOP / "toy.yaml")
RESULT = {"scores": {"score/error": 0.5}, "steps": 1, "images": 8, "seconds": 1.0, "steps_per_second": 1.0}
pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def exported(compared: tuple[Path, Said], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the toy's comparison below a root, and where it was exported to."""
    root = tmp_path_factory.mktemp("exported")
    shutil.copytree(compared[0].parents[1], root / "runs")
    main([TOY, "--root", str(root / "runs"), "--report-only", "--export", str(root / "results/toy")])
    return root / "runs/toy/toy", root / "results/toy"


@pytest.fixture
def copied(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """Exported runs that a test may damage."""
    return Path(shutil.copytree(exported[1], tmp_path / "results/toy"))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_it_holds_the_run_and_some_kilobytes(exported: tuple[Path, Path]) -> None:
    folder, results = exported
    runs = [f"runs/{arm}/seed-{seed}.json" for arm in ("conv", "coord") for seed in (0, 1)]
    assert {*runs, "scores.csv", "comparison.json", "scores.svg", "curves.svg"} <= set(files(results))
    run, found = read_exported(results / "runs/coord/seed-1.json")
    whole = read_run(folder / "coord/seed-1")
    assert run == replace(whole, folder=results / "runs/coord/seed-1.json")
    assert run.exported
    assert found.result.scores == whole.result()["scores"]
    assert found.environment is not None
    assert found.environment.packages == whole.environment()["packages"]
    assert "preview/error" in found.curves
    assert (results / "runs/coord/seed-1.json").stat().st_size < 8000
    assert not [name for name in files(results) if "checkpoint" in name or name.endswith((".pt", ".safetensors"))]
    texts = [(results / name).read_text() for name in files(results) if name.endswith((".json", ".csv"))]
    assert not any(str(folder.parents[2]) in text for text in texts), "a path of this machine"


def test_its_command_says_what_the_runs_have_and_the_file_has_not(copied: Path, tmp_path: Path) -> None:
    """A report alone takes no settings: what the runs were given is read from them."""

    def command(folder: Path) -> list[str]:
        return Sources.model_validate_json((folder / "comparison.json").read_text()).command.split()

    assert command(copied) == ["python", "-m", "sandbox.compare", TOY]
    own = tmp_path / "toy.yaml"
    own.write_text(Path(TOY).read_text().replace("precision: 32", "rate: 0.5").replace("steps: 11", "steps: 5"))
    main([str(own), "--root", str(tmp_path), "--from", str(copied), "--report-only", "--export", str(tmp_path / "new")])
    assert set(zip(command(tmp_path / "new")[4::2], command(tmp_path / "new")[5::2], strict=True)) == {
        ("--steps", "11"), ("--precision", "32"), ("--rate", "0.05")}  # fmt: skip


@pytest.mark.parametrize(
    "places",
    ["", "--jobs 2 --root /home/x", "--ray ray://10.0.0.7:10001 --gpus 1", "--ray --cpus 2", "--ray=auto", "--ray"],
)
def test_its_command_names_no_place_and_no_machine(places: str) -> None:
    line = f"python -m sandbox.compare toy --seeds 3 {places} --rate 0.5 --report-only"
    if places == "--ray":
        line = "python -m sandbox.compare toy --seeds 3 --rate 0.5 --ray"
    assert _command(line, None) == ["python", "-m", "sandbox.compare", "toy", "--seeds", "3", "--rate", "0.5"]


def test_where_data_lie_stays_out_of_it(tmp_path: Path) -> None:
    config = study_spec("gan").config.model_validate({})
    run = Run(tmp_path, "gan", "x", "conv", "32", config)
    line = "python -m sandbox.compare gan/lsun_small --data-root '/home/a b' --seeds 2 --fid-weights=/home/w.pth"
    given = ["--data-root", "DATA_ROOT", "--seeds", "2", "--fid-weights", "FID_WEIGHTS"]
    assert _command(line, run) == ["python", "-m", "sandbox.compare", "gan/lsun_small", *given]


@pytest.mark.parametrize("flags", [["--seeds", "2"], ["--report-only"]])
def test_exported_runs_are_read_and_not_made_again(
    exported: tuple[Path, Path], tmp_path: Path, flags: list[str]
) -> None:
    folder, results = exported
    report = main([TOY, "--root", str(tmp_path), "--from", str(results), *flags])
    here = tmp_path / "toy/toy"
    assert (here / "comparison/scores.csv").read_text() == (folder / "comparison/scores.csv").read_text()
    assert [path.name for path in here.iterdir() if path.is_dir()] == ["comparison"], "a run was made"
    assert (here / "comparison/curves.svg").exists()
    assert "2 paired seeds" in report.read_text()
    assert (folder / "comparison/report.md").read_text().split("##")[0] == report.with_suffix(".md").read_text().split(
        "##"
    )[0]


def test_a_run_that_is_complete_here_comes_before_an_exported_one(copied: Path, exported: tuple[Path, Path]) -> None:
    root = copied.parents[1] / "runs"
    shutil.copytree(exported[0] / "conv/seed-0", root / "toy/toy/conv/seed-0")
    (copied / "runs/conv/seed-0.json").write_text("not even JSON")
    main([TOY, "--root", str(root), "--seeds", "2", "--export", str(copied)])
    assert read_exported(copied / "runs/conv/seed-0.json")[0].config.seed == 0  # written again
    (root / "toy/toy/conv/seed-0/result.json").unlink()  # interrupted: the exported one counts
    main([TOY, "--root", str(root), "--seeds", "2", "--from", str(copied)])
    assert not (root / "toy/toy/conv/seed-0/result.json").exists()


def changed(path: Path, **parts: Any) -> None:
    """Writes a file again with another identity, its checksum right."""
    document = json.loads(path.read_text())
    del document["seal"]
    config = {**document["identity"]["config"], **parts.pop("config", {})}
    write_json(path, {**document, "identity": {**document["identity"], **parts, "config": config}})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"config": {"rate": 0.25}}, "another configuration (rate: 0.25 -> 0.05)"),
        ({"config": {"seed": 7}}, "another configuration (seed: 7 -> 1)"),
        ({"arm": "conv"}, "another configuration (arm: 'conv' -> 'coord')"),
        ({"experiment": "other"}, "another configuration (experiment: 'other' -> 'toy')"),
        ({"precision": "bf16"}, "runs of different precision are not compared"),
        ({"precision": "16"}, "unknown precision '16': allowed are bf16, 32"),
        ({"study": "nothing"}, "no study 'nothing'"),
        ({"config": {"unknown": 1}}, "unknown key 'unknown'"),
    ],
)
def test_another_run_under_its_name_is_refused(copied: Path, tmp_path: Path, parts: Any, said: str) -> None:
    changed(copied / "runs/coord/seed-1.json", **parts)
    with pytest.raises(UserError) as error:
        main([TOY, "--root", str(tmp_path), "--from", str(copied), "--seeds", "2"])
    assert said in str(error.value)
    assert "seed-1.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"config": {"rate": 0.25}}, "runs of one arm must not differ but in the seed: rate: 0.05 -> 0.25"),
        ({"config": {"seed": 7}}, "holds another run than its name says: 7, not 1"),
        ({"precision": "bf16"}, "runs of different precision are not compared"),
    ],
)
def test_a_report_refuses_them_too(copied: Path, tmp_path: Path, parts: Any, said: str) -> None:
    changed(copied / "runs/coord/seed-1.json", **parts)
    with pytest.raises(UserError) as error:
        main([TOY, "--root", str(tmp_path), "--from", str(copied), "--report-only"])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{", "is no JSON"),
        (b"[]", "holds no mapping"),
        (b"{}", "has another shape: identity"),
        (None, "is not what was written: its checksum differs"),
    ],
)
def test_a_damaged_file_is_one_line(copied: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    file = copied / "runs/coord/seed-1.json"
    file.write_bytes(file.read_bytes().replace(b'"steps": 11,', b'"steps": 12,') if content is None else content)
    with pytest.raises(UserError) as error:
        main([TOY, "--root", str(tmp_path), "--from", str(copied), "--seeds", "2"])
    assert str(error.value).startswith(f"{file} {said}")
    assert "\n" not in str(error.value)
    report = main([TOY, "--root", str(tmp_path), "--from", str(copied), "--report-only"])  # the others compare
    assert said in report.read_text()
    assert "3 of 4 runs complete" in report.read_text()


def test_a_wrong_folder_is_told_with_the_nearest(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        main([TOY, "--root", str(tmp_path), "--from", str(copied.with_name("tay"))])
    assert f"did you mean {copied.as_posix()!r}?" in str(error.value)


def test_paths_stay_out_and_curves_are_thinned(tmp_path: Path) -> None:
    config = study_spec("gan").config.model_validate({"data_root": str(tmp_path / "secret")})
    run = Run(tmp_path, "gan", "x", "coord", "32", config)
    points = [{"images": k, "loss/g": k / 3} for k in range(1000)]
    write_exported(tmp_path / "a/seed-0.json", run, {}, RESULT, points, ["loss/g", "loss/d"])
    assert "secret" not in (tmp_path / "a/seed-0.json").read_text()
    back, found = read_exported(tmp_path / "a/seed-0.json")
    assert back.proof() == run.proof()
    assert found.environment is None
    (line,) = found.curves.values()
    assert (line.images[0], line.images[-1], len(line.images)) == (0, 999, POINTS)
    assert line.values == [float(f"{x / 3:.4g}") for x in line.images]
    assert found.points()[-1] == {"images": 999, "loss/g": 333.0}
