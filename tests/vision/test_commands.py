"""The command of the coordinate tasks as a user runs it."""

import signal
from pathlib import Path

import pytest
from shop import Workshop, fault, outcome

pytestmark = pytest.mark.slow

PLACE = Path("smoke/vision/regression/quadrant/coord/seed-0")
FLAGS = ("--task", "regression", "--split", "quadrant", "--coord", "--smoke", "--device", "cpu", "--precision", "32")


@pytest.fixture(scope="module")
def whole(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The root of a run that was left alone, and what it printed."""
    root = tmp_path_factory.mktemp("whole")
    command = workshop.module("sandbox.vision", *FLAGS, "--root", root)
    assert command.wait() == 0, command.stderr
    return root, command.stdout


def test_it_prints_its_scores_and_where_everything_lies(whole: tuple[Path, str]) -> None:
    root, printed = whole
    for text in ("score/test_error", "score/train_error_worst", "parameters", str(root / PLACE / "samples")):
        assert text in printed
    assert {"interpolation.gif", "training.gif"} <= {path.name for path in (root / PLACE / "samples").iterdir()}


def test_killed_and_started_again_it_ends_the_same(workshop: Workshop, whole: tuple[Path, str], tmp_path: Path) -> None:
    command = workshop.module("sandbox.vision", *FLAGS, "--root", tmp_path, before=fault(30, "kill"))
    assert command.wait() == -signal.SIGKILL
    assert not (tmp_path / PLACE / "result.json").exists()
    again = workshop.module("sandbox.vision", *FLAGS, "--root", tmp_path)
    assert again.wait() == 0, again.stderr
    ends = [outcome(root / PLACE) for root in (tmp_path, whole[0])]
    for end in ends:
        assert end["weights"].pop("record.safetensors")  # how long it took
    assert ends[0] == ends[1]


def test_a_wrong_task_is_one_line_and_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    command = workshop.module("sandbox.vision", "--task", "classifcation", "--root", tmp_path)
    assert command.wait() == 2
    (line,) = command.stderr.splitlines()
    assert "did you mean 'classification'?" in line
    assert list(tmp_path.iterdir()) == []


# ---- tasks with a package of their own

PROBE = ("--task", "position", "--target", "image", "--smoke", "--device", "cpu", "--precision", "32")
PROBED = Path("smoke/vision/position/image/seed-0")


@pytest.fixture(scope="module")
def probed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The root of a probe that was left alone, and what it printed."""
    root = tmp_path_factory.mktemp("probed")
    command = workshop.module("sandbox.vision", *PROBE, "--root", root)
    assert command.wait() == 0, command.stderr
    return root, command.stdout


def test_a_probe_prints_the_paper_s_table(probed: tuple[Path, str]) -> None:
    root, printed = probed
    lines = [line.split() for line in printed.splitlines()]
    head = lines.index(["SPC", "MAE"])
    assert lines[head + 1] == 2 * ["natural", "black", "white", "noise"]
    assert [line[0] for line in lines[head + 2 : head + 7]] == ["H", "V", "G", "HS", "VS"]
    assert "megabytes" in printed
    assert {"interpolation.gif", "training.gif"} <= {path.name for path in (root / PROBED / "samples").iterdir()}


def test_a_probe_killed_and_started_again_ends_the_same(
    workshop: Workshop, probed: tuple[Path, str], tmp_path: Path
) -> None:
    command = workshop.module("sandbox.vision", *PROBE, "--root", tmp_path, before=fault(30, "kill"))
    assert command.wait() == -signal.SIGKILL
    assert (tmp_path / PROBED / "config.yaml").exists()
    assert not (tmp_path / PROBED / "result.json").exists()
    again = workshop.module("sandbox.vision", *PROBE, "--root", tmp_path)
    assert again.wait() == 0, again.stderr
    assert outcome(tmp_path / PROBED) == outcome(probed[0] / PROBED)


@pytest.mark.parametrize(
    ("flags", "place", "said"),
    [
        ("red_green --arm full", "red_green/full", "score/dissimilar_accuracy"),
        ("location --arm permute --asks location", "location/location/permute", "score/test_accuracy"),
        ("shift --arm loss", "shift/loss", "score/consistency"),
        ("neurons --arm circular --data shapes", "neurons/shapes/circular", "score/excess"),
        ("cam --arm zeros_coord", "cam/zeros_coord", "control, same size, all shared cells"),
        ("cam --target alexnet --weights random", "cam_alexnet/target", "undefined"),
    ],
)
def test_a_classifier_killed_and_started_again_ends_the_same(
    workshop: Workshop, tmp_path: Path, flags: str, place: str, said: str
) -> None:
    words = ("--task", *flags.split(), "--smoke", "--device", "cpu", "--precision", "32")
    killed = workshop.module("sandbox.vision", *words, "--root", tmp_path, before=fault(30, "kill"))
    assert killed.wait() == -signal.SIGKILL
    run = Path("smoke/vision") / place / "seed-0"
    assert (tmp_path / run / "config.yaml").exists()
    assert not (tmp_path / run / "result.json").exists()
    for root in (tmp_path, tmp_path / "whole"):
        command = workshop.module("sandbox.vision", *words, "--root", root)
        assert command.wait() == 0, command.stderr
        assert said in command.stdout
    assert outcome(tmp_path / run) == outcome(tmp_path / "whole" / run)


def test_a_classifier_is_trained_probed_and_resumed(workshop: Workshop, tmp_path: Path) -> None:
    flags = ("--task", "padding", "--arm", "circular", "--smoke", "--device", "cpu", "--precision", "32")
    place = Path("smoke/vision/padding/circular/seed-0")
    killed = workshop.module("sandbox.vision", *flags, "--root", tmp_path, before=fault(30, "kill"))
    assert killed.wait() == -signal.SIGKILL
    for root in (tmp_path, tmp_path / "whole"):
        command = workshop.module("sandbox.vision", *flags, "--root", root)
        assert command.wait() == 0, command.stderr
        assert "score/test_accuracy" in command.stdout
    assert outcome(tmp_path / place) == outcome(tmp_path / "whole" / place)
    probe = workshop.module("sandbox.vision", "--task", "position", "--target", tmp_path / place, "--smoke",
                            "--root", tmp_path)  # fmt: skip
    assert probe.wait() == 0, probe.stderr
    assert "stages.3 16x8x8" in probe.stdout


def test_two_arms_of_a_task_are_compared(workshop: Workshop, tmp_path: Path) -> None:
    command = workshop.module("sandbox.compare", "vision/position", "--smoke", "--arms", "image", "probe",
                              "--seeds", 1, "--root", tmp_path)  # fmt: skip
    assert command.wait() == 0, command.stderr
    report = (tmp_path / "smoke/vision/position/comparison/report.md").read_text()
    assert report.startswith("# vision/position\n")
    assert "SPC of H and V, natural images" in report


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--task positon", "--task is 'positon': allowed are classification, regression, rendering, "),
        ("--task position --target vg16", "did you mean 'vgg16'?"),
        ("--task position --target runs/nothing/here", "runs/nothing/here is no run folder"),
        ("--task position --target runs/nothing/here --seed abc", "--seed is 'abc'"),
        ("--task position --target resnet18 --weights nope.pth", "--weights: nope.pth is not there: fetch a file"),
        ("--task position --data folder --data-root nowhere", "--data-root: nowhere is no folder"),
        ("--task position --stages 2", "--stages is 2: image has 1 levels"),
        ("--task regression --config vision/position", "leave one of the two out"),
        ("--config vision/position --split quadrant", "unknown argument '--split'"),
        ("--task padding --padding zero", "did you mean 'zeros'?"),
        ("--task location --data cifar10 --data-root nowhere", "--data-root: nowhere does not hold CIFAR-10"),
        ("--task location --asks where", "is not one of location, location_5x5, location_7x7, recognition"),
        ("--task location --grid 4", "--grid is '4': allowed are 3, 5, 7"),
        ("--task red_green --padding ful", "did you mean 'full'?"),
        ("--task shift --margin 5", "allowed are 4, 8, 16"),
        ("--task cam --target vg16", "did you mean 'vgg16'?"),
        ("--task cam --target runs/nothing/here", "runs/nothing/here is no run folder"),
        ("--task cam --target alexnet --size 40", "alexnet cannot run on images of 40 pixels"),
        ("--task cam --size 100", "size is 100: allowed are multiples of 8 from 64 on"),
        ("--task cam --paddin zeros", "unknown argument '--paddin'"),
        ("--task shift --images 32 --batch 64", "batch (64) must not exceed images (32)"),
    ],
)
def test_a_mistake_of_a_task_is_one_line_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path, line: str, said: str
) -> None:
    command = workshop.module("sandbox.vision", *line.split(), "--root", tmp_path, "--device", "cpu", cwd=tmp_path)
    assert command.wait() == 2
    (complaint,) = command.stderr.splitlines()
    assert said in complaint
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_the_help_of_the_door_tells_about_all_tasks(workshop: Workshop) -> None:
    general, own = (workshop.module("sandbox.vision", *flags, "--help") for flags in ((), ("--task", "position")))
    assert general.wait() == own.wait() == 0
    for task in ("classification, regression, rendering", "position", "padding"):
        assert task in general.stdout
    assert "--strip-padding" in own.stdout
    assert "--strip-padding" not in general.stdout
    listed = workshop.module("sandbox")
    assert listed.wait() == 0
    assert "--task position" in listed.stdout
    assert "vision/padding" in listed.stdout
