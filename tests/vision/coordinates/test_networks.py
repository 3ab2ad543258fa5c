"""The published sizes, closed-form solutions, and what the arms of a pair share."""

import pytest
import torch
from torch import Tensor, nn

from sandbox.experiment.file import load_experiment
from sandbox.nn.blocks import Convolutions
from sandbox.nn.coordconv import CoordConv2d, to_concatenated
from sandbox.nn.planes import coordinate_planes
from sandbox.train.device import make_fabric
from vision.coordinates.networks import (
    MatchedPainter,
    PaperCoordPainter,
    PaperCoordRenderer,
    PaperDeconv,
    Reader,
    make_network,
)
from vision.coordinates.study import VisionStudy
from vision.coordinates.tasks import make_task
from vision.spec import VisionConfig

ALL = torch.arange(3136)


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# ---- sizes


def test_the_published_networks_have_the_published_sizes() -> None:
    assert _count(PaperCoordPainter()) == 7553
    assert _count(make_network(VisionConfig(task="regression"))) == 906
    assert _count(PaperDeconv(2, 1)) == 46_465  # the smallest of the sweep: 46 k
    assert _count(PaperDeconv(4, 3)) == 1_632_001  # the largest: 1.63 M


@pytest.mark.parametrize("fs", [2, 3, 4])
def test_six_transposed_convolutions_make_64_pixels_of_one(fs: int) -> None:
    assert PaperDeconv(fs, 1)(torch.zeros(2, 2)).shape == (2, 1, 64, 64)


def test_what_cannot_be_built_says_why() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        PaperDeconv(1, 1)
    with pytest.raises(ValueError, match="2 channels, not 8"):
        Reader(Convolutions(), [(8, 3)], relu=True, downsampling="none", pooling="max")


def test_the_painter_computes_what_concatenating_would() -> None:
    network, centres = PaperCoordPainter(with_r=True), torch.rand(3, 2) * 2 - 1
    tiled = centres[:, :, None, None].expand(-1, -1, 64, 64)
    x = torch.cat([tiled, coordinate_planes(64, 64, with_r=True).expand(3, -1, -1, -1)], 1)
    x = nn.functional.conv2d(x, to_concatenated(network.first), network.first.bias)
    for layer in network.rest:
        x = layer(x.relu())
    torch.testing.assert_close(network(centres), x)


# ---- closed forms: the tasks can be solved exactly by the published coordinate networks


@torch.no_grad()
def _solve_painter(network: PaperCoordPainter, sharpness: float) -> None:
    """Logits of -sharpness (|x - i| + |y - j|): the absolute values are two ReLUs each."""
    for parameter in network.parameters():
        parameter.zero_()
    for channel, (axis, sign) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1)]):
        network.first.weight[channel, axis] = sign  # content: the centre
        network.first.coordinate_weight[channel, axis] = -sign  # coordinates: the pixel
    for layer in list(network.rest)[:-1]:
        assert isinstance(layer, nn.Conv2d)
        layer.weight[:4, :4, 0, 0] = torch.eye(4)
    last = network.rest[-1]
    assert isinstance(last, nn.Conv2d)
    last.weight[0, :4] = -sharpness


@pytest.mark.slow
@torch.no_grad()
def test_a_painter_set_by_hand_classifies_every_position() -> None:
    config = VisionConfig()
    task, network = make_task(config, torch.device("cpu")), PaperCoordPainter()
    _solve_painter(network, 100.0)
    for rows in ALL.split(448):
        assert task.summary(task.scores(network(task.inputs(rows)), rows)) == {"accuracy": 1.0, "distance": 0.0}


@pytest.mark.slow
@torch.no_grad()
def test_a_renderer_set_by_hand_renders_every_square_exactly() -> None:
    config = VisionConfig(task="rendering")
    task, network = make_task(config, torch.device("cpu")), PaperCoordRenderer(1)
    _solve_painter(network.painter, 1000.0)  # a softmax of ones and zeros
    for parameter in network.brush.parameters():
        parameter.zero_()
    layers = [layer for layer in network.brush if isinstance(layer, nn.Conv2d)]
    for layer in layers[:4]:  # each widens the pixel by one on every side: 3x3, 5x5, 7x7, 9x9
        layer.weight[0, 0] = 1
    layers[4].weight[0, 0, 1, 1] = 1
    nn.init.constant_(layers[4].bias, -0.5)  # type: ignore[arg-type]
    for rows in ALL.split(448):
        assert task.summary(task.scores(network(task.inputs(rows)), rows)) == {"iou": 1.0, "iou_worst": 1.0}


