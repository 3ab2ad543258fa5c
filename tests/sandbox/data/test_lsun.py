"""LSUN's own format with real JPEG records, broken ones among them; a kill in the middle; wrong paths; a full disk."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image
from shop import CHECKOUT

from sandbox.base.errors import UserError
from sandbox.base.locks import hold
from sandbox.data import cache as caches
from sandbox.data import lsun, parts
from sandbox.data.pictures import prepare
from sandbox.data.rooms.rooms import Rooms
from sandbox.data.stand_in import write_stand_in

ROOT = CHECKOUT


def open_images(*arguments: Any, **keywords: Any) -> np.ndarray:
    return lsun.open_images(*arguments, **keywords).images


def jpeg(k: int, size: tuple[int, int] = (96, 64), kind: str = "JPEG") -> bytes:
    """A picture whose middle square is one colour, which says which one it is."""
    image = np.full((size[1], size[0], 3), 255, np.uint8)
    left = (size[0] - min(size)) // 2
    image[:, left : left + min(size)] = [10 + 3 * k, 100, 240 - 3 * k]
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, quality=95)
    return content.getvalue()


def write_lmdb(folder: Path, records: list[bytes]) -> list[str]:
    """As LSUN does: the key of a record is a SHA-1 in hex. Returns the keys in their order in the file."""
    folder.mkdir(parents=True)
    keys = sorted(hashlib.sha1(str(k).encode()).hexdigest() for k in range(len(records)))
    with lmdb.open(str(folder), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for key, record in zip(keys, records, strict=True):
            transaction.put(key.encode(), record)
    return keys


def write_folder(folder: Path, records: list[bytes]) -> None:
    folder.mkdir(parents=True)
    for k, record in enumerate(records):
        (folder / f"{k:03d}.jpg").write_bytes(record)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 8)


def colours(images: np.ndarray) -> np.ndarray:
    return images[:, :, images.shape[2] // 2, images.shape[3] // 2].astype(int)


def expected(ks: list[int]) -> np.ndarray:
    return np.array([[10 + 3 * k, 100, 240 - 3 * k] for k in ks])


def test_a_category_is_decoded_once_and_broken_records_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [jpeg(k, kind="WEBP" if k % 5 == 0 else "JPEG") for k in range(20)]
    records[3], records[11], records[19] = b"no image", records[11][:60], b""
    keys = write_lmdb(tmp_path / "bedroom_train_lmdb", records)
    images = open_images(tmp_path, "bedroom", 16, processes=1)
    good = [k for k in range(20) if k not in (3, 11, 19)]
    assert images.shape == (17, 3, 16, 16)
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    np.testing.assert_allclose(colours(images), expected(good), atol=8)
    assert images.reshape(17, 3, -1).std(axis=2).max() < 6, "what is outside the middle square shows"
    warned = capfd.readouterr().err.splitlines()[-1]
    assert warned.startswith(f"warning: {tmp_path / 'bedroom_train_lmdb'}: 3 of 20 pictures are left out, ")
    assert keys[3] in warned
    folder = tmp_path / "cache" / "bedroom_train_lmdb_16"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [name.split(":")[0] for name in manifest["left_out_named"]] == [keys[3], keys[11], keys[19]]
    assert (manifest["count"], manifest["left_out"], manifest["plan"]["records"]) == (17, 3, 20)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == ["images.npy", "manifest.json"]
    monkeypatch.setattr(caches, "Workers", None)  # the second call reads nothing
    np.testing.assert_array_equal(open_images(tmp_path, "bedroom", 16), images)


def test_several_processes_make_the_same_as_one(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "bedroom_train_lmdb", [jpeg(k) for k in range(20)])
    one = open_images(tmp_path, "bedroom", 16, processes=1, cache=tmp_path / "one")
    two = open_images(tmp_path, "bedroom", 16, processes=2, cache=tmp_path / "two")
    np.testing.assert_array_equal(one, two)


def test_a_folder_of_images_will_do_however_deep(tmp_path: Path) -> None:
    for k, place in enumerate(("a.jpg", "deep/er/b.JPG", "deep/c.webp")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(jpeg(k, kind="WEBP" if place.endswith("webp") else "JPEG"))
    (tmp_path / "notes.txt").write_text("no image")
    images = open_images(tmp_path, "bedroom", 16, processes=1)
    np.testing.assert_allclose(colours(images), expected([0, 2, 1]), atol=8)  # sorted by path: a, deep/c, deep/er/b


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (300, 256), (17, 40)])
def test_the_middle_square_in_rgb(size: tuple[int, int]) -> None:
    assert prepare(jpeg(4, size), 8).shape == (3, 8, 8)
    grey = io.BytesIO()
    Image.new("L", size, 77).save(grey, "PNG")
    np.testing.assert_array_equal(prepare(grey.getvalue(), 8), 77)


def test_resizing_does_not_alias() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    content = io.BytesIO()
    Image.fromarray(stripes).save(content, "PNG")
    np.testing.assert_allclose(prepare(content.getvalue(), 32), 127.5, atol=12)


KILLED = """
import os, signal, sys
from pathlib import Path
from sandbox.data import cache, lsun, parts
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
parts.PART = 8
make, made = parts.make_part, []
def part(*arguments):
    if len(made) == 2:
        {how}
    made.append(1)
    return make(*arguments)
