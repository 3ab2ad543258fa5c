"""The neurons study: masks, the ranking and the knock-outs, each on a network whose answer is known."""

import csv
import io
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from shop import Workshop
from torch import Tensor, nn

from sandbox.base.seeding import keyed_generator
from sandbox.data.rooms.rooms import Rooms
from sandbox.data.shapes import SQUARE, ClassicSortOfClevr, SortOfClevr
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.nn.seeding import seed_parameters
from sandbox.train.device import make_fabric
from vision.neurons.knockout import cut_off, fall_scores, knock_out, steps
from vision.neurons.networks import make_network
from vision.neurons.ranking import measure
from vision.neurons.spec import CAPTIONS, RANKINGS, NeuronsConfig, table
from vision.neurons.study import NeuronsStudy
from vision.segment.config import REGIONS
from vision.segment.iou import confusion, mious
from vision.segment.networks import DeepLab, SmallNet, enlarged
from vision.segment.scenes import CLASSES, Scenes, leans, make_scenes, painted

SMALL: dict[str, Any] = {
    "width": 2, "images": 32, "test_images": 12, "batch": 8, "steps": 2, "points": 2, "draws": 2, "coord": False,
}  # fmt: skip
CPU = torch.device("cpu")


def config(**fields: Any) -> NeuronsConfig:
    return NeuronsConfig.model_validate({**SMALL, **fields})


def network(**fields: Any) -> SmallNet:
    made = make_network(config(**fields), 5)
    assert isinstance(made, SmallNet)
    seed_parameters(made, 0, "network")
    return made.eval()


# ---- masks


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.sampled_from(["clear", "paper"]))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("data", [SortOfClevr, ClassicSortOfClevr])
def test_masks_of_shapes_are_the_images_pixel_by_pixel(data: Any, indices: list[int], separation: str) -> None:
    scenes = data(separation=separation)
    shapes = scenes.render(np.array(indices))
    masks = scenes.masks(shapes)
    palette = np.array([(255, 255, 255), *(colour for colour in data.palette for _ in range(2))], np.uint8)
    np.testing.assert_array_equal(palette[masks].transpose(0, 3, 1, 2), shapes.images)
    for mask, kinds in zip(masks, shapes.kinds, strict=True):
        assert {(int(label) - 1) // 2: (int(label) - 1) % 2 for label in np.unique(mask) if label} == {
            k: int(kind) for k, kind in enumerate(kinds) if np.isin(mask, (1 + 2 * k, 2 + 2 * k)).any()
        }
    assert len(data.mask_classes()) == len(palette)
    assert data.mask_classes()[1 + SQUARE] == "red square"


@pytest.mark.parametrize("data", ["shapes", "rooms"])
def test_scenes_are_the_data_s_own(data: Literal["shapes", "rooms"]) -> None:
    train, test = make_scenes(data, 32, 12, CPU)
    assert (len(train), len(test)) == (32, 12)
    rendered = SortOfClevr().render(np.arange(32)) if data == "shapes" else Rooms().render(np.arange(32), masks=True)
    np.testing.assert_array_equal(train.images.numpy(), rendered.images)
    masks = SortOfClevr().masks(rendered) if data == "shapes" else rendered.masks
    np.testing.assert_array_equal(train.masks.numpy(), masks)
    assert int(torch.cat([train.masks, test.masks]).max()) == len(CLASSES[data]) - 1
    assert not any(torch.equal(image, other) for image in test.images for other in train.images)
    colours = painted(torch.arange(len(CLASSES[data]), dtype=torch.uint8).view(1, 1, -1), data)
    assert len(torch.unique(colours[0, :, 0], dim=1).T) == len(CLASSES[data])


def test_an_image_leans_to_where_its_things_are() -> None:
    factors = SortOfClevr().render(np.arange(64))
    left = factors.centres[:, :, 1].mean(1) < 31.5
    sizes = (SortOfClevr().masks(factors) > 0).sum((1, 2))
    clear = np.abs(factors.centres[:, :, 1].mean(1) - 31.5) > 4  # a square weighs more than a disc
    found = leans(SortOfClevr().masks(factors), (0,))
    assert clear.sum() > 20
    np.testing.assert_array_equal(found[clear], ~left[clear])
    mirrored = leans(SortOfClevr().masks(factors)[:, :, ::-1].copy(), (0,))
    np.testing.assert_array_equal(mirrored[clear], left[clear])
    assert sizes.min() > 0
    assert leans(np.zeros((1, 4, 4), np.uint8), (0,)).tolist() == [0]


# ---- networks


