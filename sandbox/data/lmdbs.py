"""An LMDB of encoded images, read so that a damaged one is told, not died of.

LMDB maps its file into memory and trusts it: a page beyond the file's end is a bus error, a damaged one an abort. So
its two head pages are checked before anything else, the rest is read in processes of their own, `sandbox.data.apart`.
"""

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from sandbox.base.errors import UserError, one_line
from sandbox.base.reading import Unreadable, size_of
from sandbox.data.apart import Apart, Died
from sandbox.data.records import Read, Source

_MAGIC = 0xBEEFC0DE
# Of <lmdb.h>'s MDB_meta on 64 bits: page header; magic, version; address, map size; two tables; last page, transaction.
_HEAD = struct.Struct("<16x II QQ 48s48s QQ")
_TABLE = struct.Struct(
    "<IHH QQQQQ"
)  # page size (of the first), flags, depth; branch, leaf, overflow pages; entries, root
_AGAIN = "unpack the archive again, or download it anew"


@dataclass(frozen=True)
class Head:
    """What the newest head page says.

    Attributes:
        page: bytes of a page.
        last: number of the last page that is in use.
        entries: how many records.
    """

    page: int
    last: int
    entries: int


def read_head(file: Path) -> Head:
    """The head of an LMDB's ``data.mdb``.

    Raises:
        UserError: it is none, of another kind of machine, or shorter than its own pages say.
    """
    try:
        size = size_of(file)
        with file.open("rb") as opened:
            first = _head(opened.read(_HEAD.size))
            heads = [first] if first else []
            for page in {first[0].page} if first else {4096, 16384, 65536}:
                opened.seek(page)
                if second := _head(opened.read(_HEAD.size)):
                    heads.append(second)
    except Unreadable as error:
        raise UserError(f"{error}: {_AGAIN}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from None
    if not heads:
        what = "is empty" if not size else "is no LMDB that can be read: it has no head page"
        raise UserError(f"{file} {what}: {_AGAIN}")
    head = max(heads, key=lambda found: found[1])[0]
    whole = (head.last + 1) * head.page
    if size < whole:
        raise UserError(f"{file} has {size:,} of the {whole:,} bytes that its own pages say, so it was not copied or "
                        f"unpacked to its end: {_AGAIN}")  # fmt: skip
    return head


def _head(content: bytes) -> tuple[Head, int] | None:
    if len(content) < _HEAD.size:
        return None
    magic, version, _, _, free, main, last, transaction = _HEAD.unpack(content)
    page = _TABLE.unpack(free)[0]
    if magic != _MAGIC or version != 1 or page not in {2**k for k in range(9, 17)}:
        return None
    return Head(page, last, _TABLE.unpack(main)[6]), transaction


class Lmdb(Source):
    """LSUN's layout: a folder with ``data.mdb``, whose values are encoded images."""

    kind = "LMDB"

    @property
    def file(self) -> Path:
        """Where its pages lie."""
        return self.path / "data.mdb"

    @cached_property
    def keys(self) -> list[bytes]:
        """Every key, in LMDB's own order, which is that of their bytes."""
        found = read_head(self.file)
        try:
            with closing(Apart()) as apart:
                keys: list[bytes] = apart.call(_list_keys, self.path, self.first)
        except (Died, Unreadable) as error:
            raise UserError(f"{self.file} is damaged where the names of its {found.entries} records stand "
                            f"({getattr(error, 'problem', error)}): {_AGAIN}") from None  # fmt: skip
        return keys

    @cached_property
    def count(self) -> int:
        """How many records; known without reading their names."""
        entries = read_head(self.file).entries
        return entries if self.first is None else min(entries, self.first)

    @property
    def stamp(self) -> str:
        """The file's size and time of change."""
        status = self.file.stat()
        return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """To be called in a process that may die."""
        with _opened(self.path) as environment, environment.begin(buffers=False) as transaction:

            def read(key: bytes) -> bytes:
                try:
                    found: bytes | None = transaction.get(key)
                except (lmdb.Error, MemoryError) as error:
                    raise Unreadable(self.file, f"is damaged at this record ({_words(error)})") from None
                if found is None:
                    raise Unreadable(self.file, "has no such record")
                return found

            yield read


def _opened(path: Path) -> Any:
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1)
    except lmdb.Error as error:
        raise Unreadable(path / "data.mdb", f"cannot be opened ({_words(error)})") from None


def _words(error: Exception) -> str:
    return one_line(str(error).rsplit(": ", 1)[-1], 80)


def _list_keys(path: Path, first: int | None, tell: Any) -> list[bytes]:
    with _opened(path) as environment, environment.begin(buffers=False) as transaction:
        try:
            return list(islice(transaction.cursor().iternext(keys=True, values=False), first))
        except lmdb.Error as error:
            raise Unreadable(path / "data.mdb", f"is damaged ({_words(error)})") from None
