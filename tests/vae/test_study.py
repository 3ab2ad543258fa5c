"""The study's promises to the loop: steps that depend on seed and number alone, data in order, honest scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.cli.train import parse
from sandbox.data.shapes import SortOfClevr
from sandbox.experiment.config import COMMAND_LINE, validated
from sandbox.experiment.file import load_experiment
from sandbox.experiment.spec import study_spec
from sandbox.train.checkpoints import newest_checkpoint, save_checkpoint
from sandbox.train.device import make_fabric
from vae import study as module
from vae.networks import Posterior
from vae.spec import VaeConfig
from vae.study import VaeStudy


def make(**fields: Any) -> VaeStudy:
    config = VaeConfig(**{"width": 2, "e_width": 2, "latent": 8, "batch": 4, "images": 64, "steps": 10, **fields})
    return VaeStudy(config, make_fabric("cpu", "bf16" if fields.get("precision") == "bf16" else "32"))


# ---- training


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_learned"])
@pytest.mark.parametrize("coord", [False, True])
def test_every_likelihood_trains_both_networks(likelihood: str, coord: bool) -> None:
    study = make(likelihood=likelihood, coord=coord, warmup=0)
    before = {name: {k: p.clone() for k, p in part.named_parameters()} for name, part in study.modules.items()}
    losses = study.step(1)
    assert losses.keys() == {"loss/recon", "loss/kl", "loss/elbo", "beta", "grad/encoder", "grad/decoder"}
    assert all(torch.isfinite(value) and value.dim() == 0 for value in losses.values())
    still = {f"{name}.{k}" for name, part in study.modules.items() for k, p in part.named_parameters()
             if torch.equal(p, before[name][k])}  # fmt: skip
    assert still == ({"likelihood.log_sigma"} if likelihood == "gaussian" else set())


def test_what_is_logged_is_unweighted_and_what_is_minimised_is_not() -> None:
    light, heavy = make(beta=0.0), make(beta=100.0, warmup=0)
    a, b = light.step(1), heavy.step(1)
    for tag in ("loss/recon", "loss/kl", "loss/elbo"):
        assert torch.equal(a[tag], b[tag])
    torch.testing.assert_close(a["loss/elbo"], a["loss/recon"] + a["loss/kl"])
    assert (float(a["beta"]), float(b["beta"])) == (0, 100)
    assert float(b["grad/encoder"]) > float(a["grad/encoder"])
    assert float(b["grad/decoder"]) == float(a["grad/decoder"])  # the KL is the encoder's alone


def test_bf16_trains_in_channels_last_and_scores_in_float32() -> None:
    study = make(precision="bf16")
    losses = study.step(1)
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["loss/kl"].dtype == losses["loss/recon"].dtype == torch.float32
    convolutions = [m for m in study.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    assert all(p.dtype == torch.float32 for p in study.decoder.parameters())
    assert study.encode(SortOfClevr().render(np.arange(2)).images).mean.dtype == torch.float32


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    results = []
    for noise in (1, 2):
        study = make()
        for step in (1, 2, 3):
            torch.manual_seed(noise)  # what else drew from torch's stream must not matter
            torch.rand(noise)
            losses = study.step(step)
        results.append([*losses.values(), *(p.detach().clone() for p in study.decoder.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian_learned"])
def test_a_run_that_was_stopped_ends_with_the_same_weights(likelihood: str, tmp_path: Path) -> None:
    whole, stopped, resumed = (make(likelihood=likelihood) for _ in range(3))
    for step in range(1, 7):
        whole.step(step)
    for step in range(1, 4):
        stopped.step(step)
    stopped.preview()  # pictures leave no trace
    save_checkpoint(tmp_path, 3, stopped.modules, stopped.optimisers, {})
    found = newest_checkpoint(tmp_path)
    assert found is not None
    found.restore(resumed.modules, resumed.optimisers)
    for step in range(4, 7):
        resumed.step(step)
    for name, part in whole.modules.items():
        other = resumed.modules[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in part.state_dict().items()), name


def test_a_few_steps_lower_the_bound_s_negative() -> None:
    study = make(width=4, e_width=4, batch=16, steps=40, decay=0.0)
    losses = [float(study.step(step)["loss/elbo"]) for step in range(1, 41)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_rates_fall_to_zero_over_the_last_share() -> None:
    study = make(steps=100, decay=0.5, lr=2e-3)
    rates = []
    for step in (1, 50, 75, 100):
        study.set_rates(step)
        rates.append(study.optimisers["vae"].param_groups[0]["lr"])
    np.testing.assert_allclose(rates, [2e-3, 2e-3, 1e-3, 0], atol=1e-12)


# ---- data


def test_an_epoch_shows_every_image_once_and_arms_share_order_and_noise() -> None:
    study, other = make(images=50, batch=8, coord=False), make(images=50, batch=8, coord=True)
    shown = torch.cat([study.epochs.indices(step) for step in range(1, 26)])  # 200 images: 4 epochs
    epochs = shown.view(4, 50)
    assert all(torch.equal(epoch.sort().values, torch.arange(50)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(shown[:8], other.epochs.indices(1))
    assert torch.equal(study._normal(4, "noise", 1), other._normal(4, "noise", 1))
    assert not torch.equal(study._normal(4, "noise", 1), study._normal(4, "noise", 2))


def test_a_batch_is_the_data_in_zero_to_one_and_binary() -> None:
    study = make()
    images = SortOfClevr().render(study.epochs.indices(3).numpy()).images
    torch.testing.assert_close(study._batch(3), torch.from_numpy(images).float() / 255)
    assert study._batch(3).unique().tolist() == [0, 1]


# ---- scores and pictures, of networks whose answers are known


class Codes(nn.Module):
    """An encoder that finds the image in the data and says its number: latent 0, in thousandths."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, images: Tensor) -> Posterior:
        likeness = 2 * images.flatten(1) @ self.known.flatten(1).T - self.known.flatten(1).square().sum(1)
        mean = torch.zeros(len(images), 8)
        mean[:, 0] = likeness.argmax(1).float() / 1000
        return Posterior(mean, torch.full_like(mean, -30.0))


