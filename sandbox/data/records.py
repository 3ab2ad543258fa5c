"""Encoded images one by one: an LMDB in LSUN's layout, or a folder of files; see `sandbox.data.lsun`."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sandbox.base.errors import UserError, nearest

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
STAND_IN = "drawn_bedroom"  # the category that `sandbox.data.stand_in` writes
GIGABYTES = {"bedroom": 43}  # of the archive, where we know it


@dataclass(frozen=True)
class Source:
    """Where encoded images come from.

    Attributes:
        path: an LMDB's folder, or a folder of images.
        is_lmdb: which of the two.
        first: only so many records, in the order of their names; None: all. LSUN's names are in no order of their own.
    """

    path: Path
    is_lmdb: bool
    first: int | None = None

    @cached_property
    def keys(self) -> list[bytes]:
        """The name of every record: an LMDB's key, or a file's path below the folder; sorted."""
        if not self.is_lmdb:
            files = (Path(place, name) for place, _, names in os.walk(self.path) for name in names)
            paths = (os.fsencode(file.relative_to(self.path)) for file in files if file.suffix.lower() in ENDINGS)
            return sorted(paths)[: self.first]
        with _lmdb(self.path) as environment, environment.begin(buffers=False) as transaction:
            return list(islice(transaction.cursor().iternext(keys=True, values=False), self.first))

    @cached_property
    def count(self) -> int:
        """How many records these are; of an LMDB known without reading their names."""
        if not self.is_lmdb:
            return len(self.keys)
        with _lmdb(self.path) as environment:
            entries = int(environment.stat()["entries"])
        return entries if self.first is None else min(entries, self.first)

    def records(self, keys: list[bytes]) -> Iterator[bytes | None]:
        """The encoded images of these keys, None where one is not there any more."""
        if not self.is_lmdb:
            yield from (_bytes(self.path / os.fsdecode(key)) for key in keys)
            return
        with _lmdb(self.path) as environment, environment.begin(buffers=False) as transaction:
            yield from (transaction.get(key) for key in keys)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from others at the same place: name, number of records, bytes on the disk."""
        files = [self.path / "data.mdb"] if self.is_lmdb else [self.path / os.fsdecode(key) for key in self.keys]
        size = sum(file.stat().st_size for file in files)
        return {"source": self.path.name, "records": self.count, "bytes": size}


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _lmdb(path: Path) -> Any:
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1)
    except lmdb.Error as error:
        raise UserError(f"{path} is no LMDB that can be read ({str(error).rsplit(': ', 1)[-1]}): "
                        "unpack the archive again, or download it anew") from None  # fmt: skip


def find_source(root: Path, category: str) -> Source:
    """The LMDB of a category below ``root``, or ``root`` itself: an LMDB, or a folder of images, however deep.

    Raises:
        UserError: neither is there; the message says what to download, how large it is, and where to put it.
    """
    for folder in (root / f"{category}_train_lmdb", root):
        if (folder / "data.mdb").is_file():
            _refuse_another(folder, category)
            return Source(folder, is_lmdb=True)
    for folder in (root / category, root):
        source = Source(folder, is_lmdb=False)
        if folder.is_dir() and source.keys:
            return source
    if category == STAND_IN:
        raise UserError(f"--data-root: {root} holds no {category}_train_lmdb: "
                        f"`python -m sandbox.data.stand_in {root}` makes it")  # fmt: skip
    archive = f"{category}_train_lmdb.zip"
    size = f"about {GIGABYTES[category]} GB, " if category in GIGABYTES else ""
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = f"{root} holds no {category}_train_lmdb and no images" if root.is_dir() else f"there is no folder {root}"
    raise UserError(
        f"--data-root: {found}{nearest(f'{category}_train_lmdb', there)}. LSUN is not downloaded for you: "
        f"`curl -O http://dl.yf.io/lsun/scenes/{archive}` ({size}as much again unpacked), `unzip {archive} -d {root}`; "
        "a folder of images will do, too"
    )


def _refuse_another(folder: Path, category: str) -> None:
    # Scores go under the category's name: a stand-in must not pass for photographs.
    other = folder.name.removesuffix("_train_lmdb")
    if folder.name.endswith("_train_lmdb") and other != category:
        raise UserError(f"--data-root: {folder} holds the category {other}, not {category}: give --category {other}")


def prepare(content: bytes, size: int) -> UInt8[np.ndarray, "3 size size"]:
    """An encoded image's middle square, resized with antialiasing (bicubic) to ``size``, RGB.

    Raises:
        OSError, ValueError, SyntaxError: it cannot be decoded; Pillow has many ways to say so.
    """
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (2 * size, 2 * size))  # a JPEG decodes at a fraction of its size, never below twice ours
        square = min(image.size)
        left, top = (image.width - square) // 2, (image.height - square) // 2
        cut = image.convert("RGB").crop((left, top, left + square, top + square))
    resized = cut.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1))
