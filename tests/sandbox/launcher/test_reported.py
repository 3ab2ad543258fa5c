"""Reports of the runs that there are: which of them are paired, which are left out, which are damaged."""

import shutil
from pathlib import Path

import pytest
from shop import TOY, Said, Workshop, compare, copied, outcome, scores_of

from sandbox.base.errors import UserError
from sandbox.cli.compare import main


def test_a_report_alone_says_what_is_missing(compared: tuple[Path, Said], tmp_path: Path, toy: str) -> None:
    folder = copied(compared[0], tmp_path)
    (folder / "coord/seed-1/result.json").unlink()
    shutil.rmtree(folder / "conv/seed-0")
    report = main([TOY, "--root", str(tmp_path), "--report-only"]).read_text()
    assert "2 of 4 runs" in report
    assert [row["state"] for row in scores_of(folder)] == ["new", "complete", "complete", "interrupted"]


def test_seeds_on_which_recipes_are_chosen_are_not_reported(
    workshop: Workshop, tmp_path: Path, toy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*flags: str) -> tuple[set[str], str]:
        main([TOY, "--root", str(tmp_path), *flags])
        return {row["seed"] for row in scores_of(tmp_path / "toy/toy")}, capsys.readouterr().err

    assert compare(workshop, tmp_path, "--seeds", "100,").wait() == 0
    assert told("--report-only") == ({"100"}, ""), "there are no others"
    assert compare(workshop, tmp_path, "--seeds", "0,7").wait() == 0
    seeds, said = told("--report-only")
    assert seeds == {"0", "7"}
    assert "seeds from 100 on choose recipes, so 100 in" in said
    assert told("--report-only", "--seeds", "0,100") == ({"0", "100"}, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("arm: coord", "arm: other"), r"coord/seed-1 holds another run than its name says: 'other', not 'coord'"),
        (("seed: 1", "seed: 7"), r"seed-1 holds another run than its name says: 7, not 1"),
        (("rate: 0.05", "rate: 0.5"), r"runs of one arm must not differ but in the seed: rate: 0.05 -> 0.5"),
    ],
)
def test_a_report_pairs_only_what_belongs_together(
    compared: tuple[Path, Said], tmp_path: Path, toy: str, change: tuple[str, str], message: str
) -> None:
    config = copied(compared[0], tmp_path) / "coord/seed-1/config.yaml"
    assert change[0] in config.read_text()
    lines = config.read_text().replace(*change, 1).splitlines(keepends=True)
    config.write_text("".join(lines[:-1]))  # without the checksum: changed on purpose
    with pytest.raises(UserError, match=message):
        main([TOY, "--root", str(tmp_path), "--report-only"])


@pytest.mark.parametrize(
    ("name", "content"), [("result.json", '{"scores": {"a": "b"}}'), ("config.yaml", "study: toy")]
)
def test_a_damaged_run_is_reported_and_the_others_with_it(
    workshop: Workshop, compared: tuple[Path, Said], tmp_path: Path, toy: str, name: str, content: str
) -> None:
    folder = copied(compared[0], tmp_path)
    (folder / "coord/seed-1" / name).write_text(content)
    report = main([TOY, "--root", str(tmp_path), "--report-only"]).read_text()
    assert "3 of 4 runs" in report
    assert str(folder / "coord/seed-1" / name) in report
    if name == "config.yaml":  # nobody knows what it was: before anything is trained
        with pytest.raises(UserError, match=f"seed-1/{name}"):
            main([TOY, "--root", str(tmp_path), "--seeds", "2"])
    else:  # its checkpoint knows
        command = compare(workshop, tmp_path, "--seeds", 2)
        assert command.wait() == 0, command.stderr
        assert outcome(folder / "coord/seed-1") == outcome(compared[0] / "coord/seed-1")
        assert (folder / "coord/seed-1/damaged-result.json").read_text() == content


def test_damaged_lines_of_a_curve_are_left_out(
    compared: tuple[Path, Said], tmp_path: Path, toy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = copied(compared[0], tmp_path) / "coord/seed-1/metrics.jsonl"
    metrics.write_text('{"ima\n[1]\n{"images": "x"}\n' + metrics.read_text())
    main([TOY, "--root", str(tmp_path), "--report-only"])
    assert "3 damaged lines are left out" in capsys.readouterr().err


def test_settings_go_not_with_a_report_alone(toy: str) -> None:
    with pytest.raises(UserError, match="--rate goes not with --report-only"):
        main([TOY, "--report-only", "--rate", "0.5"])


def test_a_folder_that_is_only_like_a_seed_s_is_none(compared: tuple[Path, Said], tmp_path: Path, toy: str) -> None:
    folder = copied(compared[0], tmp_path)
    for name in ("seed-01", "seed-99999999999", "seed-2147483648"):
        shutil.copytree(folder / "coord/seed-1", folder / "coord" / name)
    main([TOY, "--root", str(tmp_path), "--report-only"])
    assert {row["seed"] for row in scores_of(folder)} == {"0", "1"}
