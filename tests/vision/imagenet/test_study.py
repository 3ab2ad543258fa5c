"""The image folder study: augmentation by seed and step, odd pictures, scores, a kill with workers."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shop import ENVIRONMENT, TORCHRUN, Workshop, fault, outcome
from torch import nn

from sandbox.base.errors import RunError, UserError
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.train.device import make_fabric
from vision.imagenet.digits import DigitPictures
from vision.imagenet.items import Training, spread
from vision.imagenet.spec import ImagenetConfig
from vision.imagenet.study import ImagenetStudy

SMALL: dict[str, Any] = {"coord": False, "model": "resnet18", "size": 16, "batch": 4, "steps": 2, "workers": 0}
FLAGS = ("--task", "imagenet", "--model", "resnet18", "--smoke", "--device", "cpu", "--precision", "32", "--coord",
         "--size", 16)  # fmt: skip
PLACE = Path("smoke/vision/imagenet/coord/seed-0")
ODD = ("grey.jpg", "cmyk.jpg", "turned.jpg", "truncated.jpg", "text.jpg")
CANNOT = 2  # of them


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 small JPEGs in two classes, which differ in their red; five odd ones are among those that train."""
    root, draws = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 75), ("val", 25)):
        for label, name in enumerate(("dark", "light")):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = draws.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                pixels[..., 0] = 255 * label
                Image.fromarray(pixels).save(root / part / name / f"{k:03d}.jpg")
    odd, image = root / "train/light", Image.new("RGB", (24, 20), (255, 128, 0))
    image.convert("L").save(odd / "grey.jpg")
    image.convert("CMYK").save(odd / "cmyk.jpg")
    exif = Image.Exif()
    exif[274] = 6
    image.save(odd / "turned.jpg", exif=exif)
    content = (odd / "000.jpg").read_bytes()
    (odd / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (odd / "text.jpg").write_text("not a picture")
    return root


def config(folder: Path, **fields: Any) -> ImagenetConfig:
    made = validated(ImagenetConfig, {**SMALL, "data_root": str(folder), **fields}, COMMAND_LINE)
    assert isinstance(made, ImagenetConfig)
    return made


def made(folder: Path, **fields: Any) -> ImagenetStudy:
    return ImagenetStudy(config(folder, **fields), make_fabric("cpu", "32"))


def test_a_batch_depends_on_the_seed_and_the_step_alone(folder: Path) -> None:
    first, second = made(folder), made(folder, workers=1)
    torch.manual_seed(7)
    for _ in range(3):
        torch.rand(1)  # whatever else draws
    for step in (1, 2):
        for a, b in zip(first.batches(step), second.batches(step), strict=True):
            assert torch.equal(a, b)
    again = first.batches(2)
    assert torch.equal(again[0], second.batches(2)[0])
    assert not torch.equal(again[0], made(folder, seed=1).batches(2)[0])
    second.batches.close()


def test_what_is_odd_is_decoded_or_passed_over_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = made(folder, batch=155)  # a step is an epoch
    used = study.batches(1)[2]
    study._note(study.batches.epochs.indices(1), used, 1)
    names = {study.train.name(k) for k in study.left_out.nonzero()[:, 0].tolist()}
    assert names == {"light/truncated.jpg", "light/text.jpg"}
    assert "cannot be used: the next picture stands in for it" in capsys.readouterr().err
    told = study.files()["left_out.txt"].decode()
    assert told.startswith(f"{CANNOT} training pictures")
    assert "light/text.jpg" in told
    again = made(folder)
    again.load_state_dict(study.state_dict())
    assert torch.equal(again.left_out, study.left_out)


class Broken:
    classes = ("a", "b")

    def __len__(self) -> int:
        return 5

    def label(self, index: int) -> int:
        return 0

    def name(self, index: int) -> str:
        return f"picture {index}"

    def read(self, index: int, needed: int | None = None) -> Image.Image:
        from sandbox.data.pictures import NoPicture

        raise NoPicture("is damaged")


def test_data_without_any_picture_end_the_run() -> None:
    with pytest.raises(RunError, match="5 pictures one after another cannot be used, the last: picture 1 is damaged"):
        Training(Broken(), 16, 0.5, flip=True).item(2, torch.Generator())


class Reddish(nn.Module):
    """Says ``light`` where an image has much red."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0].mean((1, 2))
        return torch.stack([-red, red], 1)


def test_scores_of_a_network_that_is_right(folder: Path) -> None:
    study = made(folder)
    study.modules["network"] = Reddish()
    found = study.evaluate()
    assert found["score/top1"] == found["score/top5"] == found["score/train_top1"] == 1.0
    assert 0 < found["score/loss"] < 0.3
    study.modules["network"] = nn.Sequential(Reddish(), nn.Linear(2, 2, bias=False))
    study.modules["network"][1].weight.data = -torch.eye(2)
    wrong = study.evaluate()
    assert (wrong["score/top1"], wrong["score/top5"]) == (0.0, 1.0)
    assert wrong["score/loss"] > 1


def test_held_out_pictures_that_cannot_be_read_are_no_part_of_the_scores(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    for k in range(10):
        (tmp_path / f"copy/val/dark/{k:03d}.jpg").write_bytes(b"")
    study = made(tmp_path / "copy")
    study.modules["network"] = Reddish()
    assert study.evaluate()["score/top1"] == 1.0
    assert "10 of 50 held-out pictures cannot be used" in capsys.readouterr().err
    assert study.preview()[0].ndim == 3


def test_the_running_mean_is_scored(folder: Path) -> None:
    study = made(folder, ema=0.9, lr=0.5, rise=0)
    study.step(1)
    first = [p.detach().clone() for p in study.modules["average"].parameters()]
    weights = [p.detach().clone() for p in study.network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(first, weights, strict=True))  # it begins with the first weights
    study.step(2)
    for mean, old, new in zip(study.modules["average"].parameters(), weights, study.network.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.9 * old + 0.1 * new, rtol=1e-4, atol=1e-6)
    assert study._scored() is study.modules["average"]


def test_the_rate_rises_and_falls(folder: Path) -> None:
    study = made(folder, steps=100, rise=0.1)
    rates = [study.rate(step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9]) == pytest.approx(1)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch": 156}, "--batch 156 is more than the 155 training pictures"),
        ({"sync_batch_norm": True}, "--sync-batch-norm works on GPUs, not on cpu"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(folder, **fields)


def test_places_are_spread_over_the_classes() -> None:
    assert spread(10, 0).tolist() == list(range(10))
    assert spread(10, 3).tolist() == [0, 4, 9]
    assert spread(3, 10).tolist() == [0, 1, 2]


def test_digits_are_split_and_grey() -> None:
    train, test = DigitPictures(True), DigitPictures(False)
    assert (len(train), len(test)) == (1437, 360)
    assert {train.label(k) for k in range(len(train))} == set(range(10))
    pixels = np.asarray(test.read(0))
    assert pixels.shape == (8, 8, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels.max() == 255


# ---- the command


@pytest.mark.slow
def test_killed_with_two_workers_it_ends_the_same(workshop: Workshop, folder: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--data-root", folder, "--workers", 2)
    whole = workshop.module("sandbox.vision", *flags, "--root", tmp_path / "whole")
    assert whole.wait() == 0, whole.stderr
    assert "score/top1" in whole.stdout
    killed = workshop.module("sandbox.vision", *flags, "--root", tmp_path / "killed", before=fault(30, "kill"))
    assert killed.wait() == -signal.SIGKILL
    again = workshop.module("sandbox.vision", *flags, "--root", tmp_path / "killed")
    assert again.wait() == 0, again.stderr
    assert outcome(tmp_path / "killed" / PLACE) == outcome(tmp_path / "whole" / PLACE)


def test_no_data_is_one_line(workshop: Workshop, tmp_path: Path) -> None:
    command = workshop.module("sandbox.vision", *FLAGS, "--data-root", tmp_path / "none", "--root", tmp_path / "runs")
    assert command.wait() == 2
    (line,) = command.stderr.splitlines()
    assert "there is no folder" in line
    assert "train/ and val/" in line
    assert not list((tmp_path / "runs").rglob("config.yaml"))


@pytest.mark.slow
def test_two_processes_killed_and_continued_end_as_two_that_were_not(folder: Path, tmp_path: Path) -> None:
    code = f"{fault(30, 'kill')}\nimport runpy\nrunpy.run_module('sandbox.vision', run_name='__main__', alter_sys=True)"
    (tmp_path / "killed.py").write_text(code)

    def run(root: str, *start: str) -> int:
        flags = [*FLAGS, "--data-root", folder, "--workers", 1, "--root", tmp_path / root]
        command = [*TORCHRUN, *start, *map(str, flags)]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=300).returncode

    assert run("whole", "-m", "sandbox.vision") == 0
    assert run("killed", str(tmp_path / "killed.py")) != 0
    assert not (tmp_path / "killed" / PLACE / "result.json").exists()
    assert run("killed", "-m", "sandbox.vision") == 0
    assert outcome(tmp_path / "killed" / PLACE) == outcome(tmp_path / "whole" / PLACE)
