"""Folders laid out as PASCAL VOC's: images, masks of classes, and lists of which train and which are held out.

    pairs = read_voc(Path("VOCdevkit/VOC2012"), "train", count=1464, size=128, classes=21)
    pairs.images, pairs.masks            # (n, 3, 128, 128) and (n, 128, 128) bytes; 255: to be ignored

Everingham et al. 2010 (PASCAL VOC). What cannot be used is left out and told.
"""

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from sandbox.base.errors import UserError, warn
from sandbox.base.reading import Unreadable, read_file, read_text
from sandbox.data.pictures import LARGEST, MEGAPIXELS, NoPicture, decode
from sandbox.data.records import told

IGNORED = 255  # the label of pixels that count nowhere
_DEPTH = 24  # where a PNG says how many bits a level has
_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


@dataclass(frozen=True)
class Pairs:
    """Images and the class of every pixel.

    Attributes:
        images: RGB.
        masks: classes, or `IGNORED`.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    masks: UInt8[np.ndarray, "n h w"]


def read_voc(root: Path, part: str, count: int, size: int, classes: int) -> Pairs:
    """The middle squares of the images that ``<part>.txt`` lists first, in memory.

    Images are resized bilinearly with antialiasing, masks by nearest pixels.

    Args:
        root: the folder that holds JPEGImages, SegmentationClass and ImageSets/Segmentation.
        part: ``train`` or ``val``.
        count: how many at most.
        size: pixels along an edge.
        classes: how many there may be.

    Raises:
        UserError: the folder is not laid out so, lists nothing, none of its pairs can be read, or a mask has labels
            that are no class.
    """
    try:
        missing = [name for name in (_IMAGES, _MASKS, _LISTS) if not (root / name).is_dir()]
    except OSError as error:  # one that must not be entered, or a name that no file can have
        raise UserError(f"--data-root: {root} cannot be read ({error.strerror})") from None
    if missing:
        raise UserError(f"--data-root: {root} has no folder {missing[0]}: wanted are {_IMAGES}, {_MASKS}, {_LISTS}, "
                        "as in VOCdevkit/VOC2012")  # fmt: skip
    listed = root / _LISTS / f"{part}.txt"
    try:
        names = read_text(listed).removeprefix("\ufeff").split()[:count]
    except Unreadable as error:
        raise UserError(f"--data-root: {error}: it lists the images of {part}, a name a line") from None
    images, masks, left_out = [], [], []
    for name in names:
        try:
            image, mask = _pair(root, name, size)
        except (Unreadable, NoPicture) as error:
            left_out.append(f"{name}: {str(error).removeprefix(f'{root}/')}")
            continue
        wrong = mask[(mask >= classes) & (mask != IGNORED)]
        if wrong.size:
            allowed = f"with --classes {classes} allowed are 0 to {classes - 1}, and {IGNORED} to ignore"
            raise UserError(f"--data-root: the mask of {name} has the label {wrong[0]}: {allowed}")
        images.append(image)
        masks.append(mask)
    if not images:
        why = f", {left_out[0]}" if left_out else ""
        raise UserError(f"--data-root: {listed} lists {len(names)} images, none of which can be used{why}")
    if left_out:
        warn(told(root, left_out, len(names)))
    return Pairs(np.stack(images), np.stack(masks))


def _pair(root: Path, name: str, size: int) -> tuple[UInt8[np.ndarray, "3 h w"], UInt8[np.ndarray, "h w"]]:
    if not name.isprintable() or "/" in name or name.startswith("."):
        raise NoPicture("is no name of a file")
    content = read_file(root / _IMAGES / f"{name}.jpg", LARGEST)
    image = decode(content)
    if (orientation := _turned_unseen(content)) != 1:
        raise NoPicture(
            f"is turned by its EXIF orientation, {orientation}, and whether its mask is drawn upright nobody says"
        )
    mask = _labels(read_file(root / _MASKS / f"{name}.png", LARGEST))
    if mask.size != image.size:
        raise NoPicture(f"has a mask of {mask.size[0]}x{mask.size[1]} pixels and an image of "
                        f"{image.size[0]}x{image.size[1]}")  # fmt: skip
    square = _middle(image.size)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, square))
    return pixels.transpose(2, 0, 1).copy(), np.array(mask.resize((size, size), Image.Resampling.NEAREST, square))


def _turned_unseen(content: bytes) -> int:
    """The orientation by which a JPEG is to be turned where its size does not tell whether a mask is, too; else 1."""
    with suppress(Exception), Image.open(io.BytesIO(content)) as image:  # odd metadata: `decode` turns nothing then
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        if orientation in (2, 3, 4) or (orientation in (5, 6, 7, 8) and image.width == image.height):
            return orientation
    return 1


def _middle(size: tuple[int, int]) -> tuple[float, float, float, float]:
    edge = min(size)
    left, top = (size[0] - edge) / 2, (size[1] - edge) / 2
    return left, top, left + edge, top + edge


def _labels(content: bytes) -> Image.Image:
    """A mask: what its file holds are classes, indices of a palette or levels of grey, and no colours to decode."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.mode not in ("P", "L"):
                raise NoPicture(f"has a mask of mode {image.mode}, and palettes or grey levels of 8 bits are wanted")
            if image.width * image.height > MEGAPIXELS * 1e6:
                raise NoPicture(f"has a mask of more than {MEGAPIXELS} megapixels")
            if image.mode == "L" and content[_DEPTH] != 8:  # Pillow stretches 0 to 3 or to 15 over 0 to 255
                raise NoPicture(f"has a grey mask of {content[_DEPTH]} bits, and 8 are wanted, or a palette")
            image.load()
            return Image.fromarray(np.array(image))
    except NoPicture:
        raise
    except Exception as error:  # every decoder has ways of its own to say that a file is damaged
        raise NoPicture(f"has a mask that is damaged ({type(error).__name__})") from None
