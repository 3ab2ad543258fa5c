"""Encoder and decoders: images to Gaussian posteriors, latents to what a likelihood is made of.

* `Encoder`: stride-2 blocks and dense layers.
* `MatchedDecoder`: dense or tiled stem, upsampling blocks; one topology with plain and with coordinate convolutions.
* `BroadcastDecoder`: the latent on every pixel, then convolutions (Watters et al. 2019, arXiv 1901.07017).

Under autocast the layers next to a latent stay in float32: bfloat16 keeps 8 bits of it, which is as coarse as a sharp
posterior is wide.
"""

from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from sandbox.nn.blocks import Convolutions, DownBlock, UpBlock, place_by_name
from sandbox.nn.planes import full_precision
from sandbox.nn.seeding import seed_parameters
from vae.spec import Head, Stem, VaeConfig

Images = Float[Tensor, "b 3 64 64"]
Latents = Float[Tensor, "b latent"]


class Posterior(NamedTuple):
    """Diagonal Gaussians over latents, one an image.

    Attributes:
        mean: (b, latent).
        log_variance: (b, latent), natural logarithm.
    """

    mean: Latents
    log_variance: Latents

    def sample(self, noise: Latents) -> Latents:
        """The draws that standard normal ``noise`` gives (reparameterised: Kingma and Welling 2014, section 2.4)."""
        return self.mean + (self.log_variance / 2).exp() * noise


def _in_float32(layers: nn.Module, x: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
    with full_precision(x.device):
        out: Tensor = layers(x.float())
        return out


class Encoder(nn.Module):
    """Four stride-2 blocks and two dense layers. ``(b, 3, 64, 64)`` in [0, 1] -> posteriors over ``(b, latent)``.

    Args:
        convs: plain or coordinate convolutions; the image meets the ``first`` one.
        latent: size of the latent vector.
        width: channels at 32x32; each smaller size has twice as many, at most ``8 * width``.
        head: ``dense`` weighs every cell of the last 4x4 map by itself; ``pooled`` takes their mean. With ``pooled``,
            circular padding and no coordinates, images rolled by multiples of 16 pixels, the total stride, have one
            posterior.
    """

    def __init__(self, convs: Convolutions, latent: int, width: int, head: Head = "dense") -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width]  # at 64, 32, 16, 8, 4 pixels
        self.blocks = nn.Sequential(
            *(DownBlock(convs, a, b, 5 if i == 0 else 3, first=i == 0) for i, (a, b) in enumerate(pairwise(channels)))
        )
        self.pooled = head == "pooled"
        self.hidden = nn.Sequential(nn.Linear(channels[-1] * (1 if self.pooled else 16), 256), nn.LeakyReLU(0.2))
        self.head = nn.Linear(256, 2 * latent)

    def forward(self, images: Images) -> Posterior:
        """Posteriors of images in [0, 1], in float32."""
        x = self.blocks(2 * images - 1)  # (b, 8w, 4, 4)
        x = self.hidden(x.mean((2, 3)) if self.pooled else x.flatten(1))
        return Posterior(*_in_float32(self.head, x).chunk(2, 1))


class MatchedDecoder(nn.Module):
    """Dense layers to a 4x4 map, upsampling blocks to 64x64. ``(b, latent) -> (b, 3, 64, 64)``, logits.

    Args:
        convs: plain or coordinate convolutions; the first upsampling block holds the ``first`` one.
        latent: size of the latent vector.
        width: channels at 64x64; each smaller size has twice as many, at most ``8 * width``.
        stem: ``dense`` gives every cell of the 4x4 map its own features; ``tiled`` gives all of them the same, so that
            only padding or coordinates can tell one place from another.
    """

    def __init__(self, convs: Convolutions, latent: int, width: int, stem: Stem = "dense") -> None:
        super().__init__()
        channels = [8 * width, 8 * width, 4 * width, 2 * width, width]  # at 4, 8, 16, 32, 64 pixels
        hidden = 16 * width
        self.mapping = nn.Sequential(
            nn.Linear(latent, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
        )
        self.cells = 4 if stem == "dense" else 1  # along each axis, before tiling
        self.stem = nn.Linear(hidden, channels[0] * self.cells**2)
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.blocks = nn.Sequential(
            *(UpBlock(convs, a, b, first=i == 0) for i, (a, b) in enumerate(pairwise(channels)))
        )
        self.to_rgb = convs.conv(channels[-1], 3, 3)

    def forward(self, z: Latents) -> Images:
        """Logits of latents."""
        x = self.stem(_in_float32(self.mapping, z)).unflatten(1, (-1, self.cells, self.cells))
        x = self.stem_norm(x.expand(-1, -1, 4, 4))  # (b, 8w, 4, 4), from (b, 8w, 1, 1) if tiled
        logits: Tensor = self.to_rgb(self.blocks(nn.functional.leaky_relu(x, 0.2)))
        return logits


class BroadcastDecoder(nn.Module):
    """The latent on every pixel beside the coordinates, 3x3 convolutions. ``(b, latent) -> (b, 3, 64, 64)``, logits.

    Four layers with ReLU and a last 1x1, as in Watters et al. 2019 (arXiv 1901.07017), who have no padding and 64
    channels. The coordinate arm adds coordinates at the first layer alone, as published; the plain arm has none, so
    that only padding tells its pixels apart, and with circular padding nothing does: every image is one flat colour.
    """

    def __init__(self, convs: Convolutions, latent: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, channels in enumerate([latent, width, width, width]):
            layers += [convs.conv(channels, width, 3, first=i == 0), nn.ReLU()]
        self.layers = nn.Sequential(*layers, convs.conv(width, 3, 1))

    def forward(self, z: Latents) -> Images:
        """Logits of latents."""
        logits: Tensor = self.layers(z[:, :, None, None].expand(-1, -1, 64, 64))
        return logits


def make_networks(config: VaeConfig) -> tuple[Encoder, nn.Module]:
    """Encoder and decoder of a configuration, seeded alike in both arms wherever names and shapes agree."""
    broadcast = config.decoder == "broadcast"
    knows = {name: config.coord and config.coord_in in (name, "both") for name in ("encoder", "decoder")}
    convs = {
        name: Convolutions(
            knows[name], "first" if broadcast and name == "decoder" else config.coord_layers, config.with_r,
            config.padding_mode,
        )
        for name in knows
    }  # fmt: skip
    encoder = Encoder(convs["encoder"], config.latent, config.e_width, config.head)
    decoder: nn.Module
    if broadcast:
        decoder = BroadcastDecoder(convs["decoder"], config.latent, 2 * config.width)
    else:
        decoder = MatchedDecoder(convs["decoder"], config.latent, config.width, config.stem)
    networks = {"encoder": encoder, "decoder": decoder}
    # A broadcast decoder knows coordinates at the first layer alone, whatever the encoder does.
    named = [name for name in networks if convs[name].layers == config.coord_layers]
    place_by_name({name: networks[name] for name in named}, {name: convs[name] for name in named})
    for name, network in networks.items():
        seed_parameters(network, config.seed, name)
    return encoder, decoder
