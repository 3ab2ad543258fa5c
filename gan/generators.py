"""Generators: latents to images.

* `MatchedGenerator`: dense or tiled stem, upsampling blocks; one topology with plain and with coordinate convolutions.
* `PaperGenerator`, `PaperCoordGenerator`: the two of Liu et al. 2018 (arXiv 1807.03247, section 5), which differ in
  far more than the coordinates.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan.spec import Stem
from sandbox.nn.blocks import Convolutions, UpBlock
from sandbox.nn.coordconv import CoordConv2d

Images = Float[Tensor, "b 3 s s"]


class MatchedGenerator(nn.Module):
    """Dense layers to a 4x4 map, upsampling blocks to the image, tanh. ``(b, latent) -> (b, 3, s, s)`` in (-1, 1).

    Args:
        convs: plain or coordinate convolutions; the first upsampling block holds the ``first`` one.
        latent: size of the latent vector.
        width: channels at the image's size; each smaller size has twice as many, at most ``8 * width``.
        stem: ``dense`` gives every cell of the 4x4 map its own features; ``tiled`` gives all of them the same, so that
            only padding or coordinates can tell one place from another.
        size: of the image, 4 times a power of two.
    """

    def __init__(self, convs: Convolutions, latent: int, width: int, stem: Stem = "dense", size: int = 64) -> None:
        super().__init__()
        scales = [2**i for i in range((size // 4).bit_length())]  # 1, 2, 4 ... size / 4
        channels = [width * min(scale, 8) for scale in reversed(scales)]  # at 4, 8 ... pixels: for 64, 8w 8w 4w 2w w
        # Where one object goes depends on where the other is: two dense layers decide before anything has a place.
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

    def forward(self, z: Float[Tensor, "b latent"]) -> Images:
        """Images of latents."""
        x = self.stem(self.mapping(z)).unflatten(1, (-1, self.cells, self.cells))  # (b, 8w, 4, 4), tiled (b, 8w, 1, 1)
        return self.paint(x.expand(-1, -1, 4, 4))

    def paint(self, x: Float[Tensor, "b c 4 4"]) -> Images:
        """Images of the stem's maps ``(b, 8w, 4, 4)``: all of the network that works on pixels.

        With circular padding and without coordinates it is equivariant: maps rolled by one cell give images rolled by
        a quarter of the size, the total stride.
        """
        x = nn.functional.leaky_relu(self.stem_norm(x), 0.2)
        return torch.tanh(self.to_rgb(self.blocks(x)))


class PaperGenerator(nn.Module):
    """The paper's plain generator: dense 4x4x512, transposed 5x5 convolutions of stride 2. 6.4 M parameters.

    ``(b, latent) -> (b, 3, 64, 64)`` in (-1, 1).
    """

    def __init__(self, convs: Convolutions, latent: int) -> None:
        super().__init__()
        self.stem = nn.Linear(latent, 512 * 16)
        self.stem_norm = nn.BatchNorm2d(512)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate([(512, 256), (256, 128), (128, 64)]):
            layers += [convs.conv_transpose(a, b, 5, first=i == 0), nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, convs.conv_transpose(64, 3, 5))

    def forward(self, z: Float[Tensor, "b latent"]) -> Images:
        """Images of latents."""
        x = torch.relu(self.stem_norm(self.stem(z).unflatten(1, (-1, 4, 4))))  # (b, 512, 4, 4)
        return torch.tanh(self.layers(x))


class PaperCoordGenerator(nn.Module):
    """The paper's CoordConv generator: the latent on every pixel of 64x64, coordinates at the first layer, no norm.

    1x1 convolutions 512, 256, 256, 128, 64, then 3x3 64, 3x3 64 and 1x1 3. 0.44 M parameters, yet about 11 times the
    multiply-adds of `PaperGenerator` as published, 8 times as computed here: what the first layer makes of the latent
    is the same at every pixel, one vector an image. ``(b, latent) -> (b, 3, 64, 64)`` in (-1, 1).

    Args:
        convs: coordinate convolutions at the first layer.
        latent: size of the latent vector.
        before_tanh: in training mode the output is what the authors' code shows its discriminator, numbers of any size;
            where tanh is saturated it lets no gradient through.
    """

    def __init__(self, convs: Convolutions, latent: int, before_tanh: bool = False) -> None:
        super().__init__()
        self.before_tanh = before_tanh
        sizes = [(512, 1), (256, 1), (256, 1), (128, 1), (64, 1), (64, 3), (64, 3), (3, 1)]
        layers: list[nn.Module] = []
        channels = latent
        for i, (out, kernel) in enumerate(sizes):
            layers += [convs.conv(channels, out, kernel, first=i == 0), nn.ReLU()]
            channels = out
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z: Float[Tensor, "b latent"]) -> Images:
        """Images of latents."""
        first, pixels = self.layers[0], z[:, :, None, None].expand(-1, -1, 64, 64)
        if isinstance(first, CoordConv2d):
            vectors = nn.functional.conv2d(z[:, :, None, None], first.weight)  # (b, 512, 1, 1)
            x = self.layers[1:](first.position_map(pixels).to(vectors.dtype) + vectors)
        else:
            x = self.layers(pixels)
        return x if self.before_tanh and self.training else torch.tanh(x)