cache.make_part = part
lsun.open_images(Path(sys.argv[1]), "bedroom", 16, processes=1)
"""
HOW = {"kill": (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", -signal.SIGKILL),
       "stop": ("import _thread, time; _thread.interrupt_main(); time.sleep(0.5)", 1)}  # fmt: skip


@pytest.mark.parametrize("how", list(HOW))
def test_stopped_or_killed_it_goes_on_where_it_was(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "bedroom", [jpeg(k) for k in range(30)])
    script, code = HOW[how]
    done = subprocess.run([sys.executable, "-c", KILLED.format(how=script), str(tmp_path)], cwd=ROOT, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode in (code, -signal.SIGINT, 130), done.stderr
    folder = tmp_path / "cache" / "bedroom_16"
    found = sorted(folder.glob("part-*.npy"))
    assert len(found) >= 2
    assert not (folder / "manifest.json").exists()
    found[1].write_bytes(found[1].read_bytes()[:-1] + b"\0\0")  # and one is damaged since
    made: list[Path] = []
    original = parts.make_part
    monkeypatch.setattr(caches, "make_part", lambda *a: (made.append(a[-2]), original(*a))[1])
    images = open_images(tmp_path, "bedroom", 16, processes=1)
    assert found[0] not in made, "a part that was whole has been made again"
    assert found[1] in made
    np.testing.assert_allclose(colours(images), expected(list(range(30))), atol=8)


def test_other_data_at_the_same_place_is_another_cache(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "bedroom_train_lmdb", [jpeg(k) for k in range(4)])
    assert len(open_images(tmp_path, "bedroom", 16, processes=1)) == 4
    shutil.rmtree(tmp_path / "bedroom_train_lmdb")
    write_lmdb(tmp_path / "bedroom_train_lmdb", [jpeg(k) for k in range(9)])
    assert len(open_images(tmp_path, "bedroom", 16, processes=1)) == 9


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone", "folder", "manifest"])
def test_a_damaged_cache_is_told_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    write_folder(tmp_path / "bedroom", [jpeg(k) for k in range(4)])
    before = np.array(open_images(tmp_path, "bedroom", 16, processes=1))
    path = tmp_path / "cache" / "bedroom_16" / "images.npy"
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(content[:-100])
    elif damage == "folder":
        path.mkdir()
    elif damage == "manifest":
        path.write_bytes(content)
        path.with_name("manifest.json").write_text("[]")
    capsys.readouterr()
    np.testing.assert_array_equal(open_images(tmp_path, "bedroom", 16, processes=1), before)
    assert damage == "manifest" or f"{path} is not what was written" in capsys.readouterr().err


def test_a_cache_whose_times_changed_is_checked_once_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "bedroom", [jpeg(k) for k in range(4)])
    open_images(tmp_path, "bedroom", 16, processes=1)
    for path in (tmp_path / "cache" / "bedroom_16" / "images.npy", tmp_path / "bedroom" / "000.jpg"):
        os.utime(path, ns=(5, 5))
    monkeypatch.setattr(caches, "make_part", None)
    assert len(open_images(tmp_path, "bedroom", 16, processes=1)) == 4
    monkeypatch.setattr(caches, "sha256", None)
    monkeypatch.setattr(caches, "contents", None)
    assert len(open_images(tmp_path, "bedroom", 16, processes=1)) == 4


def refusal(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_images(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_path_says_what_to_download_and_where_to_put_it(tmp_path: Path) -> None:
    told = refusal(tmp_path / "nowhere", "bedroom", 64)
    for part in (f"there is no folder {tmp_path / 'nowhere'}", "bedroom_train_lmdb.zip", "about 43 GB", "unzip"):
        assert part in told
    (tmp_path / "bedrooms_train_lmdb").mkdir()
    assert "did you mean 'bedrooms_train_lmdb'?" in refusal(tmp_path, "bedroom", 64)


def test_no_lmdb_and_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "bedroom_train_lmdb").mkdir()
    (tmp_path / "bedroom_train_lmdb/data.mdb").write_bytes(b"torn")
    assert "is no LMDB that can be read" in refusal(tmp_path, "bedroom", 64)
    shutil.rmtree(tmp_path / "bedroom_train_lmdb")
    write_lmdb(tmp_path / "bedroom_train_lmdb", [b"x", b"y"])
    assert "none of the 2 records" in refusal(tmp_path, "bedroom", 64, processes=1)


def test_too_little_disk_is_said_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lmdb(tmp_path / "bedroom_train_lmdb", [jpeg(k) for k in range(4)])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    monkeypatch.setattr(caches, "make_part", None)
    assert "0.0 GB are free: make room, or give --data-cache" in refusal(tmp_path, "bedroom", 64, processes=1)


def test_a_folder_that_cannot_be_written_and_one_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lsun, "WAIT", 0.5)
    write_lmdb(tmp_path / "bedroom_train_lmdb", [jpeg(0)])
    (tmp_path / "cache").write_text("in the way")
    assert "give --data-cache another folder" in refusal(tmp_path, "bedroom", 64)
    holder = "import sys, time, filelock; a = filelock.FileLock(sys.argv[1]); a.acquire(); print(1, flush=True); "
    holder += "time.sleep(60)"
    folder = tmp_path / "other" / "bedroom_train_lmdb_64"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", holder, str(folder / ".lock")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "is being made by another process" in refusal(tmp_path, "bedroom", 64, cache=tmp_path / "other")
        process.kill()


# ---- a part of the data


@pytest.mark.parametrize("is_lmdb", [True, False])
def test_a_run_that_wants_few_images_makes_a_cache_of_few(tmp_path: Path, is_lmdb: bool) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    records = [b"broken" if k == 3 else jpeg(k) for k in range(40)]
    if is_lmdb:
        write_lmdb(data / "bedroom_train_lmdb", records)
    else:
        data.mkdir()
        for k, record in enumerate(records):
            (data / f"{k:02d}.jpg").write_bytes(record)
    few = open_images(data, "bedroom", 16, first=10, cache=cache, processes=1)
    assert len(few) == 15  # two parts of 8, one record broken
    assert [path.name.split("_")[-2:] for path in cache.iterdir()] == [["first", "16"]]
    every = open_images(data, "bedroom", 16, cache=cache, processes=1)
    assert len(every) == 39
    np.testing.assert_array_equal(few, every[:15])
    # The whole cache serves those who want few, and those who want nearly all make the whole.
    assert len(open_images(data, "bedroom", 16, first=10, cache=cache)) == 39
    assert len(open_images(data, "bedroom", 16, first=37, cache=tmp_path / "another")) == 39


# ---- the stand-in


def test_the_stand_in_is_in_lsuns_format_and_never_passes_for_it(tmp_path: Path) -> None:
    folder = write_stand_in(tmp_path, 20, size=40)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["drawn_bedroom_train_lmdb"]
    images = open_images(tmp_path, "drawn_bedroom", 40)
    drawn = Rooms(1, 40).render(np.arange(20)).images
    keys = sorted((hashlib.sha1(str(k).encode()).hexdigest(), k) for k in range(20))
    assert np.abs(images.astype(int) - drawn[[k for _, k in keys]]).mean() < 8  # JPEG
    with pytest.raises(UserError, match=r"holds the category drawn_bedroom, not bedroom: give --category d"):
        open_images(folder, "bedroom", 40)
    with pytest.raises(UserError, match="there already: delete it"):
        write_stand_in(tmp_path, 20)
    with pytest.raises(UserError, match=r"no drawn_bedroom_train_lmdb: `python -m sandbox.data.stand_in .* makes it"):
        open_images(tmp_path / "elsewhere", "drawn_bedroom", 40)


def test_a_stand_in_that_was_stopped_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_stand_in(tmp_path, 3, size=16)
    assert not (tmp_path / "drawn_bedroom_train_lmdb").exists()
    write_stand_in(tmp_path, 2, size=16)
    assert len(open_images(tmp_path, "drawn_bedroom", 16)) == 2
    assert not list(tmp_path.glob(".*unfinished"))


def test_of_two_that_write_a_stand_in_one_is_refused(tmp_path: Path) -> None:
    with (
        hold(tmp_path, ".drawn_bedroom_train_lmdb.lock", "busy"),
        pytest.raises(UserError, match="drawn_bedroom_train_lmdb is being written by another process"),
    ):
        write_stand_in(tmp_path, 2, size=16)


def test_a_stand_in_that_finds_no_room_leaves_nothing_and_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    monkeypatch.setattr("sandbox.data.stand_in._write", full)
    with pytest.raises(OSError, match="no space, or a disk that fails") as told:
        write_stand_in(tmp_path, 2, size=16)
    assert told.value.filename == str(tmp_path / "drawn_bedroom_train_lmdb")
    assert not list(tmp_path.glob("*_lmdb")) + list(tmp_path.glob(".*unfinished"))


def test_an_lmdb_without_records_is_one_line(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "bedroom_train_lmdb")).close()
    with pytest.raises(UserError, match="bedroom_train_lmdb holds no records"):
        open_images(tmp_path, "bedroom", 16)
