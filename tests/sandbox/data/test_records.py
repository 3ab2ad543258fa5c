"""Folders of odd files, damaged LMDBs, and what tells one user's data from another's."""

import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from calls import chatter, crash, divide, double
from pictures import png_of
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.data import lsun, parts
from sandbox.data.apart import Apart, Died
from sandbox.data.cache import Opened
from sandbox.data.lmdbs import read_head
from sandbox.data.lsun import open_images
from sandbox.data.pictures import prepare
from sandbox.data.records import Folder, decoded
from sandbox.data.stand_in import write_stand_in

PAGE = 4096


def opened(root: Path, **options: object) -> Opened:
    return open_images(root, options.pop("category", "drawn_bedroom"), 16, processes=1, **options)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stand_in")
    write_stand_in(root, 60, 32)
    return root


@pytest.fixture
def pictures(tmp_path: Path, stand_in: Path) -> Path:
    """A folder of five pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(5):
        image = np.full((24, 24, 3), 40 * k, np.uint8)
        Image.fromarray(image).save(folder / f"{k}.png")
    return folder


# ---- LMDB


def damaged(stand_in: Path, folder: Path, content: bytes) -> Path:
    place = folder / "drawn_bedroom_train_lmdb"
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    place.mkdir(parents=True)
    (place / "data.mdb").write_bytes(content)
    return place / "data.mdb"


def original(stand_in: Path) -> bytes:
    return (stand_in / "drawn_bedroom_train_lmdb/data.mdb").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.999])
def test_an_lmdb_that_was_not_unpacked_to_its_end_says_so(stand_in: Path, tmp_path: Path, share: float) -> None:
    content = original(stand_in)
    file = damaged(stand_in, tmp_path, content[: int(share * len(content))])
    with pytest.raises(
        UserError, match=r"data\.mdb (is empty|is no LMDB|has [\d,]+ of the [\d,]+ bytes).*again"
    ) as caught:
        opened(tmp_path)
    assert str(file) in str(caught.value)
    if share == 0.3:
        assert f"has {int(share * len(content)):,} of the {len(content):,} bytes that its own pages say" in str(
            caught.value
        )


def test_the_head_is_that_of_the_newest_transaction(stand_in: Path) -> None:
    head = read_head(stand_in / "drawn_bedroom_train_lmdb/data.mdb")
    assert (head.page, head.entries) == (PAGE, 60)
    assert (head.last + 1) * PAGE == len(original(stand_in))


@pytest.mark.parametrize("kind", ["zeros", "ones", "noise"])
def test_damaged_pages_are_skipped_and_named_or_said_and_never_a_crash(
    stand_in: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, rng, outcomes = original(stand_in), random.Random(0), set()
    pages = len(content) // PAGE
    for page in (0, 1, pages - 1, *rng.sample(range(2, pages), 5)):
        part = {"zeros": b"\0" * PAGE, "ones": b"\xff" * PAGE, "noise": rng.randbytes(PAGE)}[kind]
        file = damaged(stand_in, tmp_path, content[: page * PAGE] + part + content[(page + 1) * PAGE :])
        capsys.readouterr()
        images, said = np.empty(0), ""
        try:
            images = opened(tmp_path).images
        except UserError as error:
            said = str(error)
        outcomes.add("refused" if said else "read" if len(images) == 60 else "skipped")
        if said:
            assert said.startswith(f"{file} is damaged where the names of its ")
            assert said.endswith("unpack the archive again, or download it anew")
        assert said or len(images) == 60 or "pictures are left out" in capsys.readouterr().err
    assert "refused" in outcomes


def test_a_record_whose_reading_ends_the_process_is_skipped_and_named(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(stand_in / "drawn_bedroom_train_lmdb", tmp_path / "drawn_bedroom_train_lmdb")
    calls = Apart.call

    def call(self: Apart, function: object, source: object, *arguments: object, told: object = print) -> object:
        if arguments and isinstance(arguments[0], set) and 7 not in arguments[0]:
            told(6)  # type: ignore[operator]
            told(7)  # type: ignore[operator]
            raise Died("killed by SIGBUS")
        return calls(self, function, source, *arguments, told=told)  # type: ignore[arg-type]

    monkeypatch.setattr(Apart, "call", call)
    assert len(opened(tmp_path).images) == 59
    assert "1 of 60 pictures are left out" in capsys.readouterr().err


def test_a_file_that_is_damaged_all_over_is_given_up(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stand_in / "drawn_bedroom_train_lmdb", tmp_path / "drawn_bedroom_train_lmdb")
    monkeypatch.setattr(parts, "CRASHES", 3)

    def call(self: Apart, function: object, source: object, *arguments: object, told: object = print) -> object:
        if not arguments or not isinstance(arguments[0], set):
            return [b"%d" % k for k in range(60)]
        told(len(arguments[0]))  # type: ignore[operator]
        raise Died("killed by SIGBUS")

    monkeypatch.setattr(Apart, "call", call)
    with pytest.raises(UserError, match=r"damaged in more than 3 places \(killed by SIGBUS\): unpack"):
        opened(tmp_path)


def test_a_crash_is_caught_and_the_next_call_starts_anew() -> None:
    with closing(Apart()) as apart:
        with pytest.raises(Died, match="killed by SIGBUS"):
            apart.call(crash)
        assert apart.call(double, 4) == 8
        with pytest.raises(ZeroDivisionError):
            apart.call(divide, 1)
        assert apart.call(double, 5) == 10
        assert apart.call(chatter) == 300_000
        assert apart.call(double, 6) == 12


# ---- folders


def test_what_is_left_out_is_counted_and_named_and_links_are_followed_once(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(pictures / "pipe.jpg")
    (pictures / "zero.jpg").symlink_to("/dev/zero")
    (pictures / "dead.png").symlink_to("nowhere.png")
    (pictures / "deep").symlink_to("..")  # a circle, and another folder with pictures below it
    (tmp_path / "other").mkdir()
    shutil.copy(pictures / "0.png", tmp_path / "other" / "x.png")
    (pictures / "one").symlink_to(tmp_path / "other")
    (pictures / "two").symlink_to(tmp_path / "other")
    (pictures / "huge.png").write_bytes(png_of(13_000, 13_000))
    (pictures / "e.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (pictures / "empty.png").touch()
    images = opened(pictures, category="bedroom").images
    assert len(images) == 6  # five, and one behind a link
    warned = capsys.readouterr().err
    assert "9 of 15 pictures are left out" in warned
    manifest = next((pictures / "cache").glob("*/manifest.json")).read_text()
    for part in ("pipe.jpg: is a pipe", "zero.jpg: is a device", "dead.png: is a link to what is not there",
                 "leads to a folder that is read already", "huge.png: has 169 megapixels, the limit is 64",
                 "e.jpg: is none of JPEG", "empty.png: is empty"):  # fmt: skip
        assert part in manifest


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_must_not_be_read_is_named(pictures: Path) -> None:
    (pictures / "secret").mkdir(mode=0)
    assert any("secret: cannot be read" in line for line in Folder(pictures).left_out)


def test_pictures_in_memory_are_read_by_the_same_rules(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "huge.png").write_bytes(png_of(13_000, 13_000))
    source = Folder(pictures)
    images, content = decoded(source, source.keys, 8)
    assert len(images) == content.records == 5
    assert "1 of 6 pictures are left out, huge.png: has 169 megapixels, the limit is 64" in capsys.readouterr().err
    np.testing.assert_array_equal(images[3], prepare((pictures / "3.png").read_bytes(), 8))
    for path in pictures.glob("*.png"):
        path.write_bytes(b"none")
    with pytest.raises(UserError, match=r"none of its 6 pictures can be decoded, 0\.png: is none of"):
        decoded(Folder(pictures), source.keys, 8)


# ---- whose data


def test_two_folders_of_one_name_and_size_have_caches_of_their_own(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "pictures"
    shutil.copytree(pictures, other)
    content = (other / "0.png").read_bytes()
    (other / "0.png").write_bytes((other / "1.png").read_bytes().ljust(len(content), b"\0")[: len(content)])
    (other / "1.png").write_bytes(content)
    one, two = (opened(root, category="bedroom", cache=tmp_path / "cache") for root in (pictures, other))
    assert not np.array_equal(one.images, two.images)
    assert one.content(5) != two.content(5)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"pictures_16", "pictures_16-2"}
    assert opened(pictures, category="bedroom", cache=tmp_path / "cache").content(5) == one.content(5)


def test_a_copy_shares_the_cache_and_is_the_same_data(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(pictures, category="bedroom", cache=tmp_path / "cache")
    shutil.copytree(pictures, tmp_path / "copy/pictures", copy_function=shutil.copyfile)
    monkeypatch.setattr(parts, "prepare", None)
    two = opened(tmp_path / "copy/pictures", category="bedroom", cache=tmp_path / "cache")
    assert one.content(5).sha256 == two.content(5).sha256


def test_pictures_replaced_in_place_are_seen(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = opened(pictures, category="bedroom")
    first, second = (pictures / "0.png").read_bytes(), (pictures / "1.png").read_bytes()
    size = max(len(first), len(second))
    (pictures / "0.png").write_bytes(second.ljust(size, b"\0"))
    (pictures / "1.png").write_bytes(first.ljust(size, b"\0"))
    after = opened(pictures, category="bedroom")
    assert "has changed since" in capsys.readouterr().err
    np.testing.assert_array_equal(before.images[[1, 0, 2, 3, 4]], after.images)
    assert before.content(5) != after.content(5)


def test_the_content_of_a_part_does_not_depend_on_what_else_is_cached(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 8)
    few = opened(stand_in, first=10, cache=tmp_path / "few")
    every = opened(stand_in, cache=tmp_path / "every")
    assert len(few.images) < len(every.images)
    assert few.content(10) == every.content(10) != every.content(30)
    assert lsun.STAND_IN in str(few.content(10))
