"""The first losses of every study, pinned: no change of structure may change what a step computes.

python tests/test_pins.py --write       # measures them anew, after a change that was meant to
python tests/test_pins.py --write new   # measures those that are not in the file, and drops those that are no case
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

PINS = Path(__file__).with_name("pins.json")
STEPS = 3
TOLERANCE = 1e-3  # processors add in different orders
# Where weights changed by a ten-millionth, as another processor's rounding would, move the second or third step by more
# than half of that: by up to .0055, and batch norm over two images by up to .07 (its first by .003). ResNet-18's third
# gradient lies between 116 and 173 on one processor, by the instructions that its libraries may use.
LATER = {
    **{f"gan/sort_of_clevr_paper {arm} batch=2": 0.2 for arm in ("conv", "coord")},
    **dict.fromkeys((
        "gan/lsun_small coord data_root=NOISE", "vision/padding zeros", "vision/padding circular", "vision/shift loss",
        "vision/shift loss_coord", "vision/shift plain_shifted", "vision/neurons zeros task=rooms",
        "vision/instances_scattered distance task=scattered",
    ), 1e-2),
    **{f"vision/imagenet_digits {arm}": 0.5 for arm in ("coord", "first")},
}  # fmt: skip
FIRST = {case: 1e-2 for case in LATER if case.startswith("gan/sort_of_clevr_paper")}
NOTHING = {"train/policy_gradient_loss": 1e-6}  # a mean of terms around 1 that add up to nothing; else 1e-7
CLOCK = "time/"  # tags that no two runs share
# CONFIG ARM [FIELD=VALUE ...]; task=NAME is one of the file's tasks.
CASES = (
    *(f"gan/{name} {arm}" for name in ("sort_of_clevr", "rooms") for arm in ("conv", "coord")),
    *(f"gan/sort_of_clevr_paper {arm} batch=2" for arm in ("conv", "coord")),  # dear
    *(f"gan/lsun_small {arm} data_root=NOISE" for arm in ("conv", "coord")),  # a folder of images stands in for LSUN
    *(f"vae/sort_of_clevr {arm}" for arm in ("conv", "coord")),
    *(f"rl/mspacman {arm}" for arm in ("conv", "coord", "two_trunks", "actor", "coord restart=sb3")),
    *(f"rl/mspacman {arm}" for arm in ("conv agent=ppo", "coord agent=ppo", "conv env=minatar:breakout")),
    *(f"rl/minatar {arm} task=minatar_breakout" for arm in ("coord_flatten", "coord_mean_deep")),
    *(f"rl/apex_minatar {arm}" for arm in ("conv", "coord", "conv agent=dqn")),
    *(f"vision/{name} {arm} task=uniform" for name in ("classification", "regression") for arm in ("conv", "coord")),
    *(f"vision/rendering {arm} task={split}" for split in ("uniform", "quadrant") for arm in ("conv", "coord")),
    *(f"vision/detection {arm} task={data}" for arm in ("conv", "coord") for data in ("canvas64", "crop120")),
    "vision/detection_frcnn coord task=canvas64",
    *(f"vision/cam {arm}" for arm in ("zeros", "zeros_coord")),
    *(f"vision/segmentation {arm}" for arm in ("zeros", "valid", "valid_cropped_coord")),
    *(f"vision/depth {arm}" for arm in ("zeros", "circular_rows")),
    *(f"vision/imagenet_digits {arm}" for arm in ("conv", "coord", "first")),
    "vision/position image",
    "vision/position vgg16 weights=random",
    "vision/position probe target=RUN",  # of the default GAN
    *(f"vision/padding {arm}" for arm in ("zeros", "zeros_coord", "circular")),
    *(f"vision/location {arm} task={asks}" for asks in ("location", "recognition") for arm in ("gap", "gap_coord")),
    "vision/location permute task=location",
    *(f"vision/shift {arm}" for arm in ("loss", "loss_coord", "plain_shifted")),
    *(f"vision/red_green {arm}" for arm in ("zeros", "zeros_coord", "full")),
    *(f"vision/neurons {arm} task={data}" for data in ("shapes", "rooms") for arm in ("zeros", "zeros_coord")),
    *(f"vision/instances {arm} task=grid12" for arm in ("circular", "zeros_input", "valid_output")),
    *(f"vision/instances_scattered {arm} task=scattered" for arm in ("distance", "solo_masks")),
    "vision/instances_scattered embedding task=six",
)


def losses(case: str, place: Path) -> list[dict[str, float]]:
    """What the first steps of a case's smoke configuration return; ``place`` is a folder that all cases share."""
    # Ours are imported here alone: where they lie is what may change.
    from sandbox.data.lsun import open_images
    from sandbox.experiment.file import load_experiment
    from sandbox.experiment.run import Run
    from sandbox.train.checkpoints import save_checkpoint
    from sandbox.train.make import build

    name, arm, *pairs = case.split()
    settings = {"precision": "32", **dict(pair.split("=") for pair in pairs)}
    task = settings.pop("task", None)
    if settings.get("data_root") == "NOISE":
        settings["data_root"] = str(noise(place / "noise"))
        open_images(place / "noise", "bedroom", 64, processes=1)  # starting more takes longer than the images
    if settings.get("target") == "RUN":
        config = load_experiment("gan/sort_of_clevr").resolve("coord", {"precision": "32"}, smoke=True)
        target = Run(place / "run", "gan", "sort_of_clevr", "coord", "32", config)
        target.open()
        study = build(target, "cpu")
        save_checkpoint(target.checkpoints, 0, study.modules, study.optimisers, {})
        settings["target"] = str(target.folder)
    experiment = load_experiment(name)
    config = experiment.resolve(arm, settings, smoke=True, task=task)
    study = build(Run(place, experiment.study, experiment.name, arm, "32", config, task), "cpu")
    found = [study.step(step) for step in range(1, STEPS + 1)]
    return [{tag: float(value) for tag, value in row.items() if not tag.startswith(CLOCK)} for row in found]


def noise(folder: Path) -> Path:
    """As many images as a GAN of scenes asks for: 64 to train on, 2000 to score against."""
    if not folder.exists():
        folder.mkdir()
        pixels = np.random.default_rng(0).integers(0, 256, (2064, 16, 16, 3), dtype=np.uint8)
        for k, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{k:04d}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pins")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(found)


def test_every_case_is_pinned() -> None:
    assert list(json.loads(PINS.read_text())) == list(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_first_losses_are_the_pinned_ones(case: str, place: Path) -> None:
    pinned = json.loads(PINS.read_text())[case]
    later = LATER.get(case, TOLERANCE)
    allowed = [FIRST.get(case, TOLERANCE), *[later] * (STEPS - 1)]
    assert losses(case, place) == [
        {tag: pytest.approx(value, rel=limit, abs=NOTHING.get(tag, 1e-7), nan_ok=True) for tag, value in row.items()}
        for row, limit in zip(pinned, allowed, strict=True)
    ]


def write(*, new: bool) -> None:
    """Writes the file anew, or what is ``new`` in it."""
    torch.set_num_threads(1)
    known = json.loads(PINS.read_text()) if new else {}
    with tempfile.TemporaryDirectory() as folder:
        found = {case: known[case] if case in known else losses(case, Path(folder)) for case in CASES}
    PINS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] not in (["--write"], ["--write", "new"]):
        sys.exit(__doc__)
    sys.path[0] = str(PINS.parent.parent)  # this checkout's packages, not the tests' folders of the same names
    write(new=len(sys.argv) > 2)
