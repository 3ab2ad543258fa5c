"""Folders laid out as PASCAL VOC's: images and masks, the list of which train and which are held out."""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from sandbox.base.errors import UserError, warn
from sandbox.base.reading import Unreadable, read_file, read_text
from sandbox.data.pictures import LARGEST, NoPicture, decode
from sandbox.data.records import told
from vision.segment.iou import IGNORED
from vision.segment.scenes import Scenes
from vision.segmentation.spec import SegmentationConfig

_PARTS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")


def make_voc(config: SegmentationConfig, device: torch.device) -> tuple[Scenes, Scenes]:
    """Training and held-out images of ``data_root``: their middle squares, at ``size``, in memory.

    Images are resized with antialiasing, masks by nearest pixels; the label 255 counts nowhere.

    Raises:
        UserError: the folder is not laid out so, lists nothing, none of its pairs can be read, or a mask has labels
            that are no class.
    """
    root = Path(config.data_root).expanduser()
    if missing := [part for part in _PARTS if not (root / part).is_dir()]:
        raise UserError(f"--data-root: {root} has no folder {missing[0]}: wanted are {', '.join(_PARTS)}, as in "
                        "VOCdevkit/VOC2012")  # fmt: skip
    train = _scenes(root, "train", config.images, config, device)
    if len(train) < config.batch:
        raise UserError(f"--batch {config.batch} is more than the {len(train)} training images of {root}")
    return train, _scenes(root, "val", config.test_images, config, device)


def _scenes(root: Path, part: str, count: int, config: SegmentationConfig, device: torch.device) -> Scenes:
    listed = root / "ImageSets/Segmentation" / f"{part}.txt"
    try:
        names = read_text(listed).split()[:count]
    except Unreadable as error:
        raise UserError(f"--data-root: {error}: it lists the images of {part}, a name a line") from None
    images, masks, missing = [], [], []
    for name in names:
        try:
            image, mask = _pair(root, name, config.size)
        except (Unreadable, NoPicture) as error:
            missing.append(f"{name}: {getattr(error, 'problem', error)}")
            continue
        wrong = mask[(mask >= config.classes) & (mask != IGNORED)]
        if wrong.size:
            allowed = f"with --classes {config.classes} allowed are 0 to {config.classes - 1}, and {IGNORED} to ignore"
            raise UserError(f"--data-root: the mask of {name} has the label {wrong[0]}: {allowed}")
        images.append(image)
        masks.append(mask)
    if not images:
        why = f", {missing[0]}" if missing else ""
        raise UserError(f"--data-root: {listed} lists {len(names)} images, none of which can be used{why}")
    if missing:
        warn(told(root, missing, len(names)))
    stacked = [torch.from_numpy(np.stack(part)).to(device) for part in (images, masks)]
    return Scenes(stacked[0], stacked[1], torch.zeros(len(images), dtype=torch.int64, device=device))


def _pair(root: Path, name: str, size: int) -> tuple[UInt8[np.ndarray, "3 h w"], UInt8[np.ndarray, "h w"]]:
    """An image and its mask. The mask's file holds classes, as a palette's indices or as grey."""
    if not name.isprintable() or "/" in name or name.startswith("."):
        raise NoPicture("is no name of a file")
    image = decode(read_file(root / "JPEGImages" / f"{name}.jpg", LARGEST))
    mask = _labels(read_file(root / "SegmentationClass" / f"{name}.png", LARGEST))
    if mask.size != image.size:
        raise NoPicture(f"has a mask of {mask.size[0]}x{mask.size[1]} pixels and an image of "
                        f"{image.size[0]}x{image.size[1]}")  # fmt: skip
    square = _middle(image.size)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, square, reducing_gap=None))
    return pixels.transpose(2, 0, 1).copy(), np.array(mask.resize((size, size), Image.Resampling.NEAREST, square))


def _middle(size: tuple[int, int]) -> tuple[float, float, float, float]:
    edge = min(size)
    left, top = (size[0] - edge) / 2, (size[1] - edge) / 2
    return left, top, left + edge, top + edge


def _labels(content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.mode not in ("P", "L"):
                raise NoPicture(f"has a mask of mode {image.mode}, and palettes or grey levels of 8 bits are wanted")
            if image.width * image.height > 64e6:
                raise NoPicture("has a mask of more than 64 megapixels")
            image.load()
            return Image.fromarray(np.array(image))
    except NoPicture:
        raise
    except Exception as error:  # every decoder has ways of its own to say that a file is damaged
        raise NoPicture(f"has a mask that is damaged ({type(error).__name__})") from None
