"""LSUN, or any folder of images, as one array on the disk that training reads without decoding anything.

    images = open_images(Path("data/lsun"), "bedroom", size=64)  # (n, 3, 64, 64) uint8, memory-mapped

LSUN (Yu et al. 2015, arXiv 1506.03365) comes as an LMDB a category, in torchvision's layout
``<root>/bedroom_train_lmdb/``, whose values are encoded images. They are cropped to the middle square and resized with
antialiasing once, into a cache beside the data: ``<root>/cache/<source>_<size>/``,
or ``..._first_<records>/`` where a run wants but a part of them

    part-00000.npy ...   2048 records each, while it is being made: a kill loses the parts in hand and nothing else
    images.npy           all of them, (n, 3, size, size) uint8
    manifest.json        there once the cache is whole: source, size, counts, checksums, the records that cannot be read
"""

import io
import json
import os
import shutil
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from sandbox.base.errors import UserError, warn
from sandbox.base.files import fsync, sha256, write_atomically, write_json
from sandbox.base.locks import hold
from sandbox.data.records import Source, find_source, prepare

PART = 2048  # records in a part
WAIT = 86_400.0  # seconds for another process that makes the same cache
NAMED = 100  # broken records that the manifest names; all are counted
_FORMAT = 1


def _make_part(source: Source, keys: list[bytes], size: int, path: Path) -> list[str]:
    """Writes one part, whole or absent; its broken records, named. Runs in a process of its own."""
    images, broken = [], []
    for key, content in zip(keys, source.records(keys), strict=True):
        try:
            images.append(prepare(content or b"", size))
        except Exception as error:  # Pillow raises whatever its decoders raise
            broken.append(f"{os.fsdecode(key)}: {type(error).__name__}")
    stacked = np.stack(images) if images else np.empty((0, 3, size, size), dtype=np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, stacked)
    write_json(path.with_suffix(".json"), {"broken": broken, "count": len(images)})
    write_atomically(path, buffer.getvalue())  # after its list: a part that stands has one
    write_atomically(path.with_suffix(".sha256"), sha256(path))
    return broken


@dataclass(frozen=True)
class Cache:
    """The images of a source at a size, ready to be read.

    Attributes:
        folder: where they lie.
        source: where they come from.
        size: pixels along an edge.
    """

    folder: Path
    source: Source
    size: int

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What is known of the whole cache; None until it is whole, or where it is of other data."""
        try:
            document: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        expected = {"format": _FORMAT, "size": self.size, **self.source.fingerprint}
        return document if expected.items() <= document.items() else None

    def images(self) -> UInt8[np.ndarray, "n 3 h w"]:
        """All images, memory-mapped and read-only.

        Raises:
            UserError: the file is not what the manifest says.
        """
        manifest, path = self.manifest, self.folder / "images.npy"
        try:
            images: UInt8[np.ndarray, "n 3 h w"] = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): delete {self.folder}, it is made again") from None
        if manifest is None or images.shape != (manifest["count"], 3, self.size, self.size):
            raise UserError(f"{path} is not what its manifest says: delete {self.folder}, it is made again")
        return images

    def check(self) -> None:
        """Reads everything once and compares with the manifest's checksum.

        Raises:
            UserError: the cache is damaged, or not there.
        """
        manifest = self.manifest
        if manifest is None or sha256(self.folder / "images.npy") != manifest["sha256"]:
            raise UserError(f"{self.folder} is damaged or not whole: delete it, it is made again")

    # ---- making it

    def make(self, processes: int) -> None:
        """Decodes what is missing, several processes at a time, and joins the parts. Stopped, it goes on from there."""
        keys = self.source.keys
        parts = {self.folder / f"part-{k:05d}.npy": keys[start : start + PART]
                 for k, start in enumerate(range(0, len(keys), PART))}  # fmt: skip
        plan = {"format": _FORMAT, "size": self.size, **self.source.fingerprint}
        if _read(self.folder / "plan.json") != plan:  # parts of other data, or none yet
            for old in self.folder.glob("part-*"):
                old.unlink()
            write_json(self.folder / "plan.json", plan)
        missing = {path: names for path, names in parts.items() if not _stands(path)}
        self._refuse_full_disk(len(keys))
        self._decode(missing, len(keys), sum(map(len, parts.values())) - sum(map(len, missing.values())), processes)
        self._join(list(parts), plan)

    def _decode(self, missing: dict[Path, list[bytes]], total: int, done: int, processes: int) -> None:
        label = f"{self.source.path.name} at {self.size}x{self.size}"
        with (
            tqdm(total=total, initial=done, unit="image", desc=label, dynamic_ncols=True) as bar,
            _pool(processes) as pool,
        ):
            waiting: dict[Future[list[str]], int] = {}
            queue = iter(missing.items())
            try:
                while True:
                    for path, keys in islice(queue, 2 * processes - len(waiting)):
                        # A copy: the keys that the source has listed must not travel with every part.
                        waiting[pool.submit(_make_part, replace(self.source), keys, self.size, path)] = len(keys)
                    if not waiting:
                        break
                    future = next(as_completed(waiting))
                    future.result()
                    bar.update(waiting.pop(future))
            except BaseException:  # a Ctrl-C: the parts in hand are finished, the others are left
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _join(self, parts: list[Path], plan: dict[str, Any]) -> None:
        notes = [_read(path.with_suffix(".json")) or {} for path in parts]
        count, broken = sum(note["count"] for note in notes), [name for note in notes for name in note["broken"]]
        if count == 0:
            raise UserError(f"none of the {len(broken)} records of {self.source.path} is an image that can be read")
        beside, target = self.folder / ".images.npy.part", self.folder / "images.npy"
        joined = np.lib.format.open_memmap(beside, "w+", np.uint8, (count, 3, self.size, self.size))
        start = 0
        for path in parts:
            images = np.load(path, mmap_mode="r")
            joined[start : start + len(images)] = images
            start += len(images)
        joined.flush()
        del joined
        fsync(beside)
        beside.replace(target)
        found = {"count": count, "broken": len(broken), "broken_named": broken[:NAMED], "sha256": sha256(target)}
        write_json(self.folder / "manifest.json", {**plan, **found})
        for leftover in (*self.folder.glob("part-*"), self.folder / "plan.json"):
            leftover.unlink()
        if broken:
            which = "all" if len(broken) <= NAMED else f"the first {NAMED}"
            warn(f"{len(broken)} of {plan['records']} records cannot be read and are left out, {broken[0]} among them; "
                 f"{self.folder / 'manifest.json'} names {which}")  # fmt: skip

    def _refuse_full_disk(self, records: int) -> None:
        # Parts and the joined file stand side by side at the end.
        each = 3 * self.size**2
        written = sum(path.stat().st_size for path in self.folder.glob("part-*.npy"))
        needed, free = 2 * records * each - written, shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.folder} needs {needed / 1e9:.1f} GB while it is made, half of it afterwards, and "
                f"{free / 1e9:.1f} GB are free: make room, or give --data-cache another folder"
            )


def _pool(processes: int) -> Executor:
    """One process needs no other; several start afresh: forked ones would inherit torch's threads and locks."""
    if processes == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_be_quiet)


