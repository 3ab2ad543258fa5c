"""LSUN, or any folder of images, as one array on the disk that training reads without decoding anything.

    opened = open_images(Path("data/lsun"), "bedroom", size=64)
    opened.images                 # (n, 3, 64, 64) uint8, memory-mapped
    opened.content(12_000)        # what the first 12,000 are, told by their content

LSUN (Yu et al. 2015, arXiv 1506.03365) comes as an LMDB a category, in torchvision's layout
``<root>/bedroom_train_lmdb/``, whose values are encoded images. They are cropped to the middle square and resized with
antialiasing once, into a cache beside the data: ``<root>/cache/<source>_<size>/``,
or ``..._first_<records>/`` where a run wants but a part of them; see `sandbox.data.cache`. Other data of the same name
get a folder of their own, with a number behind.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

from sandbox.base.cores import cores
from sandbox.base.errors import UserError, nearest, warn
from sandbox.base.locks import hold
from sandbox.data import parts
from sandbox.data.cache import Cache, Opened
from sandbox.data.lmdbs import Lmdb
from sandbox.data.pictures import MEGAPIXELS
from sandbox.data.records import Folder, Source

STAND_IN = "drawn_bedroom"  # the category that `sandbox.data.stand_in` writes
GIGABYTES = {"bedroom": 43}  # of the archive, where we know it
WAIT = 86_400.0  # seconds for another process that makes the same cache


def open_images(
    root: Path,
    category: str,
    size: int,
    *,
    first: int | None = None,
    cache: Path | None = None,
    processes: int | None = None,
    megapixels: int = MEGAPIXELS,
) -> Opened:
    """The images of a category, memory-mapped; the first call makes the cache, which takes a while, the others none.

    Args:
        root: the folder that holds ``<category>_train_lmdb``, or images.
        category: LSUN's name for it.
        size: pixels along an edge.
        first: how many are wanted; where that is a part of the data, the cache is made of that part alone, and of some
            more, because records may be broken. Image i is the same either way. None: all.
        cache: where the cache goes; None: ``<root>/cache``.
        processes: that decode; None: as many as there are cores.
        megapixels: larger pictures are left out.

    Raises:
        UserError: no data there, no room on the disk, a folder that cannot be written, another process a day at it.
    """
    root = root.expanduser().absolute()
    source = find_source(root, category)
    above = (cache.expanduser() if cache else root / "cache").absolute()
    wanted = [Cache(above / f"{source.path.name}_{size}", source, size, megapixels)]
    if first is not None and (most := _with_spare(first)) < source.count:
        part = replace(source, first=most)
        wanted.append(replace(wanted[0], folder=Path(f"{wanted[0].folder}_first_{most}"), source=part))
    for each in wanted:
        if (opened := _ready(each)) is not None:
            return opened
    folder = _own_folder(wanted[-1])
    _refuse_unwritable(folder)
    with ExitStack() as stack:
        busy = f"{folder} is being made by another process"
        try:
            stack.enter_context(hold(folder, ".lock", busy, patience=1.0))
        except UserError:  # one of several runs of a comparison, say
            warn(f"{busy}: waiting for it")
            stack.enter_context(hold(folder, ".lock", busy, patience=WAIT))
        mine = replace(wanted[-1], folder=folder)
        if (opened := mine.opened()) is None:
            mine.make(processes or cores())
            opened = mine.opened()
        if opened is None:
            raise UserError(f"{source.path} or {folder} changes while it is read: nobody else may write there")
    return opened


def _siblings(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder.with_name(f"{folder.name}-{k}") for k in count(2))


def _ready(wanted: Cache) -> Opened | None:
    """The cache of these very pictures, whatever number it has."""
    for folder in _siblings(wanted.folder):
        if not folder.is_dir():
            return None
        if (opened := replace(wanted, folder=folder).opened()) is not None:
            return opened
    return None


def _own_folder(wanted: Cache) -> Path:
    """Where it is to be made: a folder that no other data's cache lies in; that of pictures since replaced is ours."""
    for folder in _siblings(wanted.folder):
        here = replace(wanted, folder=folder)
        manifest = here.manifest
        known = manifest.plan if manifest else here.planned()
        if known is None or known.place == wanted.plan.place:
            if manifest is not None and manifest.plan != here.plan:
                warn(f"{wanted.source.path} has changed since {folder} was made: its pictures are decoded again")
            return folder
    raise AssertionError("there is always a next number")


def _with_spare(images: int) -> int:
    """Records that hold so many images even if one in a hundred is broken: whole parts."""
    return -(-101 * images // (100 * parts.PART)) * parts.PART


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").touch()
        (folder / ".probe").unlink(missing_ok=True)  # of another run that starts just now
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): give --data-cache another folder") from None


def find_source(root: Path, category: str) -> Source:
    """The LMDB of a category below ``root``, or ``root`` itself: an LMDB, or a folder of images, however deep.

    Raises:
        UserError: neither is there; the message says what to download, how large it is, and where to put it.
    """
    for folder in (root / f"{category}_train_lmdb", root):
        if os.path.exists(folder / "data.mdb"):
            _refuse_another(folder, category)
            return Lmdb(folder)
    for folder in (root / category, root):
        source = Folder(folder)
        if os.path.isdir(folder) and source.keys:
            return source
    if category == STAND_IN:
        raise UserError(f"--data-root: {root} holds no {category}_train_lmdb: "
                        f"`python -m sandbox.data.stand_in {root}` makes it")  # fmt: skip
    archive = f"{category}_train_lmdb.zip"
    size = f"about {GIGABYTES[category]} GB, " if category in GIGABYTES else ""
    found, there = f"there is no folder {root}", []
    if root.is_dir():
        try:
            there = sorted(path.name for path in root.iterdir() if path.is_dir())
        except OSError as error:
            raise UserError(f"--data-root: {root} cannot be read ({error.strerror})") from None
        missing = Folder(root).left_out
        found = f"{root} holds no {category}_train_lmdb and no images"
        found += f" that can be read ({missing[0]})" if missing else ""
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
