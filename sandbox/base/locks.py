"""Folders that one process at a time works in."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sandbox.base.errors import UserError, warn
from sandbox.base.files import make_way


@contextmanager
def hold(folder: Path, name: str, busy: str, patience: float = 0.0) -> Iterator[None]:
    """Creates a folder and holds its lock ``name``, waiting at most ``patience`` seconds for it.

    Raises:
        UserError: another process holds it (the message is ``busy``), or the folder cannot be created or written.
        OSError: the disk is full.
    """
    lock = FileLock(folder / name, timeout=patience)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_symlink():  # whoever holds it may not see the same file; in a lock nothing is written
            (folder / name).unlink()
            warn(f"{folder / name} is a link: removed")
        make_way(folder / name)
        lock.acquire()
    except Timeout:
        raise UserError(busy) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"cannot write to {folder} ({error.strerror}): choose another --root") from None
    try:
        yield
    finally:
        lock.release()
