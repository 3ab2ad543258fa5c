"""A folder or a file of the user's own, called as one of ours, in the folder that a command starts in."""

from pathlib import Path

import pytest
from shop import python

OURS = ("gan", "vae", "rl", "vision")
COPY = Path(__file__).parents[2]


def hide(folder: Path, package: str, kind: str) -> Path:
    """Puts something of the package's name into a folder; what a line about it names."""
    place = folder / package
    if kind == "a file":
        place.with_suffix(".py").write_text("x = 1\n")
        return place.with_suffix(".py")
    place.mkdir()
    if kind != "a folder without __init__":
        (place / "__init__.py").write_text("raise SystemExit(3)\n" if kind == "one that ends the process" else "")
    if kind == "one with a spec":
        (place / "spec.py").write_bytes((COPY / package / "spec.py").read_bytes())
    if kind == "one with a broken spec":
        (place / "spec.py").write_text("1 / 0\n")
    return place


KINDS = ("a file", "an empty package", "one with a spec", "one with a broken spec", "one that ends the process")
# One kind at each of ours, and every kind at one.
CASES = [*zip(OURS, KINDS, strict=False), *(("rl", kind) for kind in KINDS if kind != "one with a spec")]


@pytest.mark.parametrize(("package", "kind"), dict.fromkeys(CASES))
def test_what_hides_a_study_is_named_in_one_line(tmp_path: Path, package: str, kind: str) -> None:
    place = hide(tmp_path, package, kind)
    done = python("-m", f"sandbox.{package}", cwd=tmp_path)
    line = f"error: {place} hides the sandbox's own package {package!r}: run from another folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sandbox.compare", "rl/mspacman"),
        ("sandbox", "train", "rl/mspacman"),
        ("sandbox.video", "run"),
    ],
)
def test_every_command_that_needs_a_hidden_study_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    hide(tmp_path, "rl", "an empty package")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(
        "{study: rl, experiment: x, arm: coord, precision: '32', config: {steps: 7}}"
    )
    done = python("-m", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "hides the sandbox's own package 'rl'" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("sandbox",), ("sandbox.gan", "--help"), ("sandbox.compare", "gan/rooms", "--help")]
)
def test_the_others_go_on(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    hide(tmp_path, "rl", "an empty package")
    done = python("-m", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert arguments != ("sandbox",) or "hides the sandbox's own package 'rl'" in done.stdout


@pytest.mark.parametrize("name", [*OURS, "configs", "sandbox"])
def test_a_folder_that_hides_nothing_is_in_nobody_s_way(tmp_path: Path, name: str) -> None:
    hide(tmp_path, name, "a folder without __init__")  # of two such, Python takes the package
    study = name if name in OURS else "gan"
    done = python("-m", f"sandbox.{study}", "--stepz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown argument '--stepz'; did you mean '--steps'?")
