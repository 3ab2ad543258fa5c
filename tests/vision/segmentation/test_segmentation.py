"""The segmentation study: where an answer lies, scores with a known answer, folders of the user's own."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.data.voc import IGNORED
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.nn.padded import make_convolutions
from sandbox.nn.seeding import seed_parameters
from sandbox.train.device import make_fabric
from vision.segment.iou import confusion_by, miou
from vision.segment.scenes import painted
from vision.segment.unet import EncoderDecoder, cropped
from vision.segmentation.spec import BANDS, SPEC, SegmentationConfig
from vision.segmentation.study import SegmentationStudy

SMALL: dict[str, Any] = {"width": 2, "images": 32, "test_images": 8, "batch": 4, "steps": 2, "coord": False,
                         "data": "shapes"}  # fmt: skip


def config(**fields: Any) -> SegmentationConfig:
    made = validated(SegmentationConfig, {**SMALL, **fields}, COMMAND_LINE)
    assert isinstance(made, SegmentationConfig)
    return made


def made(**fields: Any) -> SegmentationStudy:
    return SegmentationStudy(config(**fields), make_fabric("cpu", "32"))


def network(padding: Any, coord: bool = False) -> EncoderDecoder:
    net = EncoderDecoder(make_convolutions(coord, "all", False, padding), padding, 2, 3)
    seed_parameters(net, 0, "network")
    return net.eval()


# ---- networks


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
@torch.no_grad()
def test_a_circular_network_rolls_with_its_images(down: int, right: int, seed: int) -> None:
    images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))
    net, way = network("circular"), (4 * down, 4 * right)
    torch.testing.assert_close(net(images.roll(way, (2, 3))), net(images).roll(way, (2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "answered"), [(64, 30), (48, 14), (96, 62)])
def test_without_padding_the_answer_lies_in_the_middle(size: int, answered: int) -> None:
    net = network("valid")
    images = torch.rand(1, 3, size, size, requires_grad=True)
    out = net(images)
    assert out.shape == (1, 3, answered, answered)
    seen = []
    for place in (0, answered - 1):
        (grad,) = torch.autograd.grad(out[:, :, place].sum(), images, retain_graph=True)
        rows = grad.abs().sum((0, 1, 3)).nonzero()
        seen.append((int(rows.min()), int(rows.max())))
    # What the first row sees, mirrored, is what the last one sees; between it and the border lie 17 rows.
    assert seen[0][0] >= 0
    assert (seen[1][0], seen[1][1]) == (size - 1 - seen[0][1], size - 1 - seen[0][0])
    assert seen[0][0] <= (size - answered) // 2 <= seen[0][1]


@torch.no_grad()
def test_where_no_border_is_seen_all_paddings_answer_alike() -> None:
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    whole = network("valid")(images)
    for padding in ("zeros", "circular", "reflect", "replicate", "partial"):
        # Without padding, pairs of pixels that a second max-pool joins begin at an odd one: two pixels further.
        padded = cropped(network(padding)(images.roll((2, 2), (2, 3))).roll((-2, -2), (2, 3)), 54, 54)
        torch.testing.assert_close(padded, cropped(whole, 54, 54), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arm", ["zeros", "none", "partial", "valid", "valid_cropped", "valid_cropped_coord"])
def test_every_arm_learns_and_answers(arm: str) -> None:
    settings = load_experiment("vision/segmentation").resolve(arm, {"precision": "32"}, smoke=True)
    study = SegmentationStudy(settings, make_fabric("cpu", "32"))  # type: ignore[arg-type]
    assert torch.isfinite(study.step(1)["loss/train"])
    answered = 30 if arm.startswith("valid_cropped") else 64
    assert study.said(study.test.inputs(study.test.rows(1))).shape[1:] == (answered, answered)
    assert study.answers_picture().ndim == 3


@pytest.mark.parametrize("arm", ["circular", "none", "partial", "valid", "valid_cropped", "valid_coord"])
def test_every_arm_starts_from_the_same_content_weights(arm: str) -> None:
    def weights(name: str) -> dict[str, Tensor]:
        settings = load_experiment("vision/segmentation").resolve(name, {"precision": "32"}, smoke=True)
        network = SegmentationStudy(settings, make_fabric("cpu", "32")).network  # type: ignore[arg-type]
        return {key: value for key, value in network.named_parameters() if "coordinate" not in key}

    reference, found = weights("zeros"), weights(arm)
    assert reference.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in reference.items())


def test_a_batch_without_a_labelled_pixel_teaches_nothing() -> None:
    study = made(images=32, test_images=32)
    study.train.masks[:] = IGNORED
    assert float(study.step(1)["loss/train"]) == 0.0


# ---- scores


class Oracle(nn.Module):
    """Says what it is told."""

    def __init__(self, masks: Tensor, classes: int) -> None:
        super().__init__()
        self.answers = torch.nn.functional.one_hot(masks.long(), classes).movedim(-1, 1).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.answers[: len(images)]


def test_scores_of_a_network_that_is_right_but_for_a_border() -> None:
    study = made(images=32, test_images=32)
    study.network = Oracle(study.test.masks, study.classes)
    assert study.evaluate()["score/miou"] == 1.0
    assert not study.errors().any()
    wrong = study.test.masks.clone()
    wrong[:, :2] = (wrong[:, :2] + 1) % study.classes  # two rows at the top
    study.network = Oracle(wrong, study.classes)
    found = study.evaluate()
    assert found.keys() == {score.tag for score in study_spec("vision.segmentation").scores_of(study.config)}
    assert found["score/miou_middle"] == 1.0
    assert [found[f"score/miou_{low}"] == 1.0 for low, _ in BANDS] == [False, True, True, True, True]
    shares = study.errors()
    assert shares[:2].min() == 1.0
    assert shares[2:].max() == 0.0


def test_a_cropped_answer_is_scored_where_it_is() -> None:
    study = made(padding="valid_cropped", images=32, test_images=32)
    study.network = Oracle(cropped(study.test.masks, 30, 30), study.classes)
    found = study.evaluate()
    assert found["score/miou_middle"] == 1.0
    others = {tag: value for tag, value in found.items() if tag != "score/miou_middle"}
    assert np.isnan([*others.values()]).all(), "it does not answer all the pixels that they count"
    assert study.preview()[1] == {"preview/miou_middle": 1.0}
    shares = study.errors()
    assert np.isnan(shares).sum() == 64 * 64 - 30 * 30
    files = study.files()
    assert {f"{name}.png" for name in SPEC.captions.pictures} <= files.keys()
    assert Image.open(__import__("io").BytesIO(files["errors.png"])).size == (256, 256)
    assert files["errors.csv"].count(b"\n") == 64


@given(st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_ignored_pixels_count_nowhere(seed: int, share: float) -> None:
    draws = np.random.default_rng(seed)
    truth, said = (draws.integers(0, 4, (2, 6, 5)) for _ in range(2))
    ignored = draws.random(truth.shape) < share
    parts = draws.integers(0, 3, (6, 5))
    parts[0, 0] = 2
    labels = torch.from_numpy(np.where(ignored, IGNORED, truth).astype(np.uint8))
    counts = confusion_by(torch.from_numpy(said), labels, 4, torch.from_numpy(parts))
    assert int(counts.sum()) == (~ignored).sum()
    for part in range(3):
        where = ~ignored & (parts == part)
        for one in range(4):
            for other in range(4):
                assert int(counts[part, one, other]) == (where & (truth == one) & (said == other)).sum()


def test_miou_by_hand() -> None:
    counts = torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert miou(counts) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert np.isnan(miou(torch.zeros(2, 2)))


def test_colours_of_voc() -> None:
    colours = painted(torch.tensor([[[0, 1, 15, 255]]], dtype=torch.uint8), "voc")[0, :, 0].T * 255
    assert colours.round().tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]


# ---- the user's own


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Twelve images of 80x60 and more, left half one class, right half another, a rim that is ignored."""
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    names = [f"2007_{k:06d}" for k in range(12)]
    for k, name in enumerate(names):
        size = (80 + k, 60)
        mask = np.zeros((60, 80 + k), np.uint8)
        mask[:, (80 + k) // 2 :] = 1
        mask[0] = IGNORED
        image = np.zeros((60, 80 + k, 3), np.uint8)
        image[mask == 1] = 255
        Image.fromarray(image).save(tmp_path / f"JPEGImages/{name}.jpg")
        paletted = Image.fromarray(mask)
        paletted.putpalette([value for label in range(256) for value in (label, 0, 0)])
        paletted.save(tmp_path / f"SegmentationClass/{name}.png")
        assert paletted.size == size
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("\n".join(names[:8]) + "\n")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("\n".join(names[8:]))
    return tmp_path


def test_a_folder_laid_out_as_voc_s(voc: Path) -> None:
    study = made(data="voc", data_root=str(voc), size=48, classes=3)
    assert (len(study.train), len(study.test)) == (8, 4)
    mask, image = study.test.masks[0], study.test.images[0]
    assert set(mask.unique().tolist()) == {0, 1, IGNORED}
    assert (mask[1:, :20] == 0).all()
    assert (mask[1:, -20:] == 1).all()
    assert float(image[:, 5:, -20:].float().mean()) > 240
    assert torch.isfinite(study.step(1)["loss/train"])
    content = study.content
    assert content is not None
    assert content.records == 12
    assert content == made(data="voc", data_root=str(voc), size=48, classes=3).content
    study.network = Oracle(torch.where(study.test.masks == IGNORED, 2, study.test.masks), 3)
    assert study.evaluate()["score/miou"] == 1.0


def _no_mask(root: Path) -> None:
    (root / "SegmentationClass/2007_000001.png").unlink()


def _coloured(root: Path) -> None:
    Image.new("RGB", (81, 60)).save(root / "SegmentationClass/2007_000001.png")


def _another_size(root: Path) -> None:
    Image.new("L", (10, 10)).save(root / "SegmentationClass/2007_000001.png")


def _damaged(root: Path) -> None:
    (root / "JPEGImages/2007_000001.jpg").write_bytes(b"\xff\xd8\xff")


def _upside_down(root: Path) -> None:
    path, exif = root / "JPEGImages/2007_000001.jpg", Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.open(path).save(path, exif=exif)


def _of_four_bits(root: Path) -> None:
    rows = b"".join(b"\0" + bytes(41) for _ in range(60))  # 81 levels a row
    head = struct.pack(">IIBBBBB", 81, 60, 4, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"".join(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
                   for kind, body in parts)  # fmt: skip
    (root / "SegmentationClass/2007_000001.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)


@pytest.mark.parametrize("break_one", [_no_mask, _coloured, _another_size, _damaged, _upside_down, _of_four_bits])
def test_a_pair_that_cannot_be_used_is_left_out_and_told(
    voc: Path, break_one: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    break_one(voc)
    assert len(made(data="voc", data_root=str(voc), size=48, classes=3).train) == 7
    said = capsys.readouterr().err
    assert "1 of 8 pictures are left out, 2007_000001" in said
    told = {_no_mask: "SegmentationClass/2007_000001.png is not there", _upside_down: "EXIF orientation, 3",
            _of_four_bits: "a grey mask of 4 bits"}  # fmt: skip
    assert told.get(break_one, "") in said


def test_a_list_with_a_byte_order_mark(voc: Path) -> None:
    listed = voc / "ImageSets/Segmentation/train.txt"
    listed.write_text("\ufeff" + listed.read_text(), encoding="utf-8")
    assert len(made(data="voc", data_root=str(voc), size=48, classes=3).train) == 8


def _no_list(root: Path) -> None:
    (root / "ImageSets/Segmentation/val.txt").unlink()


def _empty(root: Path) -> None:
    (root / "ImageSets/Segmentation/val.txt").write_text("\n")


def _elsewhere(root: Path) -> None:
    (root / "ImageSets/Segmentation/val.txt").write_text("../../secret")


@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        (_no_list, {}, "val.txt is not there: it lists the images of val"),
        (_empty, {}, "lists 0 images, none of which can be used"),
        (_elsewhere, {}, "is no name of a file"),
        (lambda root: None, {"data_root": "x" * 300}, "cannot be read"),
        (lambda root: None, {"classes": 2, "size": 40}, "size is 40"),
        (lambda root: (root / "JPEGImages").rename(root / "Images"), {}, "has no folder JPEGImages"),
        (lambda root: Image.new("L", (80, 60), 7).save(root / "SegmentationClass/2007_000000.png"), {},
         "mask of 2007_000000 has the label 7: with --classes 3 allowed are 0 to 2"),
        (lambda root: None, {"batch": 16}, "--batch 16 is more than the 8 training images"),
        (lambda root: None, {"network": "fcn_resnet50", "padding": "none"}, "network fcn_resnet50 pads zeros"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(voc: Path, change: Any, fields: dict[str, Any], said: str) -> None:
    change(voc)
    with pytest.raises(UserError, match=said) as told:
        made(**{"data": "voc", "data_root": str(voc), "size": 48, "classes": 3, **fields})
    assert "\n" not in str(told.value)
