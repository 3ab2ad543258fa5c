"""Pictures with objects in COCO's format: a JSON file of boxes and masks, and a folder of pictures.

    coco = read_coco(Path("instances.json"), Path("pictures"))
    coco.images[0].objects[0].box              # left, top, right, bottom in pixels
    coco.mask(0, 0)                            # (h, w) booleans, decoded when it is asked for

Lin et al. 2014 (arXiv 1405.0312); https://cocodataset.org/#format-data. Real files have records that fit nothing:
these are left out and counted by what is wrong with them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from pydantic_core import from_json

from sandbox.base.errors import UserError, listed, one_line, warn
from sandbox.base.reading import Unreadable, read_file
from sandbox.data.pictures import LARGEST, NoPicture, decode
from sandbox.experiment.content import Content, Digest

_LIMIT = 2**30  # bytes of an annotation file; COCO's own largest has 470 MB
_HUGE = 2.0**1000  # of a number of a box; neither NaN nor an infinity is below it
_MOST = 2**26  # pixels of a picture


@dataclass(frozen=True)
class CocoObject:
    """An object of a picture.

    Attributes:
        box: left, top, right, bottom in pixels, cut off at the picture's border; right and bottom lie behind the last.
        label: row of `Coco.names`.
        crowd: a group of objects that nobody has told apart; COCO neither trains on these nor counts them as missed.
        segmentation: the mask as the file has it, polygons or run lengths, or None; see `Coco.mask`.
    """

    box: tuple[float, float, float, float]
    label: int
    crowd: bool
    segmentation: Any = None


@dataclass(frozen=True)
class CocoImage:
    """A picture and its objects, which may be none.

    Attributes:
        file: below the folder.
        height, width: pixels.
        objects: in the file's order.
    """

    file: str
    height: int
    width: int
    objects: tuple[CocoObject, ...]


@dataclass(frozen=True)
class Coco:
    """What a COCO file says, without its records that fit nothing.

    Attributes:
        root: the folder of pictures.
        names: of the categories, in the order of their numbers.
        images: in the order of their numbers.
        left_out: what is wrong -> how many records.
    """

    root: Path
    names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    left_out: Mapping[str, int]

    def encoded(self, index: int) -> bytes:
        """The picture's file.

        Raises:
            Unreadable: it cannot be read.
        """
        return read_file(self.root / self.images[index].file, LARGEST)

    def picture(self, index: int) -> Image.Image:
        """A picture, decoded.

        Raises:
            NoPicture: it is none, or not of the size that the JSON file says.
            Unreadable: it cannot be read.
        """
        return _decoded(self.encoded(index), self.images[index])

    def mask(self, index: int, number: int) -> Bool[np.ndarray, "h w"]:
        """The pixels of object ``number`` of picture ``index``: of polygons, or of run lengths packed or not.

        Raises:
            ValueError: the file gives none, or one that is none.
        """
        from faster_coco_eval.core import mask as masks

        image = self.images[index]
        given, height, width = image.objects[number].segmentation, image.height, image.width
        if not given:
            raise ValueError(f"{image.file}: object {number} has no mask")
        try:
            lengths = masks.frPyObjects(given, height, width) if _needs_packing(given) else given
            packed = masks.merge(lengths) if isinstance(lengths, list) else lengths
            found = np.asarray(masks.decode(packed), dtype=bool)
        except Exception as error:  # a decoder of C++ has ways of its own to say that something is no mask
            raise ValueError(f"{image.file}: object {number} has a broken mask ({one_line(error, 80)})") from None
        if found.shape != (height, width):
            raise ValueError(
                f"{image.file}: object {number} has a broken mask (of {found.shape}, not {(height, width)})"
            )
        return found

    def decodable(self, most: int) -> tuple["Coco", Content]:
        """The first ``most`` pictures that can be decoded, and what they are, by their content.

        Every one is decoded once: about 5 ms each. The others up to there are left out and counted.
        """
        images, digest, left_out = list[CocoImage](), Digest(), Counter(self.left_out)
        for index, image in enumerate(self.images):
            if len(images) == most:
                break
            try:
                content = self.encoded(index)
                _decoded(content, image)
            except (Unreadable, NoPicture) as error:
                left_out[f"picture {_kind(error)}"] += 1
                continue
            boxes = [(thing.box, thing.label, thing.crowd) for thing in image.objects]
            digest.add(image.file, content, boxes)
            images.append(image)
        content_of = Content(kind="COCO", name=self.root.name, records=len(images), sha256=digest.hex())
        return replace(self, images=tuple(images), left_out=dict(left_out)), content_of


def fitted(picture: Image.Image, size: int, fill: int) -> tuple[UInt8[np.ndarray, "3 size size"], int, int]:
    """A picture in the upper left corner of a square, and its height and width there.

    It is scaled until its longer edge has ``size`` pixels; a pixel is the mean of those that it stands for.

    Args:
        picture: RGB.
        size: pixels along the square's edge.
        fill: grey of what is left of it, 0 to 255.
    """
    width, height = (max(1, round(edge * size / max(picture.size))) for edge in picture.size)
    canvas = np.full((3, size, size), fill, np.uint8)
    canvas[:, :height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BOX)).transpose(2, 0, 1)
    return canvas, height, width


def tell_left_out(annotations: str, left_out: Mapping[str, int]) -> None:
    """Warns of what is left out of a file, if anything is."""
    if left_out:
        warn(f"{annotations}: left out are {listed(f'{count} x {what}' for what, count in left_out.items())}")


def _kind(error: Exception) -> str:
    return "cannot be read" if isinstance(error, Unreadable) else "cannot be decoded, or is of another size"


def _decoded(content: bytes, image: CocoImage) -> Image.Image:
    picture = decode(content)
    if picture.size != (image.width, image.height):
        raise NoPicture(f"has {picture.width}x{picture.height} pixels, not {image.width}x{image.height}")
    return picture


def _needs_packing(given: Any) -> bool:
    return isinstance(given, list) or isinstance(given.get("counts"), list)


def read_coco(annotations: Path, root: Path) -> Coco:
    """Reads a COCO file; no picture is looked at.

    Args:
        annotations: the JSON file, with ``images``, ``annotations`` and ``categories``.
        root: the folder in which the pictures' ``file_name`` lie.

    Raises:
        UserError: no such file, no JSON, not these three lists, no category, or no picture left.
    """
    try:
        content = from_json(read_file(annotations, _LIMIT), allow_inf_nan=True)
    except (Unreadable, ValueError) as error:
        raise UserError(f"--annotations {annotations} is no COCO file ({one_line(error, 100)})") from None
    lists: list[Any] = [
        content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations", "categories")
    ]
    if not all(isinstance(part, list) for part in lists):
        raise UserError(f"--annotations {annotations} is no COCO file: it must hold the lists images, annotations and "
                        "categories")  # fmt: skip
    if not root.is_dir():
        raise UserError(f"--data-root {root} is no folder of pictures")
    left_out: Counter[str] = Counter()
    names = _categories(lists[2], left_out)
    images = _images(lists[0], left_out)
    if not names or not images:
        what = "category" if not names else "picture"
        raise UserError(f"--annotations {annotations} holds no {what} that can be used{_told(left_out)}")
    numbers = {number: row for row, number in enumerate(names)}
    objects = _objects(lists[1], images, numbers, left_out)
    found = tuple(replace(image, objects=tuple(objects.get(number, ()))) for number, image in images.items())
    return Coco(root, tuple(names.values()), found, dict(left_out))


def _told(left_out: Mapping[str, int]) -> str:
    return f": left out are {listed(f'{count} x {what}' for what, count in left_out.items())}" if left_out else ""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _categories(records: list[Any], left_out: Counter[str]) -> dict[int, str]:
    """Number -> name, sorted by number."""
    found: dict[int, str] = {}
    for record in records:
        number = record.get("id") if isinstance(record, dict) else None
        if type(number) is not int or number in found:
            left_out["category without a number of its own"] += 1
            continue
        found[number] = str(record.get("name", number))
    return dict(sorted(found.items()))


def _images(records: list[Any], left_out: Counter[str]) -> dict[int, CocoImage]:
    """Number -> picture without objects, sorted by number."""
    found: dict[int, CocoImage] = {}
    for record in records:
        fields = record if isinstance(record, dict) else {}
        number, file = fields.get("id"), fields.get("file_name")
        height, width = fields.get("height"), fields.get("width")
        if type(number) is not int or not isinstance(file, str) or not file:
            left_out["picture without a number or a file"] += 1
        elif number in found:
            left_out["picture with the number of another one"] += 1
        elif type(height) is not int or type(width) is not int or min(height, width) < 1 or height * width > _MOST:
            left_out["picture without a size that can be"] += 1
        elif Path(file).is_absolute() or ".." in Path(file).parts or "\0" in file:
            left_out["picture that lies outside the folder"] += 1
        else:
            found[number] = CocoImage(file, height, width, ())
    return dict(sorted(found.items()))


def _objects(
    records: list[Any], images: Mapping[int, CocoImage], rows: Mapping[int, int], left_out: Counter[str]
) -> dict[int, list[CocoObject]]:
    """Number of a picture -> its objects."""
    found: dict[int, list[CocoObject]] = {}
    for record in records:
        fields = record if isinstance(record, dict) else {}
        number, category, given = fields.get("image_id"), fields.get("category_id"), fields.get("bbox")
        if type(number) is not int or number not in images:
            left_out["object of no picture"] += 1
        elif type(category) is not int or category not in rows:
            left_out["object of no category"] += 1
        elif not isinstance(given, list) or len(given) != 4 or not all(map(_number, given)):
            left_out["object without a box"] += 1
        elif (box := _cut(given, images[number])) is None:
            left_out["object of no size, or outside its picture"] += 1
        else:
            thing = CocoObject(box, rows[category], bool(fields.get("iscrowd", 0)), fields.get("segmentation"))
            found.setdefault(number, []).append(thing)
    return found


def _cut(given: list[Any], image: CocoImage) -> tuple[float, float, float, float] | None:
    """The box (left, top, width, height) inside its picture as left, top, right, bottom; None where nothing is left."""
    left, top, width, height = map(float, given)
    if width <= 0 or height <= 0:
        return None
    right, bottom = min(left + width, float(image.width)), min(top + height, float(image.height))
    left, top = max(left, 0.0), max(top, 0.0)
    return (left, top, right, bottom) if right > left and bottom > top else None
