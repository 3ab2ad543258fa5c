"""The study's promises to the loop: steps that depend on seed and number alone, data in order, honest scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gan.study import GanConfig, GanStudy
from sandbox.data.shapes import SortOfClevr
from sandbox.train.device import make_fabric


def make(**fields: Any) -> GanStudy:
    config = GanConfig(**{"width": 2, "d_width": 2, "latent": 8, "batch": 4, "images": 64, "steps": 10, **fields})
    return GanStudy(config, make_fabric("cpu", "bf16" if fields.get("precision") == "bf16" else "32"))


@pytest.mark.parametrize("coord", [False, True])
@pytest.mark.parametrize("loss", ["nonsaturating", "relativistic", "hinge", "paper"])
def test_every_loss_trains_both_networks(loss: str, coord: bool) -> None:
    study = make(loss=loss, coord=coord, penalty_every=2, g_steps=2 if loss == "paper" else 1)
    before = {name: {k: p.clone() for k, p in module.named_parameters()} for name, module in study.modules.items()}
    tags: set[str] = set()
    for step in (1, 2):
        losses = study.step(step)
        tags |= losses.keys()
        assert all(torch.isfinite(value) and value.dim() == 0 for value in losses.values())
    assert ("loss/penalty" in tags) == (loss in ("nonsaturating", "relativistic"))
    assert {"loss/discriminator", "loss/generator", "grad/discriminator", "grad/generator"} <= tags
    for name, module in study.modules.items():
        still = {k for k, p in module.named_parameters() if torch.equal(p, before[name][k])}
        # The head's bias shifts real and generated scores alike, which the relativistic and hinge losses may not feel.
        assert still <= {"head.bias"}, f"{name}: {still} did not move"


@pytest.mark.parametrize("coord", [False, True])
def test_the_published_networks_train(coord: bool) -> None:
    losses = make(architecture="paper", loss="paper", coord=coord, batch=2).step(1)
    assert all(torch.isfinite(value) for value in losses.values())


def test_bf16_trains_in_channels_last() -> None:
    study = make(precision="bf16", penalty_every=1)
    assert all(torch.isfinite(value) for value in study.step(1).values())
    convolutions = [m for m in study.modules["generator"].modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    assert all(p.dtype == torch.float32 for p in study.modules["generator"].parameters())


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    results = []
    for noise in (1, 2):
        study = make(penalty_every=2)
        for step in (1, 2, 3):
            torch.manual_seed(noise)  # what else drew from torch's stream must not matter
            torch.rand(noise)
            losses = study.step(step)
        results.append((losses, [p.clone() for p in study.modules["ema"].parameters()]))
    assert all(torch.equal(results[0][0][tag], results[1][0][tag]) for tag in results[0][0])
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_an_epoch_shows_every_image_once_and_arms_share_the_order() -> None:
    study, other = make(images=50, batch=8, coord=False), make(images=50, batch=8, coord=True)
    shown = torch.cat([study.epochs.indices(step) for step in range(1, 26)])  # 200 images: 4 epochs
    epochs = shown.view(4, 50)
    assert all(torch.equal(epoch.sort().values, torch.arange(50)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(shown[:8], other.epochs.indices(1))
    assert torch.equal(study._latents(4, "train", 1), other._latents(4, "train", 1))
    assert not torch.equal(study._latents(4, "train", 1), study._latents(4, "train", 2))


def test_a_batch_is_the_data_in_minus_one_to_one() -> None:
    study = make()
    images = SortOfClevr(separation="clear").render(study.epochs.indices(3).numpy()).images
    torch.testing.assert_close(study._batch(3), torch.from_numpy(images).float() / 127.5 - 1)


def test_rates_fall_to_zero_over_the_last_share() -> None:
    study = make(steps=100, decay=0.5, lr_g=1e-3, lr_d=2e-3)
    rates = {}
    for step in (1, 50, 75, 100):
        study.set_rates(step)
        rates[step] = [study.optimisers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
    np.testing.assert_allclose(rates[1], [1e-3, 2e-3])
    np.testing.assert_allclose(rates[50], [1e-3, 2e-3])
    np.testing.assert_allclose(rates[75], [5e-4, 1e-3])
    np.testing.assert_allclose(rates[100], [0, 0], atol=1e-12)


def test_the_average_follows_the_generator() -> None:
    study = make(ema=0.5)
    generator, ema = study.modules["generator"], study.modules["ema"]
    old = next(ema.parameters()).clone()
    with torch.no_grad():
        next(generator.parameters()).add_(1)
    study._average(100)
    torch.testing.assert_close(next(ema.parameters()), old + 0.5)


class Oracle(nn.Module):
    """A generator that has learned everything: real images, a path that glides."""

    def __init__(self, paint: Callable[[torch.Tensor], np.ndarray]) -> None:
        super().__init__()
        self.paint = paint

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.paint(z)).float() / 127.5 - 1


def _real(z: torch.Tensor) -> np.ndarray:
    seeds = (z[:, 0].double() * 1e6).round().abs().long().numpy()
    return SortOfClevr().render(seeds).images


def test_real_images_score_as_the_data_and_a_scrambled_path_is_incoherent() -> None:
    study = make(images=5000)
    study.ema = study.modules["ema"] = Oracle(_real)
    scores = study.evaluate()
    assert scores["score/valid"] == scores["real/valid"] == 1
    assert scores["score/position_drawn"] == 1000
    assert scores["score/position_divergence"] == pytest.approx(scores["real/position_divergence"], abs=0.005)
    assert scores["score/coherence"] < 0.1  # neighbours on the path are unrelated images


def test_an_untrained_generator_scores_nothing_and_says_undefined() -> None:
    scores = make().evaluate()
    assert scores["score/valid"] == 0
    assert np.isnan(scores["score/position_divergence"])
    assert np.isnan(scores["score/coherence"])
    assert scores["score/coherence_undefined"] == 1


def test_a_preview_is_the_same_latents_every_time() -> None:
    study = make()
    first, scores = study.preview()
    second, _ = study.preview()
    np.testing.assert_array_equal(first, second)
    assert first.shape == (8 * 66 + 2, 8 * 66 + 2, 3)
    assert scores == {"preview/valid": 0.0}


def test_costs_count_the_coordinates() -> None:
    plain, coord = make(coord=False).costs(), make(coord=True).costs()
    # two coordinate planes into each 3x3 kernel of 16, 8, 4, 2 and 3 output channels
    assert coord["parameters"]["generator"] - plain["parameters"]["generator"] == 2 * 9 * (16 + 8 + 4 + 2 + 3)
    assert plain["multiply_adds_per_image"]["generator"] > 0


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="must not exceed"):
        GanConfig(batch=64, images=32)
