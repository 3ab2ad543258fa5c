"""Location classification: the canvases, the heads, and which paddings can know a cell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.base.errors import UserError
from sandbox.experiment.spec import study_spec
from sandbox.nn.seeding import seed_parameters
from sandbox.train.device import make_fabric
from vision.classify.networks import PooledLinear
from vision.location.networks import make_network
from vision.location.spec import TILE, LocationConfig
from vision.location.study import LocationStudy
from vision.location.tiles import make_canvases

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"width": 2, "images": 36, "test_images": 3, "batch": 8, "steps": 2, "coord": False}
STRIDES = {"small": 8, "resnet18": 16}


def config(**fields: Any) -> LocationConfig:
    return LocationConfig.model_validate({**SMALL, **fields})


def network(**fields: Any) -> torch.nn.Module:
    made = make_network(config(**fields))
    seed_parameters(made, 0, "network")
    return made.eval()


@pytest.mark.parametrize("grid", [3, 5])
def test_a_tile_lies_in_its_cell_and_nothing_else_is_there(grid: int) -> None:
    canvases, test = make_canvases(config(grid=grid), CPU)
    images = canvases.inputs(canvases.rows())
    assert images.shape == (36, 3, grid * TILE, grid * TILE)
    for k, (image, cell) in enumerate(zip(images, canvases.labels.tolist(), strict=True)):
        row, column = divmod(cell, grid)
        place = (slice(None), slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE))
        torch.testing.assert_close(image[place], canvases.images[k].float() / 127.5 - 1)
        image[place] = 0
        assert image.abs().max() == 0
    assert test.labels.tolist() == [*range(grid**2)] * 3
    assert not torch.equal(test.images, canvases.images[:3])


def test_recognition_shows_the_same_canvases() -> None:
    (where, _), (what, test) = (make_canvases(config(asks=asks), CPU) for asks in ("location", "recognition"))
    assert torch.equal(where.inputs(where.rows()), what.inputs(what.rows()))
    assert set(what.labels.tolist()) == {0, 1, 2, 3}
    assert all(len(set(test.labels[k * 9 : k * 9 + 9].tolist())) == 1 for k in range(3))
    blue, _ = make_canvases(config(asks="recognition", objects=1), CPU)
    assert torch.equal(blue.labels, what.labels % 2)


@given(st.sampled_from(["gap", "linear"]), st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_a_circular_network_says_the_same_of_an_image_rolled_by_its_stride(
    head: str, down: int, right: int, seed: int
) -> None:
    images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))
    net = network(head=head, padding="circular")
    torch.testing.assert_close(net(images.roll((down * 8, right * 8), (2, 3))), net(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_so_does_a_circular_resnet_and_no_other() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for padding, coord in (
        ("circular", False),
        ("zeros", False),
        ("none", False),
        ("partial", False),
        ("circular", True),
    ):
        net = network(network="resnet18", padding=padding, coord=coord)
        gap = (net(images.roll((16, -16), (2, 3))) - net(images)).abs().max() / net(images).abs().max()
        assert (gap < 1e-4) == (padding == "circular" and not coord)


def test_under_circular_padding_the_accuracy_is_that_of_chance() -> None:
    study = LocationStudy(config(padding="circular", head="linear"), make_fabric("cpu", "32"))
    for step in (1, 2):
        study.step(step)
    assert study.evaluate()["score/test_accuracy"] == pytest.approx(1 / 9)


@torch.no_grad()
def test_a_permutation_moves_channels_and_depends_on_its_key_alone() -> None:
    plain, permuted = PooledLinear(16, 16), PooledLinear(16, 16, permuted=True)
    for head in (plain, permuted):
        head.weight.copy_(torch.eye(16))
        head.bias.zero_()
    maps = torch.arange(16.0)[None, :, None, None].expand(2, 16, 3, 3)
    assert torch.equal(plain(maps)[0], torch.arange(16.0))
    permuted.restart(0, "step", 1)
    first, second = permuted(maps), permuted(maps)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    assert torch.equal(first[0].sort().values, torch.arange(16.0))
    permuted.restart(0, "step", 1)
    assert torch.equal(permuted(maps), first)


def test_linear_and_permute_differ_by_the_permutation_alone() -> None:
    a, b = network(head="linear"), network(head="permute")
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    results = []
    for looks in (0, 2):
        study = LocationStudy(config(head="permute"), make_fabric("cpu", "32"))
        for step in (1, 2):
            for _ in range(looks):
                study.preview()
            study.step(step)
        results.append([p.detach() for p in study.network.parameters()])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))
    assert study.evaluate() == study.evaluate()


@pytest.mark.parametrize(
    ("asks", "objects", "layout"), [("location", 2, (3, 3)), ("recognition", 2, (2, 2)), ("recognition", 1, (1, 2))]
)
def test_a_run_says_what_it_declares(asks: str, objects: int, layout: tuple[int, int]) -> None:
    study = LocationStudy(config(asks=asks, objects=objects), make_fabric("cpu", "bf16"))
    assert study.layout == layout
    assert torch.isfinite(study.step(1)["loss/train"])
    assert study.evaluate().keys() == {score.tag for score in study_spec("vision.location").scores_of(study.config)}
    picture, preview = study.preview()
    assert picture.dtype == np.uint8
    assert preview.keys() == {"preview/test_accuracy"}
    assert study.film(frames=3, count=2, path="loop", seed=0).shape[:2] == (3, 2)


# ---- CIFAR-10


def test_missing_cifar_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--data-root: .* does not hold CIFAR-10.*unpack https://.*cifar-10-python.tar.gz"
    ):
        make_canvases(config(data="cifar10", data_root=str(tmp_path)), CPU)


def test_cifar_is_read_as_it_is_unpacked(cifar: Path) -> None:
    ours = {"data": "cifar10", "data_root": str(cifar), "asks": "recognition"}
    train, test = make_canvases(config(**ours), CPU)
    assert train.images[:, 0, 0, 0].tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 6
    assert train.labels.tolist() == [*range(10)] * 3 + [*range(6)]
    assert test.images.unique().tolist() == [5]
    with pytest.raises(UserError, match=r"--images is 51, but CIFAR-10 has 50"):
        make_canvases(config(**ours, images=51), CPU)
