"""Pictures, their cache and configurations, any file of theirs damaged in any way."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from damage import ANYTHING, FILES, SHAPES, Answer, Damage, commanded, marked, other, snapshot
from PIL import Image
from shop import WORKSHOP

from sandbox.cli.compare_parser import parse as parse_comparison
from sandbox.cli.train import parse as parse_run
from sandbox.data import cache as caches
from sandbox.data import parts
from sandbox.data.cache import Opened
from sandbox.data.lsun import open_images

COUNT = 20
EMPTY = [*ANYTHING, "folder"]  # what can happen to a file that has no content


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 8)


def jpeg(k: int) -> bytes:
    content = io.BytesIO()
    noise = np.random.default_rng(k).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((48, 36)).save(content, "JPEG", quality=90)
    return content.getvalue()


def write_pictures(folder: Path, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for k in range(COUNT):
        (folder / f"{k:02d}.jpg").write_bytes(jpeg(first + k))


def write_lmdb(folder: Path) -> None:
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**20) as environment, environment.begin(write=True) as transaction:
        for k in range(COUNT):
            transaction.put(f"{k:040x}".encode(), jpeg(k))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``pictures`` and ``others``, each with its cache, whole and half made; ``bedroom_train_lmdb``."""
    root = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART", 8)
        for name, first in (("pictures", 0), ("others", 100)):
            write_pictures(root / name, first)
            open_images(root / name, "bedroom", 16, cache=root / f"whole-{name}", processes=1)
            with patch.context() as stopped:
                stopped.setattr(caches.Cache, "_join", _stop)
                with pytest.raises(KeyboardInterrupt):
                    open_images(root / name, "bedroom", 16, cache=root / f"half-{name}", processes=1)
        write_lmdb(root / "bedroom_train_lmdb")
    return root


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


PLACES = {"whole": ("images.npy", "manifest.json", ".lock"),
          "half": ("plan.json", "part-00000.npy", "part-00001.json", ".lock")}  # fmt: skip
CASES = [
    (state, place, kind)
    for state, places in PLACES.items()
    for place in places
    for kind in (
        *(EMPTY if place == ".lock" else FILES), "of other data", "of other data, with the rest",
        *(SHAPES if place.endswith("json") else ()),
    )
]  # fmt: skip


@pytest.mark.parametrize(("state", "place", "kind"), marked(CASES, 3))
def test_a_damaged_cache_is_made_again(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str, place: str, kind: str
) -> None:
    data, cache = made / "pictures", tmp_path / "cache"
    expected = open_images(data, "bedroom", 16, cache=made / "whole-pictures")
    shutil.copytree(made / f"{state}-pictures", cache)
    path, theirs = cache / "pictures_16" / place, made / f"{state}-others" / "others_16"
    if kind == "of other data, with the rest":
        for name in (place, *(name.name for name in theirs.glob("part-*") if place.startswith("part"))):
            other(theirs / name)(cache / "pictures_16" / name)
    else:
        (other(theirs / place) if kind == "of other data" else FILES.get(kind) or SHAPES[kind])(path)
    if path.is_file() and place == "images.npy":
        os.utime(path)  # while nothing is known to have been written, so many pictures are not read at each start
    found: list[Opened] = []
    answer = commanded(lambda: found.append(open_images(data, "bedroom", 16, cache=cache, processes=1)), capsys)
    assert answer.code == 0, answer.lines
    np.testing.assert_array_equal(found[0].images, expected.images)
    assert found[0].content(COUNT) == expected.content(COUNT)
    assert all(str(path) in line for line in answer.warnings), answer.lines
    assert answer.warnings or place != "images.npy"


# ---- the data themselves, which nobody has a checksum of: what is not a picture is left out and named


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_picture_of_a_folder_is_left_out_and_named(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    shutil.copytree(made / "pictures", tmp_path / "pictures")
    FILES[kind](tmp_path / "pictures" / "07.jpg")
    found: list[Opened] = []
    answer = commanded(lambda: found.append(open_images(tmp_path / "pictures", "bedroom", 16, processes=1)), capsys)
    assert answer.code == 0, answer.lines
    whole = open_images(made / "pictures", "bedroom", 16, cache=made / "whole-pictures")
    if len(found[0].images) == COUNT:  # a picture still
        np.testing.assert_array_equal(np.delete(found[0].images, 7, 0), np.delete(whole.images, 7, 0))
    else:
        np.testing.assert_array_equal(found[0].images, np.delete(whole.images, 7, 0))
        assert kind in ("missing", "folder") or ["07.jpg" in line for line in answer.warnings] == [True], answer.lines
    assert found[0].content(COUNT) != whole.content(COUNT), "other data are told by their content"


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_lmdb_is_refused_or_says_what_it_leaves_out(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = tmp_path / "bedroom_train_lmdb"
    shutil.copytree(made / folder.name, folder)
    FILES[kind](folder / "data.mdb")
    before = snapshot(folder) if kind != "large" else {}
    found: list[Opened] = []
    answer = commanded(lambda: found.append(open_images(tmp_path, "bedroom", 16, processes=1)), capsys)
    if answer.code:
        (line,) = answer.lines
        assert answer.code == 2
        assert str(tmp_path) in line
        assert any(remedy in line for remedy in ("download", "unpack", "unzip")), line
    else:
        assert len(found[0].images) == COUNT or [str(folder) in line for line in answer.warnings] == [True]
    assert not before or snapshot(folder) == before, "the data are nobody's to change"


# ---- configurations


def parsed(path: Path, capsys: pytest.CaptureFixture[str]) -> list[Answer]:
    return [commanded(lambda: parse_comparison([str(path)]), capsys),
            commanded(lambda: parse_run(None, [str(path)]), capsys)]  # fmt: skip


@pytest.mark.parametrize("kind", [*FILES, *SHAPES])
def test_a_damaged_configuration_is_refused_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toy: str, kind: str
) -> None:
    path = tmp_path / "toy.yaml"
    shutil.copyfile(WORKSHOP / "toy.yaml", path)
    damage: Damage = {**FILES, **SHAPES}[kind]
    damage(path)
    harmless = {"a byte short", "flipped at 0.37"}
    for answer in parsed(path, capsys):
        if answer.code == 0:
            assert kind in harmless, f"{path.read_bytes()!r}"
            continue
        (line,) = answer.lines
        assert answer.code == 2
        assert str(path) in line
        assert len(line) < 600