class Memory(nn.Module):
    """A decoder that remembers every image."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, z: Tensor) -> Tensor:
        rows = (z[:, 0] * 1000).round().long().clamp(0, len(self.known) - 1)
        return 40 * (self.known[rows] - 0.5)


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> VaeStudy:
    monkeypatch.setattr(module, "HELD_OUT", 130)
    study = make(images=64)
    known = study._tensor(study.data.render(np.arange(64 + 130)).images)
    study.modules["encoder"], study.decoder = Codes(known), Memory(known)  # type: ignore[assignment]
    return study


@pytest.mark.slow
def test_perfect_reconstructions_have_perfect_scores(remembering: VaeStudy) -> None:
    scores = remembering.evaluate()
    assert scores["score/position_error"] == scores["real/position_error"] == 0
    assert scores["score/missing"] == 0
    assert scores["score/reconstruction_valid"] == scores["real/valid"] == 1
    assert scores["score/test_recon"] == pytest.approx(0, abs=1e-2)
    assert scores["score/test_elbo"] == pytest.approx(-scores["score/test_recon"] - scores["score/test_kl"])
    assert scores["score/test_elbo"] < 0
    assert scores["score/active_units"] == 0  # the numbers spread over a tenth
    assert scores["score/image_coherence"] < 0.1  # neighbours on the path are unrelated images


def test_the_scores_look_at_images_that_training_never_shows() -> None:
    study = make(images=64)
    trained = set(torch.cat([study.epochs.indices(step) for step in range(1, 40)]).tolist())
    assert trained == set(range(64))
    assert trained.isdisjoint(study._held_out(1000).tolist())


def test_an_untrained_network_scores_nothing_and_its_error_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_OUT", 130)
    study = make()
    scores = study.evaluate()
    declared = study_spec("vae").scores_of(study.config)
    assert {score.tag for score in declared} <= scores.keys()
    assert scores["score/valid"] == scores["score/reconstruction_valid"] == 0
    assert 5 < scores["score/position_error"] < 60
    assert np.isnan(scores["score/coherence"])
    assert scores["score/readout_position"] < 0.9


def test_a_preview_shows_images_above_their_reconstructions_and_is_the_same_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = make()
    marked = np.full((1, 3, 64, 64), 7, np.uint8)
    monkeypatch.setattr(study, "generate", lambda z: marked.repeat(len(z), 0))
    sheet, scores = study.preview()
    assert sheet.shape == (8 * 66 + 2, 8 * 66 + 2, 3)
    tiles = sheet[2:, 2:].reshape(8, 66, 8, 66, 3)[:, :64, :, :64].transpose(0, 2, 4, 1, 3)
    real = study.data.render(64 + np.arange(16)).images
    np.testing.assert_array_equal(tiles[0], real[:8])
    np.testing.assert_array_equal(tiles[2], real[8:])
    assert (tiles[[1, 3, 4, 5, 6, 7]] == 7).all()
    assert scores.keys() == {"preview/position_error", "preview/elbo", "preview/valid", "preview/active_units"}
    curves = {score.curve for score in study_spec("vae").scores_of(study.config)} - {None}
    assert curves <= scores.keys()
    again, _ = study.preview()
    np.testing.assert_array_equal(sheet, again)


def test_costs_count_the_coordinates() -> None:
    plain, coord = make(coord=False).costs(), make(coord=True).costs()
    # two coordinate planes into each kernel: 5x5 to 2 channels, then 3x3 to 4, 8, 16; and 3x3 to 16, 8, 4, 2, 3
    more = {name: coord["parameters"][name] - plain["parameters"][name] for name in ("encoder", "decoder")}
    assert more == {"encoder": 2 * 25 * 2 + 2 * 9 * (4 + 8 + 16), "decoder": 2 * 9 * (16 + 8 + 4 + 2 + 3)}
    assert all(count > 0 for count in plain["multiply_adds_per_image"].values())


# ---- walks


@pytest.mark.parametrize("kind", ["loop", "pair"])
def test_half_of_the_walks_go_between_held_out_images(kind: str) -> None:
    study = make()
    film = study.film(frames=8, count=4, path=kind, seed=0)
    assert film.shape == (8, 4, 3, 64, 64)
    drawn = study._image_walks(frames=8, count=2, kind=kind, seed=0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(film[:, 2:], study._film(drawn))
    assert study.film(frames=2, count=1, path=kind, seed=0).shape == (2, 1, 3, 64, 64)
    codes = study.encode(study.data.render(study._held_out(1000)).images).mean
    for walk in range(2):
        assert (drawn[0, walk] - codes).norm(dim=1).min() < 1e-4  # begins at the posterior mean of one of them


def test_a_walk_between_two_images_begins_and_ends_at_their_reconstructions() -> None:
    study = make()
    ends = study.data.render(np.array([70, 3])).images
    film = study.between((70, 3), frames=9)
    assert film.shape == (9, 3, 3, 64, 64)
    again = study.reconstruct(ends)
    assert abs(film[[0, -1], 1].astype(int) - again).max() <= 1  # rounding: another batch
    assert (film[:, 0] == ends[0]).all()
    assert (film[:, 2] == ends[1]).all()
    means = study.encode(ends).mean
    middle = study.generate(means.mean(0, keepdim=True))[0]
    assert abs(film[4, 1].astype(int) - middle).max() <= 1


def test_a_picture_of_any_size_is_cropped_to_its_middle_square_and_resized() -> None:
    study = make()
    image = study.data.render(np.array([5])).images[0]
    large = Image.fromarray(image.transpose(1, 2, 0)).resize((256, 256), Image.Resampling.NEAREST)
    wide = Image.new("RGB", (400, 256), "black")
    wide.paste(large, (72, 0))
    seen = study.between((wide, 5), frames=2)[0, 0]
    assert abs(seen.astype(int) - image).mean() < 4  # Lanczos rings along edges
    assert study.between((Image.new("L", (3, 9)).convert("RGB"), 5), frames=2).shape == (2, 3, 3, 64, 64)


# ---- names


MISTAKES = {
    "--decoder brodcast": ["--decoder is 'brodcast'", "did you mean 'broadcast'?"],
    "--likelihood normal": ["--likelihood is 'normal'", "bernoulli, gaussian, gaussian_learned"],
    "--coord-in decodr": ["--coord-in is 'decodr'", "did you mean 'decoder'?"],
    "--sigma 0": ["--sigma is '0'", "numbers above 0, up to 10"],
    "--beta -1": ["--beta", "-1"],
    "--batch 100 --images 50": ["the command line: batch (100) must not exceed images (50)"],
    "--decoder broadcast --stem tiled": ["stem tiled is for decoder matched"],
    "--arm broadcst": ["no arm 'broadcst'", "did you mean 'broadcast'?"],
    "--config gan/sort_of_clevr": ["a config of the study 'gan'"],
}


@pytest.mark.parametrize("flags", MISTAKES)
def test_a_wrong_name_is_one_line(flags: str) -> None:
    with pytest.raises(UserError) as refused:
        parse("vae", flags.split())
    assert all(text in str(refused.value) for text in MISTAKES[flags]), str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_field_in_a_file_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'latent'"):
        validated(VaeConfig, {"latnt": 3}, COMMAND_LINE)


@pytest.mark.parametrize("arm", ["conv", "coord"])
def test_the_first_steps_stay_finite_where_a_sudden_start_did_not(arm: str) -> None:
    peaks = []
    for rise in (0.0, 0.05):
        config = load_experiment("vae/sort_of_clevr").resolve(arm, {"seed": 2})
        study = VaeStudy(config.model_copy(update={"rise": rise}), make_fabric("cpu", "32"))
        peaks.append(max(float(study.step(step)["loss/kl"]) for step in range(1, 6)))
    assert peaks[1] < 1000 < peaks[0]  # nats; a right posterior spends about 20


def test_with_few_images_it_is_told_whether_samples_repeat_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_OUT", 130)
    study, spec = make(images=64), study_spec("vae")
    monkeypatch.setattr(study, "generate", lambda z: study.data.render(np.arange(len(z)) % 64).images)
    scores = study.evaluate()
    assert {score.tag for score in spec.scores_of(study.config)} <= scores.keys()
    assert (scores["score/copies"], scores["score/nearest_training"]) == (1, pytest.approx(0, abs=1e-12))
    assert "score/copies" not in {score.tag for score in spec.scores_of(VaeConfig())}
