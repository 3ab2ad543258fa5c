"""Networks of the coordinate tasks.

* Painters, (x, y) to one map of logits: `PaperDeconv`, `PaperCoordPainter` and `PaperCoordRenderer`, the published
  ones; `MatchedPainter`, one topology with plain and with coordinate convolutions.
* `Reader`, an image to (x, y): published and matched networks, and what lies between them.

Sizes: Liu et al. 2018 (arXiv 1807.03247), section 4 and the authors' released code. A centre is (row, column), scaled
as the coordinate planes are: -1 is the first row or column of pixels, 1 the last.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.nn.blocks import Convolutions, UpBlock
from sandbox.nn.coordconv import CoordConv2d
from sandbox.nn.planes import full_precision
from vision.spec import Downsampling, Pooling, Stem, VisionConfig

SIZE = 64
Centres = Float[Tensor, "b 2"]
Logits = Float[Tensor, "b 1 64 64"]


class PaperDeconv(nn.Module):
    """The published plain painter: (x, y) as an image of one pixel, six transposed convolutions of stride 2.

    Channels 64c, 64c, 64c, 32c, 32c, 1; batch norm and ReLU between them.

    Args:
        fs: kernel size, at least 2; padding is such that every layer doubles the size.
        c: channel multiplier.

    Raises:
        ValueError: the kernel does not cover the stride.
    """

    def __init__(self, fs: int, c: int) -> None:
        super().__init__()
        if fs < 2:
            raise ValueError(f"fs is {fs}: a transposed convolution of stride 2 wants a kernel of at least 2")
        padding = (fs - 1) // 2
        extra = 2 - fs + 2 * padding  # 0 for an even kernel, 1 for an odd one
        channels = [2, 64 * c, 64 * c, 64 * c, 32 * c, 32 * c, 1]
        layers: list[nn.Module] = []
        for a, b in pairwise(channels):
            layers += [nn.ConvTranspose2d(a, b, fs, 2, padding, extra), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, centres: Centres) -> Logits:
        """Logits of centres."""
        logits: Tensor = self.layers(centres[:, :, None, None])
        return logits


class PaperCoordPainter(nn.Module):
    """The published CoordConv painter: (x, y) tiled to 64x64, coordinates, 1x1 convolutions 32, 32, 64, 64, 1, ReLU.

    The tiled image is constant, so its share of the first layer is one vector an image; the coordinates' share is one
    map for the batch. The other layers are matrix products over the pixels, channels last.
    """

    def __init__(self, with_r: bool = False) -> None:
        super().__init__()
        self.first = CoordConv2d(2, 32, 1, with_r=with_r)
        self.rest = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise((32, 32, 64, 64, 1)))

    def forward(self, centres: Centres) -> Logits:
        """Logits of centres."""
        tiled = centres[:, :, None, None].expand(-1, -1, SIZE, SIZE)
        position = self.first.position_map(tiled).flatten(2).transpose(1, 2)  # (1, 4096, 32)
        content = self.first.weight.flatten(1)  # (32, 2)
        with full_precision(centres.device):  # bf16 would blur neighbouring positions
            x = F.relu(position + F.linear(centres, content)[:, None])
        for i, layer in enumerate(self.rest):
            assert isinstance(layer, nn.Conv2d)
            x = F.linear(x, layer.weight.flatten(1), layer.bias)
            x = F.relu(x, inplace=True) if i < len(self.rest) - 1 else x
        return x.view(-1, 1, SIZE, SIZE)


class PaperCoordRenderer(nn.Module):
    """The published CoordConv renderer: the painter, a softmax over the pixels, 3x3 convolutions 8c, 8c, 16c, 16c, 1.

    The kernel size is ours (the paper does not state it): five layers of 3x3 reach 11x11, the square has 9x9.
    """

    def __init__(self, c: int, with_r: bool = False) -> None:
        super().__init__()
        self.painter = PaperCoordPainter(with_r)
        channels = (1, 8 * c, 8 * c, 16 * c, 16 * c, 1)
        self.brush = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))

    def forward(self, centres: Centres) -> Logits:
        """Logits of centres."""
        return self.paint(self.painter(centres))

    def paint(self, logits: Logits) -> Logits:
        """The square's logits from those of its centre."""
        x = logits.float().flatten(1).softmax(1).view_as(logits)
        for i, layer in enumerate(self.brush):
            x = layer(F.relu(x) if i else x)
        return x


