"""Folders of classes, as torchvision's ImageFolder has them: ``train/<class>/*.jpg`` and ``val/<class>/*.jpg``.

    train, val = open_class_folders(Path("data/imagenet"))
    train.classes, len(train), train.label(17)
    image = train.read(17)         # an RGB picture, or NoPicture / Unreadable

Only names are kept, 20 to 30 bytes an image: a million of them are listed in seconds, and nothing is read before it is
wanted. A picture that cannot be used is found when it is read.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped
from PIL import Image

from sandbox.base.errors import UserError, listed, nearest, warn
from sandbox.base.reading import Unreadable, read_file
from sandbox.data.pictures import ENDINGS, LARGEST, MEGAPIXELS, decode
from sandbox.data.records import as_text
from sandbox.experiment.content import Content, Digest

SAMPLED = 256  # pictures whose bytes tell one set of data from another; of the others the names do
_ENDINGS = tuple(ending.encode() for ending in ENDINGS)
_DEVKIT = "ILSVRC2012_val_"


@dataclass(frozen=True, eq=False)
class ClassFolder:
    """The pictures of one part, ``train`` or ``val``, class by class, each in the order of its names.

    Attributes:
        path: of the part.
        classes: names of the folders, sorted; a label is a place in this list. Bytes that are no text are escaped.
        names: of each class, an array of bytes, relative to its folder.
        left_out: what looks like data and is not used, with the reason.
        megapixels: larger pictures are not decoded.
    """

    path: Path
    classes: tuple[str, ...]
    names: tuple[Shaped[np.ndarray, " _"], ...]
    left_out: tuple[str, ...] = ()
    megapixels: int = MEGAPIXELS

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def _ends(self) -> Int64[np.ndarray, " classes"]:
        return np.cumsum([len(names) for names in self.names])

    def label(self, index: int) -> int:
        """The class of a picture, from 0."""
        return int(np.searchsorted(self._ends, index, side="right"))

    def name(self, index: int) -> str:
        """A picture's path below the part, as text."""
        return as_text(str(self._place(index).relative_to(self.path)))

    def _place(self, index: int) -> Path:
        label = self.label(index)
        before = int(self._ends[label]) - len(self.names[label])
        return self.path / self.classes[label] / os.fsdecode(bytes(self.names[label][index - before]))

    def read(self, index: int, needed: int | None = None) -> Image.Image:
        """A picture; see `sandbox.data.pictures.decode`.

        Raises:
            Unreadable: the file is not there, or cannot be read.
            NoPicture: it cannot be decoded.
        """
        return decode(read_file(self._place(index), LARGEST), megapixels=self.megapixels, needed=needed)

    def content(self) -> Content:
        """What the data are: all names, and the bytes of 256 pictures spread evenly. Reading all would take hours."""
        digest = Digest()
        for label, names in zip(self.classes, self.names, strict=True):
            digest.add(os.fsencode(label), len(names), names.itemsize, names.tobytes())
        for index in np.unique(np.linspace(0, len(self) - 1, SAMPLED).astype(np.int64)):
            try:
                digest.add(read_file(self._place(int(index)), LARGEST))
            except Unreadable:
                digest.add("unreadable")
        return Content(kind="folders of classes", name=as_text(self.path.parent.name), records=len(self),
                       sha256=digest.hex())  # fmt: skip


