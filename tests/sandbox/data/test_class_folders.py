"""Folders of classes: what is listed, what is refused, and a million names."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.data import class_folders
from sandbox.data.class_folders import open_class_folders


def write(root: Path, part: str, classes: dict[str, int]) -> None:
    for name, count in classes.items():
        (root / part / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (4, 4), (k, 0, 0)).save(root / part / name / f"{k}.png")


def test_labels_names_and_pictures_agree(tmp_path: Path) -> None:
    write(tmp_path, "train", {"b": 3, "a": 2})
    write(tmp_path, "val", {"a": 1, "b": 1})
    (tmp_path / "train/a/deeper").mkdir()
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "train/a/deeper/x.JPEG")
    (tmp_path / "train/a/.hidden.png").touch()
    (tmp_path / "train/a/notes.txt").touch()
    train, val = open_class_folders(tmp_path)
    assert train.classes == val.classes == ("a", "b")
    assert [train.label(k) for k in range(len(train))] == [0, 0, 0, 1, 1, 1]
    assert [train.name(k) for k in range(len(train))] == ["a/0.png", "a/1.png", "a/deeper/x.JPEG", *(
        f"b/{k}.png" for k in range(3))]  # fmt: skip
    assert train.read(4).getpixel((0, 0)) == (1, 0, 0)
    assert len(val) == 2


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, "train cannot be read"),
        ({"Train": {"a": 1}, "val": {"a": 1}}, "did you mean 'Train'"),
        ({"train": {"a": 0}, "val": {"a": 1}}, "no pictures in its 1 folders"),
        ({"train": {"cat": 1}, "val": {"cats": 1}}, "val has 1 classes that .*train lacks, such as cats; did you mean"),
    ],
)
def test_what_is_no_such_folder_is_one_line(tmp_path: Path, made: dict[str, dict[str, int]], said: str) -> None:
    for part, classes in made.items():
        write(tmp_path, part, classes)
    with pytest.raises(UserError, match=said) as told:
        open_class_folders(tmp_path)
    assert "\n" not in str(told.value)


def test_a_flat_val_is_explained(tmp_path: Path) -> None:
    write(tmp_path, "train", {"n01440764": 1})
    (tmp_path / "val").mkdir()
    for k in (1, 2):
        (tmp_path / f"val/ILSVRC2012_val_0000000{k}.JPEG").touch()
    with pytest.raises(UserError, match=r"2 pictures and no folders .*ILSVRC2012_validation_ground_truth"):
        open_class_folders(tmp_path)
    for path in (tmp_path / "val").iterdir():
        path.rename(path.with_name(f"my_{path.name}"))
    with pytest.raises(UserError, match="move those of each class into a folder of its name"):
        open_class_folders(tmp_path)


def test_what_is_odd_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "train", {"a": 2, "empty": 0})
    write(tmp_path, "val", {"a": 1})
    (tmp_path / "train/beside.png").touch()
    os.mkfifo(tmp_path / "train/a/pipe.png")
    (tmp_path / "train/a/loop").symlink_to(tmp_path / "train")
    for itself in ("train/a/itself.png", "train/itself"):
        (tmp_path / itself).symlink_to(tmp_path / itself)
    train, _ = open_class_folders(tmp_path)
    assert (train.classes, len(train)) == (("a",), 2)
    left_out = {entry.split(":")[0] for entry in train.left_out}
    assert left_out == {"beside.png", "a/loop", "a/pipe.png", "a/itself.png", "empty"}
    assert "5 entries are left out" in capsys.readouterr().err


def test_a_class_without_held_out_pictures_keeps_its_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "train", {"a": 1, "b": 1, "c": 1})
    write(tmp_path, "val", {"a": 1, "c": 1})
    _, val = open_class_folders(tmp_path)
    assert [val.label(k) for k in range(len(val))] == [0, 2]
    assert "1 of 3 classes, such as b" in capsys.readouterr().err


def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    write(tmp_path, "val", {"a": 1})
    folder = os.fsencode(tmp_path / "train/a")
    os.makedirs(folder)
    Image.new("RGB", (2, 2)).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(os.fsdecode(folder + b"/\xff.png"))
    train, _ = open_class_folders(tmp_path)
    assert train.read(0).size == (2, 2)
    assert train.name(0).isprintable()


def test_the_content_tells_data_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "train", {"a": 3})
        write(tmp_path / name, "val", {"a": 1})

    def content(name: str) -> str:
        return open_class_folders(tmp_path / name)[0].content().sha256

    assert content("one") == content("two")
    Image.new("RGB", (4, 4), (99, 0, 0)).save(tmp_path / "two/train/a/0.png")
    assert content("one") != content("two")
    before = content("two")
    (tmp_path / "two/train/a/0.png").rename(tmp_path / "two/train/a/00.png")
    assert content("two") != before


def test_a_million_names_take_seconds_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    per_class, classes = 1300, 1000

    def stub(folder: Path) -> Iterator[tuple[bytes, str]]:
        if folder.name in ("train", "val"):
            yield from ((b"n%08d" % k, "folder") for k in range(classes))
        else:
            yield from ((b"%s_%05d.JPEG" % (os.fsencode(folder.name), k), "file") for k in range(per_class))

    (tmp_path / "train").mkdir()
    monkeypatch.setattr(class_folders, "_entries", stub)
    started = time.process_time()
    part = class_folders._part(tmp_path, "train", 64)
    assert time.process_time() - started < 60  # 3 s on an idle core
    assert len(part) == 1_300_000
    assert part.name(1_299_999) == "n00000999/n00000999_01299.JPEG"
    assert sum(names.nbytes for names in part.names) < 30e6  # nothing else is kept of them
