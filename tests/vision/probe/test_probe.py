"""The position probe on encoders whose answer is known, its maps and measures, and what its command line means."""

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import CPU, config
from shop import SmokeRun
from torch import Tensor, nn

from sandbox.base.errors import RunError, UserError
from sandbox.cli.train import parse
from sandbox.experiment.spec import study_spec
from sandbox.nn.blocks import Convolutions
from sandbox.nn.seeding import seed_parameters
from sandbox.train.device import make_fabric
from sandbox.train.encoder import Encoder
from vision.position.study import PositionStudy
from vision.probe.config import INPUTS, MAPS, PositionConfig, table
from vision.probe.encoders import make_encoder
from vision.probe.maps import mean_absolute_error, position_maps, rank_correlation
from vision.probe.probe import PositionProbe, ProbeTrainer, shuffled
from vision.probe.probing import Probing


def encoder(network: nn.Module, size: int = 32, names: tuple[str, ...] = ("",)) -> Encoder:
    return Encoder(network.eval(), size, lambda images: images, names=names)


def probed(network: nn.Module, **fields: Any) -> dict[str, float]:
    probing = Probing(config(**fields), encoder(network), CPU)
    probing.train()
    return probing.scores()


class Coordinates(nn.Module):
    """Knows nothing of its image but where its pixels are."""

    def forward(self, images: Tensor) -> Tensor:
        b, _, h, w = images.shape
        rows, columns = torch.linspace(-1, 1, h)[:, None], torch.linspace(-1, 1, w)[None, :]
        return torch.stack([rows.expand(h, w), columns.expand(h, w)]).expand(b, -1, -1, -1)


