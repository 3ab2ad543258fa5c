"""The images that a probe is trained and scored on: natural ones, black, white and noise."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator
from sandbox.data.held_out import first_test
from sandbox.data.images import resized, rolled
from sandbox.data.photographs import PARTS, photographs
from sandbox.data.records import Folder, decoded
from sandbox.data.rooms.rooms import SIZES, Rooms
from sandbox.data.shapes import SortOfClevr
from sandbox.experiment.content import Content, joined
from vision.probe.config import PositionConfig, held_out

Bytes = UInt8[np.ndarray, "_ 3 h w"]
Images = Float[Tensor, "_ 3 h w"]
# Folders of images inside the archives of the paper's two data sets, training first; beside them lie masks.
LAYOUTS = (
    ("DUTS-TR/DUTS-TR-Image", "DUTS-TE/DUTS-TE-Image"),
    ("DUTS-TR-Image", "DUTS-TE-Image"),
    ("datasets/imgs/pascal",), ("PASCAL-S/Imgs",), ("PASCAL-S/Image",), ("Imgs",), ("Image",),
)  # fmt: skip
FETCH = (
    "nothing is downloaded for you: DUT-S (the paper's training images) is at http://saliencydetection.net/duts, "
    "PASCAL-S (its test images) at http://cbs.ic.gatech.edu/salobj; any folder of images will do"
)


def natural_images(config: PositionConfig, size: int) -> tuple[Bytes, Bytes, Content | None]:
    """Training and test images of a configuration: ``(images, 3, size, size)`` and ``(test_images, ...)``.

    With them what they are, where they come from the user's own folders.

    Raises:
        UserError: the folder is not there, or holds too few images; the message says what to fetch.
    """
    counts, content = (config.images, config.test_images), None
    if config.data == "folder":
        train, test, content = _from_folders(config, size)
    elif config.data == "photographs":
        train, test = _photographs(counts, size)
    else:
        rows = np.arange(counts[0]), first_test(counts[0]) + np.arange(counts[1])
        train, test = (_drawn(config, indices, size) for indices in rows)
    if config.roll:
        train, test = (rolled(images, k) for k, images in enumerate((train, test)))
    return train, test, content


def _drawn(config: PositionConfig, indices: Int64[np.ndarray, " n"], size: int) -> Bytes:
    if config.data == "rooms":
        images = Rooms(size=max(size, SIZES[0])).render(indices).images
    else:
        images = SortOfClevr().render(indices).images
    return images if images.shape[-1] == size else resized(images, size)


def _photographs(counts: tuple[int, int], size: int) -> tuple[Bytes, Bytes]:
    """Training and test images; the last of the training images, which choose a scale, are of pictures of their own."""
    last = held_out(counts[0])
    parts = {"train": counts[0] - last, "held_out": last, "test": counts[1]}
    train, held, test = (photographs(PARTS[part], count, size, k) for k, (part, count) in enumerate(parts.items()))
    return np.concatenate([train, held]), test


def _from_folders(config: PositionConfig, size: int) -> tuple[Bytes, Bytes, Content]:
    found = _folders(Path(config.data_root), "--data-root")
    train = found[0]
    if config.test_root:
        found = [train, _folders(Path(config.test_root), "--test-root")[-1]]
    test, names = found[-1], train.keys
    if len(found) == 1:  # the last ones test, in the order of their names
        keys = names[-config.test_images :]
        names = names[: -len(keys)]
    else:
        keys = test.keys[: config.test_images]
    wanted = (("images", names, config.images, train), ("test-images", keys, config.test_images, test))
    for flag, there, count, source in wanted:
        if len(there) < count:
            raise UserError(f"--{flag} is {count}, but {source.path} has {len(there)} for it: ask for fewer; {FETCH}")
    (first, one), (second, two) = (
        decoded(source, there[:count], size, config.megapixels) for _, there, count, source in wanted
    )
    both = one.model_copy(update={"records": one.records + two.records, "sha256": joined([one.sha256, two.sha256])})
    return first, second, both


def _folders(root: Path, flag: str) -> list[Folder]:
    """Where images lie: one folder, or that of the training and that of the test images."""
    layouts = [[root / part for part in layout if (root / part).is_dir()] for layout in LAYOUTS]
    sources = [Folder(place) for place in next(filter(None, layouts), [root])]
    for source in sources:
        if not source.path.is_dir() or not source.keys:
            missing = f" that can be read ({source.left_out[0]})" if source.left_out else ""
            what = f"holds no images{missing}" if source.path.is_dir() else "is no folder"
            raise UserError(f"{flag}: {source.path} {what}: {FETCH}")
    return sources


def plain_images(size: int, noise: int) -> dict[str, Images]:
    """One black image, one white one, and ``noise`` of independent uniform values; all in [0, 1]."""
    values = torch.rand(noise, 3, size, size, generator=keyed_generator(0, "noise"))
    return {"black": torch.zeros(1, 3, size, size), "white": torch.ones(1, 3, size, size), "noise": values}
