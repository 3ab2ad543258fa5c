"""The COCO reader: boxes, masks in three forms, and records that fit nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.data.coco import Coco, read_coco

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]  # three pixels wide, two high
LENGTHS = {"counts": [9, 2, 6, 2, 6, 2, 21], "size": [8, 6]}  # columns 1 to 3, rows 1 and 2


def written(place: Path, **lists: Any) -> Path:
    """A small set: two good pictures of 6x8 pixels, one object each."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (6, 8), "red").save(place / name)
    content = {
        "images": [
            {"id": 7, "file_name": "b.png", "height": 8, "width": 6},
            {"id": 3, "file_name": "a.png", "height": 8, "width": 6},
        ],
        "categories": [{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 3, "category_id": 9, "bbox": [1, 1, 3, 2], "segmentation": [SQUARE]},
            {"image_id": 7, "category_id": 2, "bbox": [-2, 5, 4, 9], "iscrowd": 1, "segmentation": LENGTHS},
        ],
    }
    for name, more in lists.items():
        content[name] = content[name] + more
    file = place / "boxes.json"
    file.write_text(json.dumps(content))
    return file


def read(place: Path, **lists: Any) -> Coco:
    return read_coco(written(place, **lists), place)


def test_boxes_and_categories_by_hand(tmp_path: Path) -> None:
    coco = read(tmp_path)
    assert coco.names == ("dog", "cat")
    assert [image.file for image in coco.images] == ["a.png", "b.png"]  # by number
    (cat,), (dog,) = (image.objects for image in coco.images)
    assert (cat.box, cat.label, cat.crowd) == ((1, 1, 4, 3), 1, False)
    assert (dog.box, dog.label, dog.crowd) == ((0, 5, 2, 8), 0, True)  # cut off at the border
    assert coco.left_out == {}
    assert coco.picture(0).size == (6, 8)


def test_a_mask_is_decoded_when_it_is_asked_for_in_each_form(tmp_path: Path) -> None:
    from faster_coco_eval.core import mask as masks

    wanted = np.zeros((8, 6), bool)
    wanted[1:3, 1:4] = True
    packed = masks.encode(np.asfortranarray(wanted.astype(np.uint8)))
    forms = [[SQUARE], LENGTHS, {"counts": packed["counts"].decode(), "size": [8, 6]}]
    more = [{"image_id": 3, "category_id": 9, "bbox": [1, 1, 3, 2], "segmentation": form} for form in forms]
    broken = [
        {**more[0], "segmentation": given} for given in (None, {"counts": "zz\x01", "size": [8, 6]}, [[1, 2]], "x")
    ]
    coco = read(tmp_path, annotations=more + broken)
    for number in range(4):
        assert np.array_equal(coco.mask(0, number), wanted), number
    with pytest.raises(ValueError, match="has no mask"):
        coco.mask(0, 4)
    for number in (5, 6, 7):
        with pytest.raises(ValueError, match="broken mask"):
            coco.mask(0, number)


def test_records_that_fit_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    good = {"image_id": 3, "category_id": 9, "bbox": [1, 1, 3, 2]}
    coco = read(
        tmp_path,
        images=[
            {"id": 3, "file_name": "other.png", "height": 8, "width": 6},
            {"id": 4, "file_name": "../boxes.json", "height": 8, "width": 6},
            {"id": 5, "file_name": "/etc/passwd", "height": 8, "width": 6},
            {"id": 6, "file_name": "c.png", "height": 0, "width": 6},
            {"file_name": "c.png", "height": 8, "width": 6},
            "nonsense",
        ],
        categories=[{"id": 2, "name": "again"}, {"name": "none"}],
        annotations=[
            {**good, "image_id": 99},
            {**good, "category_id": 99},
            {**good, "bbox": [1, 1, 3]},
            {**good, "bbox": [1, 1, "3", 2]},
            {**good, "bbox": [1, 1, float("nan"), 2]},
            {**good, "bbox": [1, 1, 10**400, 2]},
            {**good, "bbox": [1, 1, 0, 2]},
            {**good, "bbox": [20, 1, 3, 2]},
            None,
        ],
    )
    assert len(coco.images) == 2
    assert sum(len(image.objects) for image in coco.images) == 2
    assert coco.left_out == {
        "category without a number of its own": 2,
        "picture with the number of another one": 1,
        "picture that lies outside the folder": 2,
        "picture without a size that can be": 1,
        "picture without a number or a file": 2,
        "object of no picture": 2,
        "object of no category": 1,
        "object without a box": 4,
        "object of no size, or outside its picture": 2,
    }


def test_pictures_that_cannot_be_decoded_are_left_out_and_the_others_known_by_content(tmp_path: Path) -> None:
    more = [{"id": 10 + k, "file_name": f"{k}.png", "height": 8, "width": 6} for k in range(3)]
    file = written(tmp_path, images=more)
    (tmp_path / "0.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 6)).save(tmp_path / "1.png")  # of another size than the file says; 2.png is not there
    coco, content = read_coco(file, tmp_path).decodable(9)
    assert [image.file for image in coco.images] == ["a.png", "b.png"]
    assert coco.left_out == {"picture cannot be decoded, or is of another size": 2, "picture cannot be read": 1}
    assert content.records == 2
    first, _ = read_coco(file, tmp_path).decodable(1)
    assert [image.file for image in first.images] == ["a.png"]
    Image.new("RGB", (6, 8), "blue").save(tmp_path / "b.png")
    assert not read_coco(file, tmp_path).decodable(9)[1].same_as(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no COCO file"),
        (b"{", "is no COCO file"),
        (b"[]", "must hold the lists images, annotations and categories"),
        (b'{"images": [], "annotations": {}, "categories": []}', "must hold the lists"),
        (b'{"images": [], "annotations": [], "categories": []}', "holds no category"),
        (b'{"images": [3], "annotations": [], "categories": [{"id": 1}]}', "holds no picture .* 1 x picture without"),
    ],
)
def test_what_is_no_coco_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "boxes.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_coco(file, tmp_path)
    with pytest.raises(UserError, match="is not there"):
        read_coco(tmp_path / "none.json", tmp_path)


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of pictures"):
        read_coco(written(tmp_path), tmp_path / "none")
