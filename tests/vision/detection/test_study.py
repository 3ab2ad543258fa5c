"""The detection study: networks, data, what it refuses, pictures, sizes that change."""

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sandbox.base.errors import UserError
from sandbox.cli.train import parse
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.nn import planes
from sandbox.nn.coordconv import CoordConv
from sandbox.train.device import make_fabric
from vision.detection.boxes import Found
from vision.detection.data import scaled
from vision.detection.detectors import Proposer
from vision.detection.pictures import BEST, EDGE, OTHER, TRUTH, boxed, rolled
from vision.detection.spec import SPEC, DetectionConfig
from vision.detection.study import DetectionStudy

SMALL: dict[str, Any] = {"images": 32, "test_images": 4, "batch": 4, "steps": 3, "coord": False}
WHOLE: dict[str, Any] = {"network": "frcnn", "borders": "zeros", "batch": 2}


def config(**fields: Any) -> DetectionConfig:
    made = validated(DetectionConfig, {**SMALL, **fields}, COMMAND_LINE)
    assert isinstance(made, DetectionConfig)
    return made


def made(**fields: Any) -> DetectionStudy:
    return DetectionStudy(config(**fields), make_fabric("cpu", "32"))


def parameters(study: DetectionStudy) -> int:
    return sum(p.numel() for p in study.detector.network.parameters())


# ---- networks


def test_the_paper_s_network_has_the_released_numbers_of_parameters() -> None:
    plain, coord = made(), made(coord=True)
    assert (parameters(plain), parameters(coord)) == (81_590, 83_838)
    assert 83_838 <= parameters(made(hidden=34)) < 1.01 * 83_838
    images, _ = plain.scenes.some(0, 2, test=True)
    moves, logits = plain.detector.network(images)
    assert moves.shape == (2, 13 * 13 * 9, 4)
    assert logits.shape == (2, 13 * 13 * 9, 2)
    assert not moves.any()  # proposals begin as anchors
    shared = dict(coord.detector.network.named_parameters())
    for name, parameter in plain.detector.network.named_parameters():
        assert torch.equal(parameter, shared[name]), name


@pytest.mark.parametrize("fields", [{}, WHOLE])
@pytest.mark.parametrize("places", ["image", "rpn", "mover", "image,rpn,mover"])
def test_coordinates_stand_in_the_places_that_are_named(places: str, fields: dict[str, Any]) -> None:
    network = made(coord=True, coord_layers=places, **fields).detector.network
    found = [name.rpartition(".")[2] for name, layer in network.named_modules() if isinstance(layer, CoordConv)]
    assert ",".join(found) == places


