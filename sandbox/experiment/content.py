"""What a run has learned from, where that is a user's own data: told by their content, not by a folder's name."""

import hashlib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field


class Content(BaseModel):
    """A user's data as a run uses them. Where they lie is no part of it.

    Attributes:
        kind: ``LMDB``, ``folder of images``, ``CIFAR-10``.
        name: of the folder.
        records: how many of them the run uses.
        sha256: of names and bytes in their order, and of which of them can be decoded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(max_length=200)
    name: str = Field(max_length=4096)
    records: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def same_as(self, other: "Content | None") -> bool:
        """Whether these are the same data; a folder may be called otherwise, or lie elsewhere."""
        return other is not None and self.sha256 == other.sha256

    def __str__(self) -> str:
        return f"{self.kind} {self.name}, {self.records:,} records, content {self.sha256[:12]}"


class Digest:
    """SHA-256 of some values one after another, each told from the next."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, *parts: object) -> None:
        """Takes some more values in: bytes, or what has a text."""
        for part in parts:
            content = part if isinstance(part, bytes) else str(part).encode()
            self._hash.update(len(content).to_bytes(8, "little"))
            self._hash.update(content)

    def hex(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()


def joined(parts: Iterable[object]) -> str:
    """The `Digest` of some values."""
    digest = Digest()
    digest.add(*parts)
    return digest.hex()