@torch.no_grad()
def test_a_reader_set_by_hand_reads_every_position() -> None:
    config = VisionConfig(task="regression")
    task, network = make_task(config, torch.device("cpu")), make_network(config)
    assert isinstance(network, Reader)
    for parameter in network.parameters():
        parameter.zero_()
    first, *rest = network.convs
    assert isinstance(first, CoordConv2d)
    for axis in (0, 1):  # 2 x pixel + coordinate - 2: nowhere but at the pixel does it exceed -1
        first.weight[axis, 0], first.coordinate_weight[axis, axis] = 2.0, 1.0
        assert first.bias is not None
        first.bias[axis] = -2.0
        for layer in rest:
            assert isinstance(layer, nn.Conv2d)
            middle = layer.kernel_size[0] // 2
            layer.weight[axis, axis, middle, middle] = 1.0
    for rows in ALL.split(448):
        assert task.summary(task.scores(network(task.inputs(rows)), rows))["error_worst"] < 1e-4


# ---- every arm of every task

TASKS = ("classification", "regression", "rendering")
ARMS = [(task, arm) for task in TASKS for arm in load_experiment(f"vision/{task}").arms]


def _study(task: str, arm: str, split: str = "quadrant", **fields: object) -> VisionStudy:
    config = load_experiment(f"vision/{task}").resolve(arm, {"batch": 8, **fields}, smoke=True, task=split)
    return VisionStudy(config, make_fabric("cpu", "32"))


@pytest.mark.parametrize(("task", "arm"), ARMS)
def test_every_arm_trains(task: str, arm: str) -> None:
    study = _study(task, arm)
    before = [parameter.clone() for parameter in study.network.parameters()]
    losses = study.step(1)
    assert losses.keys() == {"loss/train", "grad/network"}
    assert all(torch.isfinite(value) for value in losses.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, study.network.parameters(), strict=True))
    assert study.task.scores(study._run(study.test[:4]), study.test[:4])[study.task.metric].shape == (4,)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("plain", "coord"), [("matched", "matched_coord"), ("position_free", "position_free_coord")])
def test_without_its_coordinate_weights_an_arm_is_its_plain_one(task: str, plain: str, coord: str) -> None:
    a, b, moved = _study(task, plain), _study(task, coord), _study(task, coord)
    assert a.config.differs_by_coordinates_alone(b.config)
    layers = [layer for layer in b.network.modules() if isinstance(layer, CoordConv2d)]
    assert layers
    for layer in layers:
        nn.init.zeros_(layer.coordinate_weight)
    expected, found, other = (float(study.step(1)["loss/train"]) for study in (a, b, moved))
    assert found == pytest.approx(expected, rel=1e-4)
    assert other != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_the_published_arms_are_not_said_to_differ_by_coordinates_alone(task: str) -> None:
    a, b = (load_experiment(f"vision/{task}").resolve(arm, task="uniform") for arm in ("conv", "coord"))
    assert not a.differs_by_coordinates_alone(b)


# ---- no source of position but the coordinates


def _rolled(x: Tensor, rows: int, columns: int) -> Tensor:
    return x.roll((rows, columns), (2, 3))


@torch.no_grad()
@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (3, 2)])
def test_a_position_free_painter_is_equivariant(rows: int, columns: int) -> None:
    maps, uneven = torch.randn(2, 32, 4, 4), {}
    for arm in ("matched", "position_free", "position_free_coord"):
        network = _study("classification", arm, width=4).network.eval()
        assert isinstance(network, MatchedPainter)
        moved = _rolled(network.paint(maps), 16 * rows, 16 * columns)
        uneven[arm] = float((network.paint(_rolled(maps, rows, columns)) - moved).abs().max())
    assert uneven["position_free"] < 1e-4
    assert min(uneven["matched"], uneven["position_free_coord"]) > 1e-2


@torch.no_grad()
def test_a_position_free_painter_paints_one_flat_map() -> None:
    centres = torch.rand(3, 2)
    flat = _study("rendering", "position_free").network.eval()(centres)
    structured = _study("rendering", "position_free_coord").network.eval()(centres)
    assert flat.std((2, 3)).max() < 1e-5
    assert structured.std((2, 3)).min() > 1e-3


@torch.no_grad()
def test_a_position_free_reader_cannot_tell_two_places_apart() -> None:
    blind, seeing = (_study("regression", arm) for arm in ("position_free", "position_free_coord"))
    rows = torch.tensor([0, 500, 3135])
    assert blind._run(rows).std(0).max() < 1e-6
    assert seeing._run(rows).std(0).max() > 1e-4
