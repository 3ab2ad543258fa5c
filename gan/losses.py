"""GAN losses on discriminator scores, large for real images, and the gradient penalties.

| loss          | discriminator                       | penalty | source |
|---------------|-------------------------------------|---------|--------|
| nonsaturating | softplus(-D(x)) + softplus(D(G(z))) | R1      | Goodfellow 2014; Mescheder 2018, arXiv 1801.04406 |
| relativistic  | softplus(D(G(z)) - D(x))            | R1 + R2 | Huang 2024 (R3GAN), arXiv 2501.05441 |
| hinge         | relu(1 - D(x)) + relu(1 + D(G(z)))  | none, spectral norm | Miyato 2018, arXiv 1802.05957 |
| paper         | as nonsaturating                    | none    | Liu 2018, arXiv 1807.03247 |
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan.spec import Loss

Scores = Float[Tensor, " b"]
Scalar = Float[Tensor, ""]


def discriminator_loss(loss: Loss, real: Scores, fake: Scores) -> Scalar:
    """What the discriminator minimises, without penalties."""
    if loss == "relativistic":
        return F.softplus(fake - real).mean()
    if loss == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(loss: Loss, real: Scores | None, fake: Scores) -> Scalar:
    """What the generator minimises; the relativistic one compares with the scores of ``real``."""
    if loss == "relativistic":
        assert real is not None
        return F.softplus(real - fake).mean()
    if loss == "hinge":
        return -fake.mean()
    return F.softplus(-fake).mean()


def penalised(loss: Loss) -> tuple[bool, bool]:
    """Whether the loss takes a gradient penalty on real (R1) and on generated images (R2)."""
    return loss in ("nonsaturating", "relativistic"), loss == "relativistic"


def gradient_penalty(images: Float[Tensor, "b c h w"], scores: Scores) -> Scalar:
    """Mean squared norm of the gradient of ``scores`` by ``images`` (Mescheder et al. 2018, eq. 9, without gamma/2).

    ``images`` must require grad and have produced ``scores``; the result can be differentiated again.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
