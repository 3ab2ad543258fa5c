"""The evidence lower bound and its parts, all in nats per image and in float32.

    ELBO(x) = E_q(z|x) log p(x|z) - KL(q(z|x) || p(z)) <= log p(x)        Kingma and Welling 2014, arXiv 1312.6114

Training minimises ``-log p(x|z) + beta KL`` with one z an image (beta-VAE: Higgins et al. 2017). A likelihood is a
module: called with the decoder's logits and images in [0, 1] it gives -log p(x|z); ``mean`` is the image it expects.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vae.networks import Posterior
from vae.spec import VaeConfig

Nats = Float[Tensor, " b"]
Images = Float[Tensor, "b c h w"]
LOWEST = -6.0  # log of the smallest sigma that can be learned, as in Rybkin et al. 2021: less than a grey level of 255


def kl_divergence(posterior: Posterior) -> Nats:
    """KL(q(z|x) || N(0, 1)), closed form (Kingma and Welling 2014, appendix B), at least 0."""
    mean, log_variance = (part.float() for part in posterior)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class Likelihood(nn.Module):
    """p(x|z), independent over channels and pixels. Both laws expect ``sigmoid(logits)``, an image in [0, 1]."""

    def forward(self, logits: Images, images: Images) -> Nats:
        """-log p(x|z) of each image."""
        raise NotImplementedError

    def mean(self, logits: Images) -> Images:
        """The expected image."""
        return logits.float().sigmoid()


class Bernoulli(Likelihood):
    """Each channel of a pixel is on or off, as in two-object Sort-of-CLEVR: the ELBO is at most 0."""

    def forward(self, logits: Images, images: Images) -> Nats:
        """-log p(x|z) of each image; of values between 0 and 1 the cross-entropy, which is no likelihood."""
        loss = F.binary_cross_entropy_with_logits(logits.float(), images.float(), reduction="none")
        return loss.flatten(1).sum(1)


class Gaussian(Likelihood):
    """A density with one standard deviation for all channels and pixels: the ELBO has no upper limit.

    Args:
        sigma: in units of [0, 1] images.
        learned: ``sigma`` is about where a learned one starts, which stays above ``exp(LOWEST)`` (Rybkin, Daniilidis
            and Levine 2021, arXiv 2006.13202).
    """

    def __init__(self, sigma: float, learned: bool) -> None:
        super().__init__()
        self.learned = learned
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)), requires_grad=learned)

    @property
    def log_deviation(self) -> Float[Tensor, ""]:
        """Logarithm of the standard deviation in force."""
        return LOWEST + F.softplus(self.log_sigma - LOWEST) if self.learned else self.log_sigma

    def forward(self, logits: Images, images: Images) -> Nats:
        """-log p(x|z) of each image."""
        log_sigma = self.log_deviation
        error = (images.float() - self.mean(logits)) / log_sigma.exp()
        loss = 0.5 * error.square() + log_sigma + 0.5 * math.log(2 * math.pi)
        return loss.flatten(1).sum(1)


def make_likelihood(config: VaeConfig) -> Likelihood:
    """The likelihood of a configuration."""
    if config.likelihood == "bernoulli":
        return Bernoulli()
    return Gaussian(config.sigma, config.likelihood == "gaussian_learned")


def beta_at(step: int, config: VaeConfig) -> float:
    """The KL's weight at a step, counted from 1: a straight line from 0 to ``beta`` over the ``warmup`` share."""
    rising = config.warmup * config.steps
    return config.beta * min(1.0, step / rising) if rising else config.beta
