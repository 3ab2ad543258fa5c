"""The wheel carries the configs, and what is installed from it works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel of this checkout was unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_every_config_and_its_type_marker(installed: Path) -> None:
    names = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").glob("*/*.yaml")}
    assert names
    assert names == {
        path.relative_to(installed / "sandbox/configs") for path in installed.glob("sandbox/configs/*/*.yaml")
    }
    assert (installed / "sandbox/py.typed").exists()
    assert (installed / "vision/position/study.py").exists()
    assert (installed / "sandbox/report/templates/report.html.jinja").exists()
    assert not (installed / "tests").exists()


def test_an_installed_wheel_finds_its_configs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "sandbox"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "gan/sort_of_clevr" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import sandbox; print(sandbox.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