def open_class_folders(root: Path, megapixels: int = MEGAPIXELS) -> tuple[ClassFolder, ClassFolder]:
    """The training and the validation part of a folder.

    Args:
        root: holds ``train/`` and ``val/``, each with a folder for every class; the same classes in both.
        megapixels: larger pictures are not decoded.

    Raises:
        UserError: a part is not there, holds no pictures, lies flat as in the archive of ILSVRC 2012, or the classes of
            the two differ.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise UserError(f"--data-root: there is no folder {root}: it is to hold train/ and val/, "
                        "each with a folder for every class")  # fmt: skip
    train, val = (_part(root, part, megapixels) for part in ("train", "val"))
    if unknown := [name for name in val.classes if name not in set(train.classes)]:
        raise UserError(f"--data-root: {val.path} has {len(unknown)} classes that {train.path} lacks, "
                        f"such as {as_text(unknown[0])}{nearest(as_text(unknown[0]), train.classes)}")  # fmt: skip
    if missing := [name for name in train.classes if name not in set(val.classes)]:
        first = as_text(missing[0])
        warn(f"{val.path} has no pictures of {len(missing)} of {len(train.classes)} classes, such as {first}")
        there = dict(zip(val.classes, val.names, strict=True))
        names = tuple(there.get(name, np.empty(0, "S1")) for name in train.classes)
        val = ClassFolder(val.path, train.classes, names, val.left_out, megapixels)
    for part in (train, val):
        if part.left_out:
            warn(f"{part.path}: {len(part.left_out)} entries are left out, {part.left_out[0]}")
    return train, val


def _part(root: Path, part: str, megapixels: int) -> ClassFolder:
    path = root / part
    try:
        entries = sorted(_entries(path))
    except OSError as error:
        there: list[str] = []
        with suppress(OSError):
            there = sorted(os.fsdecode(name) for name, kind in _entries(root) if kind in ("folder", "link"))
        has = f": {root} has {listed(there)}{nearest(part, there)}" if there else ""
        raise UserError(f"--data-root: {path} cannot be read ({error.strerror}){has}") from None
    folders = [name for name, kind in entries if kind in ("folder", "link")]
    files = [name for name, kind in entries if kind == "file" and name.lower().endswith(_ENDINGS)]
    if not folders:
        raise UserError(f"--data-root: {path} has {_flat(files)}")
    left_out = [f"{as_text(os.fsdecode(name))}: lies beside the folders of classes" for name in files]
    classes, names = [], []
    for folder in folders:
        found, odd = _pictures(path, folder)
        left_out += odd
        if found:
            classes.append(os.fsdecode(folder))
            names.append(np.array(found, dtype=np.bytes_))
        else:
            left_out.append(f"{as_text(os.fsdecode(folder))}: holds no pictures")
    if not classes:
        raise UserError(f"--data-root: {path} holds no pictures in its {len(folders)} folders: "
                        f"allowed are {', '.join(ENDINGS)}")  # fmt: skip
    return ClassFolder(path, tuple(classes), tuple(names), tuple(left_out), megapixels)


def _flat(files: list[bytes]) -> str:
    if not files:
        return "neither folders of classes nor pictures"
    if files[0].startswith(_DEVKIT.encode()):
        return (f"{len(files)} pictures and no folders of classes, as ILSVRC 2012's archive has them: line k of the "
                f"devkit's ILSVRC2012_validation_ground_truth.txt is the class of {_DEVKIT}k, its synset (meta.mat) "
                "names the folder, such as n01440764, to move it to")  # fmt: skip
    return f"{len(files)} pictures and no folders of classes: move those of each class into a folder of its name"


def _pictures(part: Path, folder: bytes) -> tuple[list[bytes], list[str]]:
    """Names below a class's folder, sorted, however deep; and what cannot be read."""
    found: list[bytes] = []
    odd: list[str] = []
    inside = [b""]
    while inside:
        below = inside.pop()
        here = part / os.fsdecode(folder) / os.fsdecode(below)
        try:
            for name, kind in _entries(here):
                path = os.path.join(below, name) if below else name
                if kind == "folder":
                    inside.append(path)
                elif kind == "file" and name.lower().endswith(_ENDINGS):
                    found.append(path)
                elif kind == "link":
                    odd.append(f"{as_text(os.fsdecode(os.path.join(folder, path)))}: is a link to a folder")
                elif kind == "odd" and name.lower().endswith(_ENDINGS):
                    odd.append(f"{as_text(os.fsdecode(os.path.join(folder, path)))}: is no regular file")
        except OSError as error:
            odd.append(f"{as_text(str(here.relative_to(part)))}: cannot be read ({error.strerror})")
    return sorted(found), odd


def _entries(folder: Path) -> Iterator[tuple[bytes, str]]:
    """Names in a folder and what they are: ``folder``, ``link`` to one, ``file`` (or a link to one) or ``odd``.

    The system tells the kind with the name: a million files need not be asked one by one.
    """
    with os.scandir(os.fsencode(folder)) as found:
        for entry in found:
            if not entry.name.startswith(b"."):
                yield entry.name, _kind(entry)


def _kind(entry: "os.DirEntry[bytes]") -> str:
    folder_kind = "link" if entry.is_symlink() else "folder"
    try:
        return folder_kind if entry.is_dir() else "file" if entry.is_file() else "odd"
    except OSError:  # a link that leads to itself, a folder that must not be entered
        return "odd"
