"""Pictures decoded once, as one array on the disk that training reads without decoding; see `sandbox.data.lsun`.

part-00000.npy ...   2048 records each, while it is being made: a kill loses the parts in hand and nothing else
images.npy           all of them, (n, 3, size, size) uint8
manifest.json        there once the cache is whole: source, content, counts, checksums, the records left out
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from sandbox.base.errors import UserError, warn
from sandbox.base.files import fsync, remove, write_json
from sandbox.base.reading import ReadBack, Unreadable, read_json, sha256
from sandbox.data import parts as work
from sandbox.data.parts import Finished, Part, Workers, contents, finished, make_part
from sandbox.data.pictures import MEGAPIXELS
from sandbox.data.records import NAMED, Source, told
from sandbox.experiment.content import Content, joined


class Plan(ReadBack):
    """What a cache is made of, told by what is quickly seen of it."""

    format: Literal[2]  # 1: other colours for 16-bit grey, transparency and turned pictures; no content
    size: int
    megapixels: int
    kind: str
    source: str
    place: str
    records: int
    stamp: str

    def fits(self, other: "Plan") -> bool:
        """Whether it is of the same records at the same size; their times of change may differ."""
        changes = {"place", "stamp", "source"}  # in a copy
        return self.model_dump(exclude=changes) == other.model_dump(exclude=changes)


class Manifest(ReadBack):
    """What is known of a whole cache."""

    plan: Plan
    count: int = Field(ge=1)
    parts: list[Part]
    left_out: int = Field(ge=0)
    left_out_named: list[str]
    file: str  # checksum of images.npy
    file_size: int
    file_changed: int  # ns: unchanged since it was checked


@dataclass(frozen=True)
class Opened:
    """Pictures to train on.

    Attributes:
        images: (n, 3, size, size), memory-mapped and read-only.
        manifest: what they are.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    manifest: Manifest

    def content(self, count: int) -> Content:
        """What the first ``count`` pictures are, the same whether the cache holds all records or a part of them."""
        parts: list[object] = []
        records = held = 0
        for part in self.manifest.parts:
            parts += [part.content, part.count]
            records, held = records + part.records, held + part.count
            if held >= count:
                break
        plan = self.manifest.plan
        return Content(kind=plan.kind, name=plan.source, records=records, sha256=joined(parts))


