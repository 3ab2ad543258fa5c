"""A user's own pictures with masks in COCO's format, as scenes: scaled down, whatever their categories."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.data.coco import Coco, fitted, read_coco, tell_left_out
from sandbox.data.instances import MANY, Instances
from sandbox.experiment.content import Content


def read_pictures(annotations: str, root: str, wanted: int, size: int) -> tuple[Instances, Content]:
    """The first pictures of a COCO file and what they are.

    Each is scaled until its longer edge has ``size`` pixels and lies in the upper left corner of a white square. Of two
    masks the later one lies on top. Left out, and counted in a warning, are crowds, masks that are broken or not there,
    and objects of which nothing is left at this size.

    Args:
        annotations: the JSON file.
        root: the folder of pictures.
        wanted: how many.
        size: pixels along an edge.

    Raises:
        UserError: no such file or folder, or fewer pictures than are asked for.
    """
    coco, content = read_coco(Path(annotations), Path(root)).decodable(wanted)
    if len(coco.images) < wanted:
        raise UserError(f"--annotations {annotations} has {len(coco.images)} pictures, but {wanted} are asked for "
                        "(--images and --test-images together)")  # fmt: skip
    left_out = dict(coco.left_out)
    images = np.empty((wanted, 3, size, size), np.uint8)
    ids, counts = np.zeros((wanted, size, size), np.uint8), np.zeros(wanted, np.int64)
    for index in range(wanted):
        images[index], height, width = fitted(coco.picture(index), size, 255)
        masks = _masks(coco, index, (width, height), left_out)
        _lay(masks, ids[index, :height, :width])
        counts[index] = ids[index].max()
    tell_left_out(annotations, left_out)
    return Instances(images, ids, counts), content


def _masks(coco: Coco, index: int, size: tuple[int, int], left_out: dict[str, int]) -> list[Bool[np.ndarray, "h w"]]:
    """The masks of a picture's objects at a size, (width, height)."""
    found = []
    for number, thing in enumerate(coco.images[index].objects):
        what = "crowd" if thing.crowd else ""
        if not what:
            try:
                mask = Image.fromarray(coco.mask(index, number)).resize(size, Image.Resampling.NEAREST)
                found.append(np.asarray(mask, dtype=bool))
            except ValueError:
                what = "object without a mask, or with a broken one"
        if what:
            left_out[what] = left_out.get(what, 0) + 1
    return found


def _lay(masks: list[Bool[np.ndarray, "h w"]], ids: UInt8[np.ndarray, "h w"]) -> None:
    """Numbers the masks' pixels in place, the later masks on top; numbers follow each other, without gaps."""
    laid = np.zeros(ids.shape, np.int64)
    for number, mask in enumerate(masks, 1):
        laid[mask] = number
    seen = [number for number in np.unique(laid) if number][:MANY]
    for new, number in enumerate(seen, 1):
        ids[laid == number] = new