class Constant(nn.Module):
    """Says the same everywhere."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=True).expand_as(images)


# ---- maps and measures


def test_the_maps_are_what_their_names_say() -> None:
    h, v, g, hs, vs = position_maps(28)
    assert torch.equal(h, v.T)
    assert torch.equal(hs, vs.T)
    assert h[5].tolist() == pytest.approx(torch.linspace(0, 1, 28).tolist())
    assert hs.std(1).max() == 0  # horizontal stripes: rows of one value
    assert g.argmax() in (13 * 28 + 13, 13 * 28 + 14, 14 * 28 + 13, 14 * 28 + 14)
    maps = position_maps(28)
    assert maps.min() >= 0
    assert maps.max() <= 1
    rises = (hs[:, 0].diff().sign().diff() != 0).sum()
    assert rises == 5  # extremes of 2.5 periods


def test_chance_of_a_ramp_is_a_quarter() -> None:
    maps = position_maps(28)[:2]
    half = torch.full((1, 2, 28, 28), 0.5)
    np.testing.assert_allclose(mean_absolute_error(half, maps), 0.259, atol=1e-3)  # the paper, at 224 pixels: .251


@given(st.floats(0.1, 5), st.floats(-3, 3))
def test_rank_correlation_knows_only_the_order(power: float, shift: float) -> None:
    maps = position_maps(12).double()
    answers = torch.stack([maps**power + shift, -maps + shift, torch.full_like(maps, shift)])
    found = rank_correlation(answers, maps)
    np.testing.assert_allclose(found[0], 1, atol=1e-6)
    np.testing.assert_allclose(found[1], -1, atol=1e-6)
    assert (found[2] == 0).all()  # constant: undefined, reported as 0


def test_rounding_is_no_position() -> None:
    maps = position_maps(8)
    assert (rank_correlation(0.3 + 1e-6 * maps[None], maps) == 0).all()


# ---- encoders whose answer is known


def test_an_encoder_that_says_its_coordinates_scores_one() -> None:
    scores = probed(Coordinates())
    for shown in INPUTS:
        assert scores[f"score/spc_h_{shown}"] > 0.999
        assert scores[f"score/spc_v_{shown}"] > 0.999
        assert scores[f"score/mae_h_{shown}"] < 0.02
    assert scores["score/spc"] > 0.999


def test_an_encoder_that_says_the_same_everywhere_scores_zero() -> None:
    scores = probed(Constant())
    assert {tag: value for tag, value in scores.items() if "spc" in tag and value} == {}
    assert scores["score/mae_h_natural"] == pytest.approx(0.26, abs=0.02)


def test_a_probe_s_own_padding_is_a_source_of_position() -> None:
    padded = probed(Constant(), probe_padding="1", depth="2", hidden=4, steps=60)
    assert padded["score/spc_g_natural"] > 0.1


def test_features_on_shuffled_places_hold_no_position() -> None:
    scores = probed(Coordinates(), shuffle=True, test_images=16)
    assert abs(scores["score/spc"]) < 0.06


@given(st.integers(0, 3), st.integers(2, 9))
@settings(max_examples=20, deadline=None)
def test_shuffling_moves_whole_feature_vectors(seed: int, grid: int) -> None:
    features = torch.arange(2 * 3 * grid**2, dtype=torch.float32).view(2, 3, grid, grid)
    moved = shuffled(features, seed)
    assert torch.equal(moved.flatten(2).sort(2).values, features.flatten(2))
    assert torch.equal(moved[:, 1] - moved[:, 0], torch.full_like(moved[:, 0], grid**2))


def test_standardised_features_are_padded_with_zeros_of_their_own() -> None:
    features = torch.randn(4, 3, 8, 8) * torch.tensor([1.0, 50.0, 1e-3])[:, None, None] + 7
    probe = PositionProbe(3, kernel=3, depth=1, padding=1, hidden=1, grid=8)
    probe.standardise(features, "channel")
    centred = (nn.functional.pad(features, (1, 1, 1, 1)) - probe.mean[:, None, None]) / probe.deviation[:, None, None]
    expected = nn.functional.conv2d(centred, probe.first.weight, probe.first.bias)
    torch.testing.assert_close(probe(features), expected, rtol=1e-3, atol=1e-2)


class Circular(nn.Sequential):
    """Convolutions without a border, random and never trained."""

    def __init__(self, coord: bool) -> None:
        convs = Convolutions(coord, padding_mode="circular")
        super().__init__(convs.conv(3, 12, 3), nn.LeakyReLU(0.9), convs.conv(12, 12, 3), nn.LeakyReLU(0.9))
        seed_parameters(self, 100)


@pytest.mark.parametrize("content", [1e-3, 1.0, 1e3])
def test_position_is_found_beside_content_of_any_scale(content: float) -> None:
    class Ramps(Coordinates):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([super().forward(images), content * images], 1)

    scores = probed(Ramps(), lr=0.01, steps=300)
    for shown in INPUTS:
        assert scores[f"score/spc_h_{shown}"] > 0.95, shown
        assert scores[f"score/mae_h_{shown}"] < 0.1, shown


def test_a_network_without_a_border_holds_no_position_on_any_kind_of_image() -> None:
    scores = probed(Circular(False), test_images=16, lr=0.01)
    for shown in INPUTS:
        for name in ("h", "v", "g"):
            assert abs(scores[f"score/spc_{name}_{shown}"]) < 0.1, (name, shown)


def test_coordinates_are_read_back_on_every_kind_of_image() -> None:
    scores = probed(Circular(True), test_images=16, lr=0.01, images=32, steps=400)
    for shown in INPUTS:
        for name in ("h", "v"):
            assert scores[f"score/spc_{name}_{shown}"] > 0.95, (name, shown)


def test_the_scale_is_chosen_by_images_that_no_probe_learns_from() -> None:
    features = torch.randn(16, 2, 9, 9)
    features[14:] = float("nan")  # whoever learned from these would be lost
    trainer = ProbeTrainer(features, seed=0, batch=4, steps=6, lr=0.01, l2=0.0, decay=0.5)
    for step in (1, 2):
        assert torch.isfinite(trainer.step(step)["loss/train"])
    assert trainer.scales == ("one", "channel")
    assert trainer.probe.chosen < 0
    trainer.features[14:] = 0
    before = [parameter.clone() for parameter in trainer.probe.parameters()]
    trainer.step(3)
    chosen, left = int(trainer.probe.chosen), 1 - int(trainer.probe.chosen)
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.probe.parameters(), strict=True)]
    each = len(moved) // 2
    assert all(moved[chosen * each : (chosen + 1) * each])
    assert not any(moved[left * each : (left + 1) * each])


def test_the_paper_s_probe_of_raw_features_says_that_it_diverged() -> None:
    features = 130 * torch.randn(8, 4, 9, 9)
    trainer = ProbeTrainer(
        features, seed=0, batch=4, steps=90, lr=0.1, l2=1e-4, decay=0.0, scale="raw", optimiser="sgd"
    )
    with pytest.raises(RunError, match=r"raw features diverged at step \d+: .* 1\d\d, .*--scale one divides"):
        deque(map(trainer.step, range(1, 91)), maxlen=0)
    assert (trainer._rate(60), trainer._rate(61)) == (1.0, 0.1)


def test_a_probe_larger_than_the_grid_is_refused() -> None:
    with pytest.raises(UserError, match="3 convolutions of 7x7 leave nothing of 8x8"):
        Probing(config(grid=8, kernel="7", depth="3"), encoder(nn.Identity()), CPU)


# ---- the study


def test_the_study_keeps_its_promises_to_the_loop() -> None:
    results = []
    for noise in (1, 2):
        study = PositionStudy(config(steps=4), make_fabric("cpu", "32"))
        for step in (1, 2):
            torch.manual_seed(noise)
            losses = study.step(step)
        results.append([*losses.values(), *(p.detach() for p in study.probing.trainer.probe.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    picture, scores = study.preview()
    assert picture.dtype == np.uint8
    assert scores.keys() == {"preview/spc"}
    assert study.film(frames=4, count=2, path="loop", seed=0).shape[:2] == (4, 2)
    declared = {score.tag for score in study_spec("vision.position").scores_of(study.config)}
    assert declared == study.evaluate().keys()
    assert len(declared) == 2 + 2 * len(MAPS) * len(INPUTS)


def test_a_probe_does_not_go_on_with_other_weights() -> None:
    made, other = (PositionStudy(config(target="vgg11", seed=seed), make_fabric("cpu", "32")) for seed in (0, 1))
    made.load_state_dict(made.state_dict())
    with pytest.raises(UserError, match="not those that this run began with"):
        made.load_state_dict(other.state_dict())


def test_the_table_has_a_row_a_map() -> None:
    lines = table({"score/spc_h_natural": 0.5, "score/mae_vs_noise": None, "score/spc": 0.25})
    assert len(lines) == 2 + len(MAPS) + 1
    assert lines[2].split()[:2] == ["H", "0.500"]
    assert lines[-1].split() == ["score/spc", "0.250"]


# ---- what a command line means


def test_a_target_names_its_run(smoke_run: SmokeRun) -> None:
    def place(*flags: str) -> tuple[str, str]:
        order = parse("vision", ["--task", "position", *flags])
        return order.arm, order.name

    assert place("--target", "vgg16") == ("vgg16", "position")
    assert place("--target", "resnet34") == ("probe", "position_resnet34")
    order = parse(None, ["vision/position", "--target", "resnet34"])
    assert (order.arm, order.name) == ("probe", "position_resnet34")
    assert place("--target", "resnet34", "--name", "mine") == ("probe", "mine")
    assert place("--target", "resnet34", "--name", "mine", "--arm", "vgg16") == ("vgg16", "mine")
    arm, name = place("--target", str(smoke_run.folder), "--target-module=ema")
    assert (arm, name[:9]) == ("probe", "position_")
    assert len(name) <= 64
    assert "coord-seed-0-ema" in name
    with pytest.raises(UserError, match="is no run folder"):
        place("--target", str(smoke_run.folder.parent / "seed-1"))


def test_a_seed_in_a_targets_name_is_the_runs_own(smoke_run: SmokeRun) -> None:
    target = str(smoke_run.folder.parent / "seed-{seed}")
    assert parse("vision", ["--task", "position", "--target", target]).arm == "probe"
    with pytest.raises(UserError, match="seed-7 is no run folder"):
        parse("vision", ["--task", "position", "--target", target, "--seed", "7"])
    assert "seed-0, " in make_encoder(PositionConfig(target=target, seed=0), CPU).note
    with pytest.raises(UserError, match="seed-7 is no run folder"):
        make_encoder(PositionConfig(target=target, seed=7), CPU)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": "vg16"}, "did you mean 'vgg16'"),
        ({"stages": "0"}, "levels counted from 1"),
        ({"strip_padding": True}, "target image has none"),
        ({"images": 4}, "must not exceed images"),
        ({"kernel": 2}, "allowed are 1, 3, 5, 7"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config(**fields)