class MatchedPainter(nn.Module):
    """Dense layers to a 4x4 map, upsampling blocks to 64x64, a 3x3 convolution.

    Args:
        convs: plain or coordinate convolutions; the first upsampling block holds the ``first`` one.
        width: channels at 64x64; each smaller size has twice as many, at most ``8 * width``.
        stem: ``dense`` gives every cell of the 4x4 map its own features; ``tiled`` gives all of them the same, so that
            only padding or coordinates can tell one place from another.
    """

    def __init__(self, convs: Convolutions, width: int, stem: Stem) -> None:
        super().__init__()
        channels = [8 * width, 8 * width, 4 * width, 2 * width, width]  # at 4, 8, 16, 32, 64 pixels
        self.mapping = nn.Sequential(nn.Linear(2, channels[0]), nn.ReLU())
        self.cells = 4 if stem == "dense" else 1  # along each axis, before tiling
        self.stem = nn.Linear(channels[0], channels[0] * self.cells**2)
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.blocks = nn.Sequential(
            *(UpBlock(convs, a, b, first=i == 0) for i, (a, b) in enumerate(pairwise(channels)))
        )
        self.to_logits = convs.conv(width, 1, 3)

    def forward(self, centres: Centres) -> Logits:
        """Logits of centres."""
        x = self.stem(self.mapping(centres)).unflatten(1, (-1, self.cells, self.cells))
        return self.paint(x.expand(-1, -1, 4, 4))

    def paint(self, x: Float[Tensor, "b f 4 4"]) -> Logits:
        """Logits of the stem's maps: all of the network that works on pixels.

        With circular padding and without coordinates it is equivariant: maps rolled by one cell give logits rolled by
        16 pixels, the total stride.
        """
        logits: Tensor = self.to_logits(self.blocks(F.leaky_relu(self.stem_norm(x), 0.2)))
        return logits


class Reader(nn.Module):
    """Convolutions and, at the end, a global pool or dense layers: ``(b, 1, 64, 64) -> (b, 2)``, a scaled centre.

    Args:
        convs: plain or coordinate convolutions.
        layers: (output channels, kernel size) of each convolution.
        relu: ReLU after each, but for a last one that is the output.
        downsampling: ``pool`` follows, ``stride`` replaces each of the first three by a halving of the size.
        pooling: ``max`` and ``mean`` over all pixels, the last layer having two channels then; ``dense``: 64, then 2.

    Raises:
        ValueError: the last layer has not two channels, but is pooled.
    """

    def __init__(
        self, convs: Convolutions, layers: Sequence[tuple[int, int]], *,
        relu: bool, downsampling: Downsampling, pooling: Pooling,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = [1, *(out for out, _ in layers)]
        if pooling != "dense" and channels[-1] != 2:
            raise ValueError(f"a pooled reader ends in 2 channels, not {channels[-1]}")
        self.relu, self.pools, self.pooling = relu, 3 if downsampling == "pool" else 0, pooling
        strides = [2 if downsampling == "stride" and i < 3 else 1 for i in range(len(layers))]
        self.convs = nn.ModuleList(
            convs.conv(a, b, kernel, stride, first=i == 0)
            for i, ((a, b), (_, kernel), stride) in enumerate(zip(pairwise(channels), layers, strides, strict=True))
        )
        size = SIZE if downsampling == "none" else SIZE // 8
        self.head = nn.Sequential()
        if pooling == "dense":
            self.head = nn.Sequential(nn.Linear(channels[-1] * size**2, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, images: Float[Tensor, "b 1 64 64"]) -> Centres:
        """Scaled centres of images."""
        x = images
        for i, layer in enumerate(self.convs):
            x = layer(x)
            if self.relu and (self.pooling == "dense" or i < len(self.convs) - 1):
                x = F.relu(x)
            if i < self.pools:
                x = F.max_pool2d(x, 2)
        if self.pooling == "dense":
            centres: Tensor = self.head(x.flatten(1))
            return centres
        return x.amax((2, 3)) if self.pooling == "max" else x.mean((2, 3))


def make_network(config: VisionConfig) -> nn.Module:
    """The network of a configuration, not yet seeded.

    Raises:
        ValueError: sizes that cannot be built, see the networks.
    """
    paper = config.architecture == "paper"
    convs = Convolutions(config.coord, "first" if paper else config.coord_layers, config.with_r, config.padding_mode)
    if config.task == "regression":
        return _reader(config, convs)
    if not paper:
        return MatchedPainter(convs, config.width, config.stem)
    if not config.coord:
        return PaperDeconv(config.fs, config.c)
    return (PaperCoordPainter(config.with_r) if config.task == "classification"
            else PaperCoordRenderer(config.c, config.with_r))  # fmt: skip


def _reader(config: VisionConfig, convs: Convolutions) -> Reader:
    kernels: tuple[int, ...]
    if config.architecture == "matched":
        kernels, channels = (3, 3, 3, 3), [config.width] * 4
    elif config.coord:
        kernels, channels = (1, 1, 1, 3, 3), [8 * config.c] * 4 + [2]
    else:
        kernels, channels = (config.fs,) * 4, [16 * config.c] * 4
    if config.pooling != "dense":
        channels[-1] = 2
    layers = list(zip(channels, kernels, strict=True))
    return Reader(convs, layers, relu=config.relu, downsampling=config.downsampling, pooling=config.pooling)
