"""Likelihoods and KL against torch.distributions; the bound against a log evidence that is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from vae.loss import LOWEST, Bernoulli, Gaussian, beta_at, kl_divergence, make_likelihood
from vae.networks import Posterior
from vae.spec import VaeConfig


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), latent=st.integers(1, 12), scale=st.floats(0.1, 3))
def test_the_kl_is_torch_s(seed: int, latent: int, scale: float) -> None:
    posterior = Posterior(scale * _random(4, latent, seed=seed), scale * _random(4, latent, seed=seed + 1))
    law = Independent(Normal(posterior.mean, (posterior.log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros(4, latent), torch.ones(4, latent)), 1)
    torch.testing.assert_close(kl_divergence(posterior), torch_kl(law, prior), rtol=1e-4, atol=1e-4)
    assert (kl_divergence(posterior) >= 0).all()


def test_the_prior_itself_costs_nothing_and_half_precision_is_not_used() -> None:
    nothing = Posterior(torch.zeros(2, 5), torch.zeros(2, 5))
    assert kl_divergence(nothing).tolist() == [0, 0]
    narrow = Posterior(torch.zeros(1, 4096).bfloat16(), torch.full((1, 4096), -(2.0**-7)).bfloat16())
    assert kl_divergence(narrow).dtype == torch.float32
    assert float(kl_divergence(narrow)) == pytest.approx(4096 * 2.0**-14 / 4, rel=0.02)


def test_a_sample_has_the_posterior_s_mean_and_spread() -> None:
    posterior = Posterior(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(9.0)]]))
    noise = torch.tensor([[0.5, -1.0]])
    torch.testing.assert_close(posterior.sample(noise), torch.tensor([[1.5, -5.0]]))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 30))
def test_the_bernoulli_is_torch_s(seed: int, scale: float) -> None:
    logits = scale * _random(3, 3, 4, 5, seed=seed)
    images = (_random(3, 3, 4, 5, seed=seed + 1) > 0).float()
    expected = -TorchBernoulli(logits=logits).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(Bernoulli()(logits, images), expected)
    assert (Bernoulli()(logits, images) >= 0).all()
    torch.testing.assert_close(Bernoulli().mean(logits), TorchBernoulli(logits=logits).mean)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), sigma=st.floats(0.02, 3))
def test_the_gaussian_is_torch_s(seed: int, sigma: float) -> None:
    logits, images = _random(3, 3, 4, 5, seed=seed), _random(3, 3, 4, 5, seed=seed + 1).sigmoid()
    expected = -Normal(logits.sigmoid(), sigma).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(Gaussian(sigma, learned=False)(logits, images), expected, rtol=1e-4, atol=1e-3)


def test_a_learned_sigma_starts_where_it_is_told_finds_the_error_and_has_a_floor() -> None:
    images = 0.5 + 0.2 * _random(8, 3, 16, 16)
    logits = torch.zeros_like(images)
    law = Gaussian(0.1, learned=True)
    assert float(law.log_deviation.detach().exp()) == pytest.approx(0.1, rel=0.05)
    optimiser = torch.optim.Adam(law.parameters(), 0.05)
    for _ in range(100):
        optimiser.zero_grad()
        law(logits, images).mean().backward()
        optimiser.step()
    assert float(law.log_deviation.detach().exp()) == pytest.approx(0.2, rel=0.03)
    torch.nn.init.constant_(law.log_sigma, -50.0)
    assert float(law.log_deviation.detach()) == pytest.approx(LOWEST)
    assert not [p for p in Gaussian(0.1, learned=False).parameters() if p.requires_grad]


def test_a_configuration_names_its_likelihood() -> None:
    assert isinstance(make_likelihood(VaeConfig(likelihood="bernoulli")), Bernoulli)
    fixed, learned = (
        make_likelihood(VaeConfig(likelihood=name, sigma=0.3)) for name in ("gaussian", "gaussian_learned")
    )
    assert isinstance(fixed, Gaussian)
    assert isinstance(learned, Gaussian)
    assert (fixed.learned, learned.learned) == (False, True)
    assert float(fixed.log_deviation.exp()) == pytest.approx(0.3)


# ---- the bound, where the evidence is known: x = sigmoid(0) + W z + noise, so that x - 1/2 ~ N(0, W W' + s^2)

SIGMA, PIXELS, LATENT = 0.3, 12, 3


def _linear_elbo(posterior: Posterior, weight: Tensor, images: Tensor) -> Tensor:
    """The mean of the ELBO's one-draw estimates; the decoder is linear in the image that the Gaussian expects."""
    draws = 4000
    many = Posterior(*(part.repeat(draws, 1) for part in posterior))
    expected = 0.5 + many.sample(_random(draws * len(images), LATENT, seed=7)) @ weight.T
    logits = torch.logit(expected.clamp(1e-6, 1 - 1e-6))[:, None, None]
    recon = Gaussian(SIGMA, learned=False)(logits, images.repeat(draws, 1)[:, None, None])
    return -(recon.view(draws, -1).mean(0) + kl_divergence(posterior))


def test_the_elbo_is_below_the_evidence_and_meets_it_at_the_true_posterior() -> None:
    weight = 0.05 * _random(PIXELS, LATENT, seed=1)
    images = 0.5 + _random(4, LATENT, seed=2) @ weight.T + SIGMA * _random(4, PIXELS, seed=3)
    covariance = weight @ weight.T + SIGMA**2 * torch.eye(PIXELS)
    evidence = MultivariateNormal(torch.full((PIXELS,), 0.5), covariance).log_prob(images)
    precision = torch.eye(LATENT) + weight.T @ weight / SIGMA**2
    mean = (images - 0.5) @ weight @ torch.linalg.inv(precision) / SIGMA**2
    # The best diagonal posterior; its ELBO misses the evidence by its KL to the true one alone.
    log_variance = -precision.diagonal().log().expand(4, -1)
    best = Posterior(mean, log_variance.contiguous())
    gap = torch_kl(
        MultivariateNormal(mean, torch.diag_embed(log_variance.exp())), MultivariateNormal(mean, precision.inverse())
    )
    torch.testing.assert_close(_linear_elbo(best, weight, images), evidence - gap, atol=0.05, rtol=0)
    for worse in (Posterior(mean + 1, best.log_variance), Posterior(mean, best.log_variance + 2)):
        assert (_linear_elbo(worse, weight, images) < evidence - 0.2).all()


# ---- warm-up


def test_beta_rises_in_a_straight_line_and_stays() -> None:
    config = VaeConfig(steps=200, warmup=0.25, beta=4.0)
    assert [beta_at(step, config) for step in (1, 25, 50, 51, 200)] == [0.08, 2.0, 4.0, 4.0, 4.0]
    assert beta_at(1, VaeConfig(steps=200, warmup=0.0, beta=3.0)) == 3.0
    assert beta_at(200, VaeConfig(steps=200, warmup=1.0, beta=3.0)) == 3.0
