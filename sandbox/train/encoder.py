"""What a probe is given of a study: a network, and how it is fed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.types import Law
from sandbox.film.paths import draw_latents

SIZE = 64  # pixels of an image's edge, where nobody says anything


def as_they_are(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Images in [0, 1], unchanged."""
    return images


@dataclass
class Encoder:
    """A frozen network and what it is fed.

    Attributes:
        network: in evaluation mode.
        size: pixels along an edge of its images.
        prepare: images in [0, 1], ``(b, 3, size, size)``, to inputs.
        draw: count and random stream to inputs, of a network that has no image input; else None.
        any_size: whether it takes images of another size than ``size`` as well.
        note: one line that a reader of a probe's result must know; empty where there is nothing to say.
        names: of the modules that are its levels; None: found by running it.
    """

    network: nn.Module
    size: int = SIZE
    prepare: Callable[[Tensor], Tensor] = as_they_are
    draw: Callable[[int, torch.Generator], Tensor] | None = None
    any_size: bool = True
    note: str = ""
    names: tuple[str, ...] | None = None

    def example(self) -> Tensor:
        """Two inputs, for a look at the network."""
        stream = torch.Generator().manual_seed(0)
        if self.draw is not None:
            return self.draw(2, stream)
        return self.prepare(torch.rand(2, 3, self.size, self.size, generator=stream))


def of_latents(network: nn.Module, law: Law, latent: int) -> Encoder:
    """The encoder of a network that makes images from latents of a size: it is fed random ones of its prior."""
    return Encoder(network, draw=lambda count, stream: draw_latents(law, count, latent, stream), any_size=False)