@pytest.mark.parametrize(("borders", "cells", "first"), [("valid", 13, 8), ("zeros", 16, 2), ("circular", 16, 2)])
def test_each_anchor_lies_in_the_middle_of_what_its_cell_sees(borders: str, cells: int, first: int) -> None:
    detector = made(borders=borders).detector
    assert isinstance(detector, Proposer)
    network = detector.network
    centres = network.anchors((64, 64)).view(cells, cells, 9, 2, 2).mean(3)[:, :, 0]
    assert centres[0, 0].tolist() == [first, first]
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)
    maps = network.second(torch.nn.functional.max_pool2d(network.image(image), 2))
    row, column = cells // 2 - 1, cells // 2 + 1
    block = maps[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum()  # what the second max-pool takes
    # Max-pools of equal values pass the gradient on to one of them: an upper bound of what is seen is asked of noise.
    seen = torch.zeros(64, 64)
    for seed in range(12):
        noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        maps = network.second(torch.nn.functional.max_pool2d(network.image(noise), 2))
        block = maps[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum()
        (slope,) = torch.autograd.grad(block, noise)
        seen += slope[0, 0].abs()
    rows, columns = (seen.sum(axis).nonzero().flatten() for axis in (1, 0))
    middle = [(float(part.min()) + float(part.max()) + 1) / 2 for part in (columns, rows)]
    assert middle == pytest.approx(centres[row, column].tolist(), abs=0.5)


def test_circular_borders_without_coordinates_know_no_place() -> None:
    study = made(borders="circular")
    images, _ = study.scenes.some(0, 1, test=True)
    torch.nn.init.normal_(study.detector.network.mover.weight)  # type: ignore[arg-type, union-attr]
    here, there = (study.detector.network(part)[0].view(16, 16, 36) for part in (images, images.roll((8, 16), (2, 3))))
    torch.testing.assert_close(here.roll((2, 4), (0, 1)), there, rtol=1e-4, atol=1e-4)


# ---- runs


@pytest.mark.parametrize("fields", [{"layout": "crop120"}, {"coord": True}, {**WHOLE, "coord": True}])
def test_a_run_trains_and_is_scored(fields: dict[str, Any]) -> None:
    study = made(**fields)
    before = {name: p.detach().clone() for name, p in study.detector.network.named_parameters()}
    for step in (1, 2):
        assert all(value.isfinite() for value in study.step(step).values())
    assert any(not torch.equal(p, before[name]) for name, p in study.detector.network.named_parameters())
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.detection").scores_of(study.config)}
    assert found == pytest.approx(study.evaluate(), nan_ok=True)
    picture, preview = study.preview()
    assert picture.shape == (EDGE, 4 * (EDGE + 8) - 8, 3)
    assert preview.keys() == {"preview/best_iou", "preview/best_iou_in_view", "preview/proposal_iou"}
    assert study.film(frames=3, count=2, path="loop", seed=0).shape == (3, 2, 3, EDGE, EDGE)
    assert study.costs()["parameters"]["network"] == parameters(study)
    assert study.encoder().prepare(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("fields", [{}, WHOLE])
def test_a_step_depends_on_the_seed_and_its_number_alone(fields: dict[str, Any]) -> None:
    first, second = made(**fields), made(**fields)
    torch.manual_seed(5)
    torch.rand(7)
    one, two = ({tag: value.item() for tag, value in study.step(3).items()} for study in (first, second))
    assert one == two
    state = torch.random.get_rng_state()
    first.step(4)
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing is drawn from torch's own stream


def test_both_arms_learn_from_the_same_samples() -> None:
    # Before anything is learned the proposals are the anchors, in both arms.
    plain, coord = (made(coord=arm).step(1)["iou/sampled"].item() for arm in (False, True))
    assert plain == coord


@pytest.mark.parametrize("fields", [{}, WHOLE])
def test_images_of_many_sizes_take_no_more_memory(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes.kept, "limit", 20_000)  # bytes of coordinate planes; at a full run 64 MiB
    study = made(**{**fields, "coord": True, "scales": 2.0, "batch": 2})

    def kept() -> int:
        gc.collect()
        found = (
            each for each in gc.get_objects() if type(each) is torch.Tensor
        )  # other tests' sparse ones have no bytes
        return sum(tensor.nbytes for tensor in found if tensor.layout == torch.strided)

    sizes, after = set(), []
    for step in range(1, 13):
        sizes.add(scaled(study.scenes.train(step), 2.0, study.config.seed, step)[0].shape[-1])
        study.step(step)
        if step in (3, 12):
            after.append(kept())
    assert len(sizes) > 6
    assert min(sizes) >= 32
    assert max(sizes) <= 128
    assert after[1] < after[0] + 60_000


def test_objects_are_scaled_with_their_images() -> None:
    batch = made().scenes.some(0, 2, test=True)
    images, own = next(
        part for part in (scaled(batch, 2.0, 0, step) for step in range(9)) if part[0].shape[-1] not in (64,)
    )
    factor = images.shape[-1] / 64
    torch.testing.assert_close(own.boxes, batch[1].boxes * factor)
    torch.testing.assert_close(images.mean(), batch[0].mean(), rtol=0.02, atol=0)


# ---- pictures of the user's own


def coco(place: Path, count: int = 40) -> dict[str, Any]:
    """Pictures of one white square each on black, 48x32 pixels; the first has a crowd as well, the second nothing."""
    images, objects = [], []
    for k in range(count):
        picture = Image.new("RGB", (48, 32))
        left = 2 + k % 20
        if k != 1:
            ImageDraw.Draw(picture).rectangle((left, 4, left + 15, 19), fill="white")
            objects.append({"image_id": k, "category_id": 1 + k % 2, "bbox": [left, 4, 16, 16]})
        picture.save(place / f"{k:03}.png")
        images.append({"id": k, "file_name": f"{k:03}.png", "height": 32, "width": 48})
    objects.append({"image_id": 0, "category_id": 1, "bbox": [30, 0, 18, 32], "iscrowd": 1})
    (place / "020.png").write_bytes(b"broken")
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    (place / "boxes.json").write_text(json.dumps(content))
    return {"data": "coco", "data_root": str(place), "annotations": str(place / "boxes.json"), "workers": 0}


@pytest.mark.parametrize("fields", [{}, WHOLE])
def test_pictures_in_coco_s_format(tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any]) -> None:
    study = made(**coco(tmp_path), **fields)
    assert "left out are 1 x picture cannot be decoded" in capsys.readouterr().err
    assert study.content is not None
    assert study.content.records == 36
    assert study.scenes.classes == 2
    images, own = study.scenes.some(0, 3, test=False)
    assert images.shape == (3, 3, 64, 64)
    assert own.there.sum(1).tolist() == [1, 0, 1]
    assert own.crowd.sum(1).tolist() == [1, 0, 0]
    torch.testing.assert_close(own.boxes[0, 0], torch.tensor([2.0, 4, 18, 20]) * 64 / 48)
    left, top, right, bottom = own.boxes[2, 0].round().int().tolist()
    assert images[2, :, top + 2 : bottom - 2, left + 2 : right - 2].min() > 0.95
    assert not images[0, :, 43:].any()  # below the picture
    for step in (1, 2):
        assert all(value.isfinite() for value in study.step(step).values())
    assert 0 <= study.evaluate()["score/best_iou"] <= 1
    study.preview()


def test_a_picture_damaged_since_is_one_line(tmp_path: Path) -> None:
    study = made(**coco(tmp_path))
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"\.png cannot be read any more"):
        study.step(1)


def test_pictures_of_the_user_s_own_have_a_folder_of_their_own(tmp_path: Path) -> None:
    given = ("--task", "detection", "--data", "coco", "--annotations", f"{tmp_path}/boxes.json")
    order = parse("vision", given)
    assert (order.name, order.config.model_dump()["data"]) == ("detection_coco", "coco")
    assert parse("vision", given[:2]).name == "detection"
    assert parse("vision", (*given, "--name", "mine")).name == "mine"


def test_too_few_pictures_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 39 pictures, but 38 to train on and 4 .* give --images 35 or fewer"):
        made(**coco(tmp_path), images=38)
    with pytest.raises(UserError, match="32 to train on are needed at least"):
        made(**coco(tmp_path, 30))


# ---- settings and pictures


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"coord_layers": "imgae"}, "no place is called 'imgae': .* did you mean 'image'?"),
        ({"coord_layers": "image,second"}, "no place is called 'second'"),
        ({"network": "frcnn"}, "allowed are zeros, circular"),
        ({"network": "fcrnn"}, "did you mean 'frcnn'?"),
        ({"data": "coco"}, "--annotations must name its JSON file"),
        ({"size": 128}, "size is 128: scenes of digits have 64 pixels"),
        ({"batch": 33}, r"batch \(33\) must not exceed images \(32\)"),
        ({"digits": "mnits"}, "did you mean 'mnist'?"),
        ({"scales": 0.5}, "numbers from 1 to 4"),
    ],
)
def test_a_bad_setting_is_one_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config(**fields)


