"""What symmetry says of identical objects holds to rounding, whatever the weights are."""

import csv
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.nn.seeding import seed_parameters
from vision.instances.networks import InstanceNet
from vision.instances.scenes import data_of, make_scenes
from vision.instances.spec import BORDER, STRIDE, InstancesConfig, grid_size
from vision.instances.theory import BOUND, expected_share, kinds, mean_vectors, phases, table, untrained

CPU = torch.device("cpu")
SPACINGS = (12, 13, 14, 15, 16, 20, 24)


def config(**fields: Any) -> InstancesConfig:
    own = {"coord": False, "padding": "circular", "width": 6, "images": 32, "test_images": 2}
    return InstancesConfig.model_validate({**own, **fields})


def network(seed: int = 0, **fields: Any) -> InstanceNet:
    made = InstanceNet(config(**fields))
    seed_parameters(made, seed, "network")
    return made.eval()


def gaps(**fields: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Differences of the objects' mean embeddings, which of them symmetry makes alike, and the spread of all pixels."""
    own = config(**fields)
    _, scenes, _ = make_scenes(own, CPU)
    with torch.no_grad():
        out = network(**fields)(scenes.inputs(scenes.rows(1)))[:, :-1]
    (means,) = mean_vectors(out, scenes.ids[:1])
    (centres,) = data_of(own, "held out").centres(np.array([10**6]))  # type: ignore[union-attr]  # the first held-out one
    alike = torch.from_numpy(kinds(centres)[:, None] == kinds(centres)[None])
    return torch.cdist(means, means), alike, out.double().var((2, 3), correction=0).sum().sqrt()


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("padding", ["circular", "valid"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_embeddings_are_equal_exactly_where_places_agree_modulo_the_stride(
    spacing: int, padding: str, skips: bool
) -> None:
    distances, alike, spread = gaps(spacing=spacing, padding=padding, skips=skips)
    assert distances[alike].max() < 1e-5 * spread
    if not alike.all():
        assert distances[~alike].min() > 1e-3 * spread
    assert len(torch.unique(alike, dim=0)) == phases(spacing) ** 2 <= BOUND


@pytest.mark.parametrize("fields", [{"coord": True}, {"head": "semiconv"}, {"padding": "zeros"}])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_coordinates_or_borders_make_all_of_them_differ(spacing: int, fields: dict[str, Any]) -> None:
    distances, _, spread = gaps(spacing=spacing, **fields)
    distances.fill_diagonal_(torch.inf)
    assert distances.min() > 3e-4 * spread


def test_a_semi_convolution_adds_exactly_the_distance_of_the_places() -> None:
    own = config(spacing=16)
    _, scenes, _ = make_scenes(own, CPU)
    with torch.no_grad():
        plain, semi = (network(head=head)(scenes.inputs(scenes.rows(1)))[:, :-1] for head in ("embedding", "semiconv"))
    (before,), (after,) = (mean_vectors(out, scenes.ids[:1]) for out in (plain, semi))
    added = after - before
    torch.testing.assert_close(added[:, 2:], torch.zeros_like(added[:, 2:]), rtol=0, atol=1e-5)
    (centres,) = data_of(own, "held out").centres(np.array([10**6]))  # type: ignore[union-attr]
    middle = (own.size - 1) / 2
    torch.testing.assert_close(added[:, :2], torch.from_numpy(centres - middle), rtol=0, atol=1e-4)


@given(st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_a_circular_network_rolls_with_its_images_by_whole_strides(down: int, right: int, seed: int) -> None:
    images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))
    net, way = network(seed), (STRIDE * down, STRIDE * right)
    torch.testing.assert_close(net(images.roll(way, (2, 3))), net(images).roll(way, (2, 3)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_it_does_not_roll_by_less() -> None:
    images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    net = network()
    for way in range(1, STRIDE):
        assert (net(images.roll(way, 3)) - net(images).roll(way, 3)).abs().max() > 1e-3


@torch.no_grad()
def test_a_valid_network_in_a_periodic_scene_is_the_circular_one() -> None:
    own = config(padding="valid", spacing=12)
    _, scenes, _ = make_scenes(own, CPU)
    images = scenes.inputs(scenes.rows(1))
    assert images.shape[2] == own.size + 2 * BORDER
    plain = images[:, :, BORDER:-BORDER, BORDER:-BORDER]
    # Its poolings begin a multiple of the stride before the canvas, after the pixels that the convolutions take away.
    circular = network(padding="circular")(plain)
    torch.testing.assert_close(network(padding="valid")(images), circular, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spacing", range(12, 33))
def test_the_expected_share_is_that_of_counting_pairs(spacing: int) -> None:
    size = grid_size(spacing)
    assert size % spacing == size % STRIDE == 0
    assert size >= 96
    (centres,) = data_of(config(spacing=spacing), "held out").centres(np.zeros(1, np.int64))  # type: ignore[union-attr]
    own = kinds(centres)
    differ = (own[:, None] != own[None]).sum() / (len(own) * (len(own) - 1))
    assert expected_share(spacing, size) == pytest.approx(differ)


def test_shares_by_hand() -> None:
    assert [phases(spacing) for spacing in (12, 15, 16, 24)] == [2, 8, 1, 1]
    assert expected_share(12, 96) == pytest.approx(1 - 4 * 120 / 2016)  # 64 discs, 4 kinds of 16: 120 pairs each
    assert expected_share(15, 120) == 1
    assert expected_share(16, 96) == expected_share(24, 96) == 0


def test_untrained_networks_follow_the_curve_and_the_table_holds_it() -> None:
    for spacing in (12, 15, 16):
        assert untrained(config(), spacing) == pytest.approx(expected_share(spacing, grid_size(spacing)))
        assert untrained(config(coord=True), spacing) == untrained(config(head="semiconv"), spacing) == 1
    rows = list(csv.DictReader(io.StringIO(table(config()).decode())))
    assert [int(row["spacing"]) for row in rows] == list(range(12, 33))
    assert all(row["allowed"] == row["untrained"] for row in rows)