def _be_quiet() -> None:
    """Leaves Ctrl-C to the process that started this one: it stops them all."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _stands(path: Path) -> bool:
    """Whether a part is whole: it has its checksum, and the checksum holds."""
    try:
        whole = path.with_suffix(".sha256").read_text() == sha256(path)
    except OSError:
        return False
    return whole and _read(path.with_suffix(".json")) is not None


def open_images(
    root: Path,
    category: str,
    size: int,
    *,
    first: int | None = None,
    cache: Path | None = None,
    processes: int | None = None,
) -> UInt8[np.ndarray, "n 3 size size"]:
    """The images of a category, memory-mapped; the first call makes the cache, which takes a while, the others none.

    Args:
        root: the folder that holds ``<category>_train_lmdb``, or images.
        category: LSUN's name for it.
        size: pixels along an edge.
        first: how many are wanted; where that is a part of the data, the cache is made of that part alone, and of some
            more, because records may be broken. Image i is the same either way. None: all.
        cache: where the cache goes; None: ``<root>/cache``.
        processes: that decode; None: as many as there are cores.

    Raises:
        UserError: no data there, no room on the disk, a folder that cannot be written, another process a day at it.
    """
    root = root.expanduser().absolute()
    source = find_source(root, category)
    folder = (cache or root / "cache") / f"{source.path.name}_{size}"
    ready = Cache(folder, source, size)
    if first is not None and (most := _with_spare(first)) < source.count and ready.manifest is None:
        folder = folder.with_name(f"{folder.name}_first_{most}")
        ready = Cache(folder, replace(source, first=most), size)
    if ready.manifest is None:
        _refuse_unwritable(folder)
        with ExitStack() as stack:
            busy = f"{folder} is being made by another process"
            try:
                stack.enter_context(hold(folder, ".lock", busy, patience=1.0))
            except UserError:  # one of several runs of a comparison, say
                warn(f"{busy}: waiting for it")
                stack.enter_context(hold(folder, ".lock", busy, patience=WAIT))
            if ready.manifest is None:
                ready.make(processes or os.cpu_count() or 1)
    return ready.images()


def _with_spare(images: int) -> int:
    """Records that hold so many images even if one in a hundred is broken: whole parts."""
    return -(-101 * images // (100 * PART)) * PART


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").touch()
        (folder / ".probe").unlink()
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): give --data-cache another folder") from None
