"""The user's own pictures: scaled, masks with them; what cannot be used is left out and told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sandbox.base.errors import UserError
from sandbox.train.device import make_fabric
from vision.instances.own_pictures import read_pictures
from vision.instances.spec import InstancesConfig
from vision.instances.study import InstancesStudy


def square(left: int, top: int, edge: int) -> list[int]:
    return [left, top, left + edge, top, left + edge, top + edge, left, top + edge]


def written(place: Path, count: int) -> dict[str, Any]:
    """Pictures of 64x48 pixels with two squares, one of them red; in the first a crowd and a mask that is none."""
    images, things = [], []
    for k in range(count):
        picture = Image.new("RGB", (64, 48), "white")
        picture.paste((255, 0, 0), (8, 8, 24, 24))
        picture.save(place / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "height": 48, "width": 64})
        for left, edge in ((8, 16), (32, 8)):
            things.append({"image_id": k, "category_id": 1, "bbox": [left, 8, edge, edge],
                           "segmentation": [square(left, 8, edge)]})  # fmt: skip
    things.append({**things[0], "iscrowd": 1})
    things.append({**things[0], "segmentation": None})
    file = place / "masks.json"
    file.write_text(json.dumps({"images": images, "annotations": things, "categories": [{"id": 1, "name": "thing"}]}))
    return {"data": "coco", "data_root": str(place), "annotations": str(file), "edge": 32}


def test_pictures_are_scaled_with_their_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = written(tmp_path, 3)
    scenes, content = read_pictures(fields["annotations"], fields["data_root"], 3, 32)
    assert scenes.counts.tolist() == [2, 2, 2]
    expected = np.zeros((32, 32), np.uint8)
    expected[4:12, 4:12], expected[4:8, 16:20] = 1, 2
    for image, ids in zip(scenes.images, scenes.ids, strict=True):
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal((image == np.array([255, 0, 0])[:, None, None]).all(0), expected == 1)
        assert (image[:, 24:] == 255).all()
    assert content.records == 3
    said = capsys.readouterr().err
    assert "1 x crowd" in said
    assert "1 x object without a mask" in said


def test_a_run_learns_from_them_and_says_what_they_are(tmp_path: Path) -> None:
    config = InstancesConfig.model_validate(
        {**written(tmp_path, 34), "coord": False, "width": 2, "images": 32, "test_images": 2}
    )
    study = InstancesStudy(config, make_fabric("cpu", "32"))
    assert all(torch.isfinite(loss) for loss in study.step(1).values())
    assert study.content is not None
    assert study.content.records == 34
    assert study.preview()[0].dtype == np.uint8
    with pytest.raises(UserError, match="has 34 pictures, but 35 are asked for"):
        InstancesStudy(config.model_copy(update={"test_images": 3}), make_fabric("cpu", "32"))


def test_pictures_without_objects_are_no_obstacle(tmp_path: Path) -> None:
    fields = written(tmp_path, 34)
    document = json.loads(Path(fields["annotations"]).read_text())
    document["annotations"] = []
    Path(fields["annotations"]).write_text(json.dumps(document))
    for head in ("embedding", "solo"):
        own = {**fields, "head": head, "coord": False, "width": 2, "images": 32, "test_images": 2, "cells": 4}
        study = InstancesStudy(InstancesConfig.model_validate(own), make_fabric("cpu", "32"))
        assert all(torch.isfinite(loss) for loss in study.step(1).values())
        assert np.isnan(study.evaluate()["score/pairs"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"data": "coco"}, "--annotations must name its JSON file"), ({"edge": 100}, "allowed are multiples of 8")],
)
def test_settings_that_do_not_fit_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        InstancesConfig.model_validate(fields)