@dataclass(frozen=True)
class Cache:
    """The pictures of a source at a size.

    Attributes:
        folder: where they lie.
        source: where they come from.
        size: pixels along an edge.
        megapixels: limit of a picture that is decoded.
    """

    folder: Path
    source: Source
    size: int
    megapixels: int = MEGAPIXELS

    @cached_property
    def plan(self) -> Plan:
        """What is to be made."""
        source = self.source
        return Plan(
            format=2, size=self.size, megapixels=self.megapixels, kind=source.kind, source=source.name,
            place=source.path.as_uri(), records=source.count, stamp=source.stamp,
        )  # fmt: skip

    @property
    def manifest(self) -> Manifest | None:
        """What is known of the whole cache, whatever it is of; None until it is whole."""
        with suppress(Unreadable):
            return read_json(self.folder / "manifest.json", Manifest)
        return None

    def opened(self) -> Opened | None:
        """The pictures; None where they are not there, damaged, or of other data."""
        manifest = self.manifest
        if manifest is None or not manifest.plan.fits(self.plan):
            return None
        if manifest.plan.stamp != self.plan.stamp:  # a copy, or other pictures of the same size
            parts = contents(self.source, self.plan.records, self.plan.stamp)
            if parts != [part.content for part in manifest.parts]:
                return None
            manifest = manifest.model_copy(update={"plan": self.plan})
            self._note(manifest)
        return self._checked(manifest)

    def _checked(self, manifest: Manifest) -> Opened | None:
        path = self.folder / "images.npy"
        try:
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) != (manifest.file_size, manifest.file_changed):
                if sha256(path, manifest.file_size) != manifest.file:
                    raise ValueError("its checksum differs")
                self._note(manifest.model_copy(update={"file_changed": status.st_mtime_ns}))
            images: UInt8[np.ndarray, "n 3 h w"] = np.load(path, mmap_mode="r")
            if images.shape != (manifest.count, 3, self.size, self.size) or images.dtype != np.uint8:
                raise ValueError("its shape differs")
        except (Unreadable, OSError, ValueError) as error:
            problem = getattr(error, "problem", "").removeprefix("is not what was written: ") or error
            warn(f"{path} is not what was written ({problem}): the pictures are decoded again")
            return None
        self._tidy()
        return Opened(images, manifest)

    def _tidy(self) -> None:
        """Removes what a whole cache was made from, which takes as much room again; a kill may have left it."""
        with suppress(OSError):  # a cache that must not be written keeps it
            if (self.folder / "plan.json").exists():
                for leftover in (*self.folder.glob("part-*"), self.folder / "plan.json"):
                    remove(leftover)

    def _note(self, manifest: Manifest) -> None:
        with suppress(OSError):  # a cache that must not be written is checked at each start
            write_json(self.folder / "manifest.json", manifest.model_dump())

    # ---- making it

    def make(self, processes: int) -> None:
        """Decodes what is missing, several processes at a time, and joins the parts. Stopped, it goes on from there."""
        keys = self.source.keys
        parts = {self.folder / f"part-{k:05d}.npy": keys[start : start + work.PART]
                 for k, start in enumerate(range(0, len(keys), work.PART))}  # fmt: skip
        if self.planned() != self.plan:  # parts of other data, or none yet
            for old in (*self.folder.glob("part-*"), self.folder / "manifest.json"):
                remove(old)
            write_json(self.folder / "plan.json", self.plan.model_dump())
        done = {path: note for path in parts if (note := finished(path, self.plan.stamp)) is not None}
        missing = {path: names for path, names in parts.items() if path not in done}
        for path in missing:
            remove(path)
        self._refuse_full_disk(len(keys))
        label = f"{self.source.path.name} at {self.size}x{self.size}"
        with Workers(self.source, processes) as workers:
            orders = [
                (len(names), make_part, (names, self.size, self.megapixels, self.plan.stamp, path))
                for path, names in missing.items()
            ]
            made = workers.run(orders, label, len(keys), sum(len(parts[path]) for path in done))
        notes = {**done, **dict(zip(missing, made, strict=True))}
        self._join([(path, notes[path]) for path in parts])

    def planned(self) -> Plan | None:
        """What is being made, or was when it was stopped; None where nothing is."""
        with suppress(Unreadable):
            return read_json(self.folder / "plan.json", Plan)
        return None

    def _join(self, parts: list[tuple[Path, Finished]]) -> None:
        count, missing = sum(note.count for _, note in parts), [name for _, note in parts for name in note.left_out]
        missing += self.source.left_out
        if count == 0 and not missing:
            raise UserError(f"{self.source.path} holds no records")
        if count == 0:
            raise UserError(f"none of the {len(missing)} records of {self.source.path} is an image that can be read "
                            f"({missing[0]})")  # fmt: skip
        beside, target = self.folder / ".images.npy.part", self.folder / "images.npy"
        for place in (beside, target):
            remove(place)
        joined_up = np.lib.format.open_memmap(beside, "w+", np.uint8, (count, 3, self.size, self.size))
        start = 0
        for path, note in parts:
            joined_up[start : start + note.count] = np.load(path, mmap_mode="r")
            start += note.count
        joined_up.flush()
        del joined_up
        fsync(beside)
        beside.replace(target)
        status = target.stat()
        manifest = Manifest(
            plan=self.plan, count=count, left_out=len(missing), left_out_named=missing[:NAMED], file=sha256(target),
            parts=[Part(**note.model_dump(include={"records", "count", "content"})) for _, note in parts],
            file_size=status.st_size, file_changed=status.st_mtime_ns,
        )  # fmt: skip
        write_json(self.folder / "manifest.json", manifest.model_dump())
        self._tidy()
        if missing:
            which = "all" if len(missing) <= NAMED else f"the first {NAMED}"
            warn(f"{told(self.source.path, missing, self.plan.records + len(self.source.left_out))}; "
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
