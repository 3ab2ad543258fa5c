"""Losses and penalties with answers worked out by hand."""

import math

import pytest
import torch

from gan.losses import discriminator_loss, generator_loss, gradient_penalty, penalised

REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("nonsaturating", (softplus(-2) + softplus(0)) / 2 + (softplus(-1) + softplus(1)) / 2),
        ("paper", (softplus(-2) + softplus(0)) / 2 + (softplus(-1) + softplus(1)) / 2),
        ("relativistic", (softplus(-3) + softplus(1)) / 2),
        ("hinge", (0 + 1) / 2 + (0 + 2) / 2),
    ],
)
def test_discriminator_losses(loss: str, expected: float) -> None:
    assert discriminator_loss(loss, REAL, FAKE).item() == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("nonsaturating", (softplus(1) + softplus(-1)) / 2),
        ("paper", (softplus(1) + softplus(-1)) / 2),
        ("relativistic", (softplus(3) + softplus(-1)) / 2),
        ("hinge", 0.0),
    ],
)
def test_generator_losses(loss: str, expected: float) -> None:
    assert generator_loss(loss, REAL, FAKE).item() == pytest.approx(expected)  # type: ignore[arg-type]


def test_which_images_are_penalised() -> None:
    losses = ("nonsaturating", "relativistic", "hinge", "paper")
    assert [penalised(loss) for loss in losses] == [(True, False), (True, True), (False, False), (False, False)]  # type: ignore[arg-type]


def test_the_penalty_of_a_linear_score_is_its_squared_slope() -> None:
    slope = torch.randn(3, 4, 4, requires_grad=True)
    images = torch.randn(5, 3, 4, 4, requires_grad=True)
    penalty = gradient_penalty(images, (images * slope).flatten(1).sum(1))
    torch.testing.assert_close(penalty, slope.square().sum())
    (gradient,) = torch.autograd.grad(penalty, slope)  # the discriminator must feel it
    torch.testing.assert_close(gradient, 2 * slope)