def test_without_mnist_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold MNIST"):
        made(digits="mnist", data_root=str(tmp_path))


def test_the_arms_are_paired() -> None:
    for name in ("vision/detection", "vision/detection_frcnn"):
        experiment = load_experiment(name)
        arms = {arm: experiment.resolve(arm, {}, task="canvas64") for arm in experiment.arms}
        assert arms["conv"].differs_by_coordinates_alone(arms["coord"])
        assert arms["conv"].differs_by_coordinates_alone(arms["image"])
        assert not arms["conv"].differs_by_coordinates_alone(arms["circular_coord"])
        assert all(one.sees_the_same(arms["conv"]) for one in arms.values())


def test_no_better_than_untrained_is_failure() -> None:
    assert "no better than untrained" in SPEC.failed(config(), {"score/best_iou": 0.2})
    assert SPEC.failed(config(), {"score/best_iou": 0.6}) == ""


def test_boxes_are_drawn_where_they_are() -> None:
    boxes = torch.tensor([[8.0, 8, 24, 24], [40, 40, 56, 56]])
    said = Found(boxes, torch.tensor([0.9, 0.1]), torch.zeros(2, dtype=torch.long))
    drawn = boxed(torch.zeros(1, 64, 64), torch.tensor([[10.0, 8, 26, 24]]), said).permute(1, 2, 0).numpy()

    def extent(colour: str) -> list[int]:
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        rows, columns = np.nonzero((drawn == wanted).all(2))
        return [columns.min(), rows.min(), columns.max(), rows.max()]

    scale = EDGE / 64
    assert extent(BEST) == pytest.approx([8 * scale, 8 * scale, 24 * scale, 24 * scale], abs=2)
    assert extent(OTHER) == pytest.approx([40 * scale, 40 * scale, 56 * scale, 56 * scale], abs=2)
    assert extent(TRUTH)[2] == pytest.approx(26 * scale, abs=2)
    empty = Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert not boxed(torch.zeros(1, 64, 64), torch.zeros(0, 4), empty).any()


def test_true_boxes_roll_with_their_image() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 40], [50, 0, 60, 10]])
    assert rolled(boxes, 10, 64).tolist() == [[20, 30, 40, 50]]  # the second crosses the border
    assert rolled(boxes, 20, 64).tolist() == [[30, 40, 50, 60], [6, 20, 16, 30]]
    assert rolled(boxes, 64, 64).tolist() == boxes.tolist()