@torch.no_grad()
def test_enlarging_is_interpolation_and_wraps_where_it_shall() -> None:
    logits = torch.rand(2, 3, 4, 5, generator=keyed_generator(0, "logits"))
    plain = nn.functional.interpolate(logits, scale_factor=8.0, mode="bilinear")
    torch.testing.assert_close(enlarged(logits), plain)
    around = enlarged(logits, circular=True)
    torch.testing.assert_close(around[:, :, 4:-4, 4:-4], plain[:, :, 4:-4, 4:-4])
    torch.testing.assert_close(enlarged(logits.roll((1, 2), (2, 3)), True), around.roll((8, 16), (2, 3)))


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_a_circular_network_rolls_with_its_images(down: int, right: int, seed: int) -> None:
    images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))
    net, way = network(padding="circular"), (8 * down, 8 * right)
    torch.testing.assert_close(net(images.roll(way, (2, 3))), net(images).roll(way, (2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fields", [{"padding": "zeros"}, {"padding": "circular", "coord": True}, {"padding": "none"}])
@torch.no_grad()
def test_no_other_does(fields: dict[str, Any]) -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = network(**fields)
    assert net(images).shape == (1, 5, 32, 32)
    assert (net(images.roll(8, 3)) - net(images).roll(8, 3)).abs().max() > 1e-3


def test_arms_share_their_content_weights_and_differ_in_coordinates_or_padding() -> None:
    experiment = load_experiment("vision/neurons")
    arms = {arm: experiment.resolve(arm, {"width": "2"}, task="shapes") for arm in experiment.arms}
    assert arms["zeros"].differs_by_coordinates_alone(arms["zeros_coord"])
    assert arms["circular"].differs_by_coordinates_alone(arms["circular_coord"])
    assert not arms["zeros"].differs_by_coordinates_alone(arms["circular"])
    assert all(arm.sees_the_same(arms["zeros"]) for arm in arms.values())
    a, b = (dict(network(coord=coord).named_parameters()) for coord in (False, True))
    assert {name.rpartition(".")[2] for name in a.keys() ^ b.keys()} == {"coordinate_weight"}
    for name, weight in a.items():
        assert torch.equal(weight, b[name])


def test_torchvision_s_deeplab_is_the_paper_s() -> None:
    deep = make_network(config(network="deeplabv3_resnet50", coord=True, coord_layers="first"), 5)
    assert isinstance(deep, DeepLab)
    assert deep.backbone.conv1.coordinate_weight.shape[1] == 2
    images = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        maps = deep.eval().maps(images)
        assert maps.shape == (1, 2048, 8, 8)
        assert maps.min() >= 0
        torch.testing.assert_close(deep.head(maps), deep(images))
    assert deep(images).shape == (1, 5, 64, 64)
    with pytest.raises(ValidationError, match="deeplabv3_resnet50 pads zeros"):
        config(network="deeplabv3_resnet50", padding="circular")


# ---- ranking


def scenes(count: int = 24) -> Scenes:
    return make_scenes("shapes", 32, count, CPU)[1]


def planted(images: Tensor) -> Tensor:
    """Six channels that count dark pixels: 2 sees the left half, 4 the right one, the others all; 5 counts double."""
    dark = nn.functional.avg_pool2d((1 - images).mean(1, keepdim=True), 8)
    half = (torch.arange(dark.shape[3]) < dark.shape[3] // 2).to(dark)
    return torch.cat([dark, dark**2, dark * half, dark.sqrt(), dark * (1 - half), 3 * dark], 1)


def test_the_ranking_finds_planted_position_channels() -> None:
    channels = measure(planted, scenes(), 24)
    orders = {name: order.tolist() for name, order in channels.orders().items()}
    assert orders.keys() == set(RANKINGS)
    assert set(orders["overall"][:2]) == {2, 4}
    assert orders["left"][0] == orders["right"][-1] == 2
    assert orders["right"][0] == orders["left"][-1] == 4
    assert orders["active"][0] == 5
    others = torch.tensor([0, 1, 3, 5])
    for differences in (channels.mirrored, channels.signed.abs(), channels.rolled):
        assert differences[others].max() < 1e-5 * channels.active.max()
    torch.testing.assert_close(channels.mirrored[2], channels.mirrored[4])
    # A dark pixel in the left half is one that the mirrored image has in the right half.
    left, right = planted(scenes().inputs(torch.arange(24)))[:, [2, 4]].mean((2, 3)).T
    torch.testing.assert_close(channels.mirrored[2], (left - right).abs().mean())
    assert (channels.signed[2] - channels.mirrored[2]).abs() < 0.1 * channels.mirrored[2]


def test_a_mirror_symmetric_network_has_no_position_neurons() -> None:
    net = network(padding="zeros")
    examples = scenes()
    before = measure(net.maps, examples, 24)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_((layer.weight + layer.weight.flip(3)) / 2)
    after = measure(net.maps, examples, 24)
    assert after.relative(after.mirrored) < 1e-5 < 1e-3 < before.relative(before.mirrored)
    assert after.relative(after.signed.abs()) < 1e-5
    assert after.relative(after.rolled) > 1e-3  # zeros still say how far the border is


def test_a_position_free_network_does_not_see_that_an_image_is_rolled() -> None:
    found = {padding: measure(network(padding=padding).maps, scenes(), 24) for padding in ("circular", "zeros")}
    relative = {padding: channels.relative(channels.rolled) for padding, channels in found.items()}
    assert relative["circular"] < 1e-5 < 1e-3 < relative["zeros"]


# ---- knock-outs


def test_miou_is_that_of_the_definition() -> None:
    truth = torch.tensor([[[0, 0, 1, 1], [0, 2, 1, 1]]], dtype=torch.uint8)
    said = torch.tensor([[[0, 1, 1, 1], [0, 0, 1, 3]]])
    found = mious(confusion(said, truth, 4))
    # all: class 0 has 2 of 4, class 1 3 of 5, class 2 0 of 1; class 3 does not occur
    # left: class 0 2 of 4, class 2 0; centre: class 0 0 of 2, class 1 2 of 3, class 2 0; right: class 1 3 of 4
    expected = [(2 / 4 + 3 / 5 + 0) / 3, (2 / 4 + 0) / 2, (0 + 2 / 3 + 0) / 3, 3 / 4]
    np.testing.assert_allclose(found, expected)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_right_answers_have_an_miou_of_one(count: int, classes: int, seed: int) -> None:
    truth = torch.randint(classes, (count, 3, 8), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    np.testing.assert_array_equal(mious(confusion(truth.long(), truth, classes)), np.ones(4))


def test_steps_go_from_none_to_all_and_hold_the_cut() -> None:
    assert steps(96, 8, 0.25) == [0, 12, 24, 36, 48, 60, 72, 84, 96]
    assert steps(16, 2, 0.25) == [0, 4, 8, 16]
    assert steps(4, 8, 0.01)[:2] == [0, 1] == [0, cut_off(4, 0.01)]


def test_zeroing_a_region_s_channel_costs_that_region_and_no_other() -> None:
    """Channel 0 tells the classes in the left half, channel 1 in the right half; six others say nothing."""
    examples = scenes()
    truth = (examples.masks > 0).to(torch.uint8)
    maps = torch.rand(24, 8, 64, 64, generator=keyed_generator(0, "noise"))
    half = torch.arange(64) < 32
    maps[:, 0], maps[:, 1] = truth * half, truth * ~half

    def head(kept: Tensor) -> Tensor:
        thing = kept[:, 0] + kept[:, 1] - 0.5
        return torch.stack([-thing, thing], 1)

    first = {"overall": [0, 1], "left": [0, 2], "right": [1, 2], "active": [2, 3], "random": [4, 5]}
    orders = {name: [torch.tensor([*order, *(set(range(8)) - set(order))])] for name, order in first.items()}
    orders["random"].append(torch.tensor([0, 3, 1, 2, 4, 5, 6, 7]))
    knockouts = knock_out(head, maps, truth, 2, orders, [0, 2, 8])
    for values in knockouts.mious.values():
        assert values.shape[1:] == (3, len(REGIONS))
        np.testing.assert_array_equal(values[:, 0], np.ones((len(values), 4)))
        np.testing.assert_array_equal(values[:, 2], np.broadcast_to(values[0, 2], values[:, 2].shape))
    found = fall_scores(knockouts, 2)
    lost = float(1 - knockouts.mious["left"][0, 2, 1])  # every thing missed
    assert found["score/fall_left_left"] == found["score/fall_overall_left"] == pytest.approx(lost)
    assert found["score/fall_left_right"] == found["score/fall_right_left"] == 0
    assert 0 < found["score/fall_left_all"] < found["score/fall_overall_all"]
    assert found["score/fall_active_all"] == 0
    one = found["score/fall_left_all"]  # of the two random draws one zeroes channel 0, the other nothing that counts
    assert found["score/fall_random_all"] == pytest.approx(one / 2)
    assert found["score/fall_random_sd"] == pytest.approx(one / 2**0.5)
    assert found["score/excess"] == pytest.approx(found["score/fall_overall_all"] - one / 2)
    rows = list(csv.DictReader(io.StringIO(knockouts.csv().decode())))
    assert len(rows) == 5 * 3 * 4
    (row,) = (row for row in rows if (row["ranking"], row["channels"], row["region"]) == ("random", "2", "all"))
    assert float(row["miou"]) == pytest.approx(1 - one / 2, abs=1e-6)
    assert float(row["sd"]) == pytest.approx(one / 2**0.5, abs=1e-6)


# ---- runs


def test_some_steps_learn_and_the_scores_come_twice_the_same() -> None:
    study = NeuronsStudy(config(batch=16, steps=20, lr=0.02, test_images=4), make_fabric("cpu", "32"))
    losses = [float(study.step(step)["loss/train"]) for step in range(1, 21)]
    assert losses[-1] < 0.5 * losses[0]
    first = study.evaluate()
    study._found = None
    assert study.evaluate() == first


@pytest.mark.parametrize("data", ["shapes", "rooms"])
def test_a_run_says_what_it_declares(data: str) -> None:
    study = NeuronsStudy(config(data=data, coord=True), make_fabric("cpu", "bf16"))
    for step in (1, 2):
        assert torch.isfinite(study.step(step)["loss/train"])
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.neurons").scores_of(study.config)}
    assert study.mious(study.test, 12)[0] == pytest.approx(found["score/miou"])
    picture, preview = study.preview()
    assert picture.dtype == np.uint8
    assert preview.keys() == {"preview/miou"}
    assert study.film(frames=3, count=2, path="loop", seed=0).shape[:2] == (3, 2)
    ((name, (film, _)),) = study.films().items()
    assert name in CAPTIONS.films
    assert len(film) == len(steps(16, 2, study.config.cut)) == 3
    assert not np.array_equal(film[0], film[-1])
    files = study.files()
    with Image.open(io.BytesIO(files["knockout.png"])) as curves:
        assert curves.format == "PNG"
    rows = list(csv.DictReader(io.StringIO(files["channels.csv"].decode())))
    assert [int(row["channel"]) for row in rows] == list(range(16))
    torch.testing.assert_close(torch.tensor([float(row["mirrored"]) for row in rows]), study.found[0].mirrored,
                               rtol=1e-4, atol=1e-7)  # fmt: skip


def test_what_is_printed_has_a_row_for_each_choice_of_channels() -> None:
    scores = {f"score/fall_{name}_{region}": 0.125 for name in (*RANKINGS, "random") for region in REGIONS}
    lines = table({**scores, "score/miou": 0.5, "score/fall_random_sd": None})
    assert [line.split()[0] for line in lines[1:6]] == [*RANKINGS, "random"]
    assert lines[1].split()[1:] == ["0.125"] * 4
    assert [line.split() for line in lines[6:]] == [["score/miou", "0.500"], ["score/fall_random_sd", "-"]]


@pytest.mark.slow
def test_a_comparison_s_report_has_the_knock_outs(workshop: Workshop, tmp_path: Any) -> None:
    command = workshop.module("sandbox.compare", "vision/neurons", "--smoke", "--arms", "zeros",
                              "--seeds", 1, "--tasks", "rooms", "--root", tmp_path)  # fmt: skip
    assert command.wait() == 0, command.stderr
    place = tmp_path / "smoke/vision/neurons"
    samples = {path.name for path in (place / "rooms/zeros/seed-0/samples").iterdir()}
    assert {"knockout.png", "knockout.csv", "channels.csv", "knockout.gif", "interpolation.gif"} <= samples
    assert "More and more channels zeroed" in (place / "comparison/report.html").read_text()
    assert (place / "comparison/knockout-rooms.gif").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--data room", "did you mean 'rooms'?"),
        ("--padding circula", "did you mean 'circular'?"),
        ("--network deeplab", "did you mean 'deeplabv3_resnet50'?"),
        ("--network deeplabv3_resnet50 --padding circular", "deeplabv3_resnet50 pads zeros (padding is 'circular')"),
        ("--cut 1", "--cut is '1'"),
        ("--draws 1", "--draws is '1'"),
        ("--point 3", "--point"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(workshop: Workshop, tmp_path: Any, line: str, said: str) -> None:
    words = ("--task", "neurons", *line.split(), "--arm", "zeros", "--device", "cpu", "--root", tmp_path)
    command = workshop.module("sandbox.vision", *words, cwd=tmp_path)
    assert command.wait() == 2
    (complaint,) = command.stderr.splitlines()
    assert said in complaint
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []
