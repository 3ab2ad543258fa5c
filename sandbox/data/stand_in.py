"""Drawn rooms in LSUN's own format: what stands in for it where it is not at hand, and says so.

    python -m sandbox.data.stand_in data/lsun --images 12000
    python -m sandbox.gan --config gan/lsun_small --category drawn_bedroom --coord

LSUN (Yu et al. 2015, arXiv 1506.03365) keeps a category in an LMDB: JPEGs of quality 75 under keys that are SHA-1 sums
in hex. The category's name, ``drawn_bedroom``, goes with every run: nobody must take its scores for LSUN's.
"""

import errno
import hashlib
import io
import shutil
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image
from tqdm import tqdm

from sandbox.base.errors import UserError
from sandbox.base.guard import command
from sandbox.base.locks import hold
from sandbox.data.lsun import STAND_IN as CATEGORY
from sandbox.data.rooms.rooms import Rooms

_QUALITY = 75
_AT_ONCE = 100  # records in a transaction
_SEED = 1  # other rooms than those of `--data rooms`


def write_stand_in(root: Path, images: int, size: int = 128) -> Path:
    """Writes ``root/drawn_bedroom_train_lmdb``, whole or not at all. Record k is room k of seed 1.

    Args:
        root: made where it is not there.
        images: records.
        size: pixels along an edge; the photographs' shorter one has 256.

    Raises:
        UserError: it is there already, another process writes it, or the folder cannot be written.
        OSError: no space.
    """
    folder = root / f"{CATEGORY}_train_lmdb"
    with hold(root, f".{folder.name}.lock", f"{folder} is being written by another process"):
        if folder.exists():
            raise UserError(f"{folder} is there already: delete it to have it made anew")
        unfinished = root / f".{folder.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            _write(unfinished, images, size, folder.name)
        except lmdb.Error as error:  # no OSError, and without its number
            shutil.rmtree(unfinished, ignore_errors=True)
            raise OSError(errno.ENOSPC, f"no space, or a disk that fails ({error})", str(folder)) from None
        unfinished.rename(folder)
    return folder


def _write(unfinished: Path, images: int, size: int, name: str) -> None:
    rooms, most = Rooms(_SEED, size), 2**20 + images * (3 * size**2 + 4096)  # of the map; the file grows as it must
    with (
        lmdb.open(str(unfinished), map_size=most) as environment,
        tqdm(total=images, unit="image", desc=name, dynamic_ncols=True) as bar,
    ):
        for first in range(0, images, _AT_ONCE):
            indices = np.arange(first, min(first + _AT_ONCE, images))
            with environment.begin(write=True) as transaction:
                for k, image in zip(indices.tolist(), rooms.render(indices).images, strict=True):
                    content = io.BytesIO()
                    Image.fromarray(image.transpose(1, 2, 0)).save(content, "JPEG", quality=_QUALITY)
                    transaction.put(hashlib.sha1(str(k).encode()).hexdigest().encode(), content.getvalue())
            bar.update(len(indices))


if __name__ == "__main__":
    command("sandbox.cli.stand_in")
