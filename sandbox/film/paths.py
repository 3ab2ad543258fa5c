"""Walks through latent space.

A path through Gaussian latents follows great circles (White 2016, arXiv 1609.04468): the straight line between two of
them passes where the prior has no mass. A path through uniform latents is straight. Paths are seeded, so two runs walk
the same one.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import Law, PathKind

ANCHORS = 4  # latents a loop passes through


def draw_latents(law: Law, count: int, size: int, generator: torch.Generator) -> Float[Tensor, "count size"]:
    """Latents of the prior: standard normal, or uniform in (-1, 1)."""
    if law == "normal":
        return torch.randn(count, size, generator=generator)
    return 2 * torch.rand(count, size, generator=generator) - 1


def between(
    a: Float[Tensor, "*n size"], b: Float[Tensor, "*n size"], t: Float[Tensor, "*n 1"], law: Law
) -> Float[Tensor, "*n size"]:
    """The latent at ``t`` in 0..1 of the way from ``a`` to ``b``: spherical for normal latents, else straight."""
    straight = torch.lerp(a, b, t)
    if law == "uniform":
        return straight
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(-1, keepdim=True) / (lengths[0] * lengths[1]).clamp_min(1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    arc = torch.sin(angle)
    around = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / arc.clamp_min(1e-12)
    # Parallel latents have no circle between them, opposite ones every circle.
    return torch.where(arc < 1e-4, straight, around)


def latent_path(
    law: Law, size: int, *, frames: int, count: int, kind: PathKind, seed: int
) -> Float[Tensor, "t n size"]:
    """``count`` walks of ``frames`` latents each, a function of its arguments alone.

    Args:
        law: the prior.
        size: of a latent.
        frames: at least 2. A loop's last frame is one step short of its first, so that it repeats without a stop.
        count: walks, each through latents of its own.
        kind: ``loop``: closed, through `ANCHORS` latents; ``pair``: from one latent to another.
        seed: of the latents.

    Returns:
        ``(frames, count, size)``.

    Raises:
        ValueError: fewer than 2 frames or no walk.
    """
    stops = ANCHORS if kind == "loop" else 2
    anchors = draw_latents(law, count * stops, size, keyed_generator(seed, "path", kind)).view(count, stops, size)
    return _walk(anchors, frames, kind, law)


def image_path(stops: Float[Tensor, "n stops size"], *, frames: int, kind: PathKind) -> Float[Tensor, "t n size"]:
    """``n`` walks of ``frames`` latents each along straight lines through given ones, such as the codes of images.

    Args:
        stops: (n, stops, size) latents a walk passes through, two or more.
        frames: at least 2. A loop's last frame is one step short of its first, so that it repeats without a stop.
        kind: ``loop``: closed; ``pair``: from the first to the last.

    Raises:
        ValueError: fewer than 2 frames or stops, or no walk.
    """
    return _walk(stops, frames, kind, "uniform")


def _walk(stops: Float[Tensor, "n stops size"], frames: int, kind: PathKind, law: Law) -> Float[Tensor, "t n size"]:
    count, number, _ = stops.shape
    if frames < 2 or count < 1 or number < 2:
        raise ValueError(f"a path needs at least 2 frames, 1 walk and 2 stops, not {frames}, {count} and {number}")
    legs = number if kind == "loop" else number - 1
    position = torch.arange(frames) * (legs / frames) if kind == "loop" else torch.linspace(0, legs, frames)
    start = position.floor().long().clamp_max(legs - 1)
    t = (position - start)[:, None, None].expand(frames, count, 1)
    walks = stops.transpose(0, 1)  # (stops, n, size)
    return between(walks[start], walks[(start + 1) % number], t, law)
