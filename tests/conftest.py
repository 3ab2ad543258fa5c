"""Types and shapes are checked at run time in the tests (jaxtyping + beartype), and nowhere else.

Commands run in processes of their own; see tests/sandbox/workshop.
"""

import json
import os
import shutil
import signal
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent / "sandbox" / "workshop"))
install_import_hook(("sandbox", "gan", "vae", "rl", "vision"), "checked.checked")

from shop import (  # noqa: E402
    WORKSHOP,
    Said,
    SmokeRun,
    Workshop,
    fault,
    files,
    open_workshop,
    outcome,
    python,
)

SMOKE = ("--smoke", "--device", "cpu", "--precision", "32", "--steps", "8")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``SLOW_PART=k/n`` leaves an n-th of the slow tests, told by their names."""
    if part := os.environ.get("SLOW_PART"):
        number, parts = map(int, part.split("/"))
        taken, left = [], []
        for item in items:
            other = zlib.crc32(item.nodeid.encode()) % parts != number % parts
            (left if other and item.get_closest_marker("slow") else taken).append(item)
        config.hook.pytest_deselected(items=left)
        items[:] = taken


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A process from which commands start at once."""
    with open_workshop(tmp_path_factory.mktemp("workshop")) as shop:
        yield shop


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Said]) -> tuple[Path, Said]:
    """A folder that one of pytest's processes makes and all of them read, and what was said as it was made."""
    place = factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    root, done = place / name, place / f"{name}.done"
    with FileLock(place / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            done.write_text(json.dumps(asdict(make(root))))
    return root, Said(**json.loads(done.read_text()))


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmokeRun]:
    """The coordinate arm of the default GAN comparison, shrunk."""

    def make(root: Path) -> Said:
        done = python("-m", "sandbox.gan", *SMOKE, "--root", root, cwd=root)
        assert done.returncode == 0, done.stderr
        return Said(done.stdout, done.stderr)

    root, said = once(tmp_path_factory, "smoke_run", make)
    before = files(root)
    yield SmokeRun(SMOKE, root, root / "smoke/gan/sort_of_clevr/coord/seed-0", said.stdout, said.stderr)
    assert files(root) == before, "a test has changed the run that all of them share"


@pytest.fixture(scope="session")
def untouched(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What an uninterrupted toy run ends with, and its number of operations on files."""
    root = tmp_path_factory.mktemp("untouched")
    end = "import atexit, os\nend = os._exit\nos._exit = lambda code: (print(faults.count, flush=True), end(code))"
    command = workshop.toy("--root", root, before=f"{fault(0, 'count')}\n{end}")
    assert command.wait() == 0
    return outcome(root / "toy/toy/coord/seed-0"), int(command.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def compared(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A comparison of two seeds of the toy, and what it said: one run was complete before, one half done."""

    def make(root: Path) -> Said:
        assert workshop.toy("--root", root, "--no-coord").wait() == 0
        assert workshop.toy("--root", root, "--coord", before=fault(30, "kill")).wait() == -signal.SIGKILL
        assert (root / "toy/toy/coord/seed-0/config.yaml").exists()
        assert not (root / "toy/toy/coord/seed-0/result.json").exists()
        before = files(root / "toy/toy/conv/seed-0")
        command = workshop.module("sandbox.compare", WORKSHOP / "toy.yaml", "--root", root, "--seeds", 2)
        assert command.wait() == 0, command.stderr
        assert files(root / "toy/toy/conv/seed-0") == before, "a complete run was touched"
        return Said(command.stdout, command.stderr)

    root, said = once(tmp_path_factory, "compared", make)
    return root / "toy/toy", said


@pytest.fixture
def toy() -> str:
    """The name of the toy study, which lies on this process's path."""
    return "toy"
