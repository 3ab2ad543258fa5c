"""The probe: convolutions from frozen features to the five maps, how they learn and how they are scored."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from sandbox.base.errors import RunError
from sandbox.base.seeding import keyed_generator
from sandbox.nn.seeding import seed_parameters
from sandbox.train.schedule import Epochs, cosine_decay
from vision.probe.config import INPUTS, MAPS, Optimiser, Scale, Scales, held_out
from vision.probe.maps import mean_absolute_error, position_maps, rank_correlation

Features = Float[Tensor, "b c g g"]
START = 0.1  # of Xavier's law, in the last layer: what few steps do not unlearn of it is noise in the answers
_CHUNK = 16  # images at a time outside training


class PositionProbe(nn.Module):
    """A stack of convolutions for each of the five maps, side by side. ``(b, c, g, g) -> (b, 5, g, g)``.

    The position encoding module of Islam et al. 2020 (arXiv 2001.08248), section 3.2: without padding unless asked for;
    the output is resized (bilinear) to the grid. The maps share nothing, so training them together is training each by
    itself. Features are standardised by constants that know no place, see `standardise`; the zeros of ``padding`` are
    zeros of the raw features.

    Args:
        channels: of the features.
        kernel: size of every convolution.
        depth: number of convolutions, ReLU between them.
        padding: zeros around every convolution's input.
        hidden: channels between convolutions, for each map.
        grid: places along an edge.

    Raises:
        ValueError: the convolutions without padding leave nothing of the grid.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, *, kernel: int, depth: int, padding: int, hidden: int, grid: int) -> None:
        super().__init__()
        if grid + depth * (2 * padding - kernel + 1) < 2:
            raise ValueError(f"{depth} convolutions of {kernel}x{kernel} leave nothing of {grid}x{grid} places")
        widths = [hidden] * (depth - 1) + [1]
        self.first = nn.Conv2d(channels, len(MAPS) * widths[0], kernel, padding=padding)
        self.rest = nn.ModuleList(
            nn.Conv2d(len(MAPS) * a, len(MAPS) * b, kernel, padding=padding, groups=len(MAPS))
            for a, b in pairwise(widths)
        )
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    @property
    def last(self) -> nn.Conv2d:
        """The convolution whose output is the maps."""
        layer = self.rest[-1] if len(self.rest) else self.first
        assert isinstance(layer, nn.Conv2d)
        return layer

    @torch.no_grad()
    def standardise(self, features: Features, scale: Scale) -> None:
        """Sets the constants by which features are standardised.

        Args:
            features: of the training images.
            scale: ``one`` divides all by one number, the root mean square; ``channel`` centres each channel and divides
                it by its own standard deviation, dead ones excepted; ``raw`` leaves everything as it is.
        """
        if scale == "one":
            self.deviation.fill_(features.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny))
        if scale == "channel":
            self.mean.copy_(features.mean((0, 2, 3)))
            deviation = features.std((0, 2, 3), correction=0)
            alive = deviation > 1e-6 * deviation.max()
            self.deviation.copy_(torch.where(alive, deviation, torch.ones_like(deviation)))

    def forward(self, features: Features) -> Float[Tensor, "b 5 g g"]:
        """The five maps that the features suggest."""
        # (x - mean) / deviation folded into the first convolution: it pads zeros in units of x, and nothing is copied.
        weight = self.first.weight / self.deviation[:, None, None]
        assert self.first.bias is not None
        bias = self.first.bias - torch.einsum("ochw,c->o", weight, self.mean)
        x = thin_convolution(features, weight, bias, int(self.first.padding[0]))
        for layer in self.rest:
            x = layer(F.relu(x))
        if x.shape[-2:] != features.shape[-2:]:
            x = F.interpolate(x, size=features.shape[-2:], mode="bilinear", align_corners=False)
        return x


def thin_convolution(
    x: Features, weight: Float[Tensor, "o c k k"], bias: Float[Tensor, " o"], padding: int
) -> Float[Tensor, "b o h w"]:
    """``F.conv2d(x, weight, bias, padding=padding)``, faster where a few channels are made of very many.

    One matrix product gives every place the k x k taps of its output; shifted against each other they are summed. Over
    1472 channels to 5 (forward and backward, one thread) it took 51 ms where the convolution took 75 to 124.
    ``x`` is not copied if it is in channels_last.
    """
    (b, c, h, w), k = x.shape, weight.shape[-1]
    taps = x.permute(0, 2, 3, 1).reshape(-1, c) @ weight.permute(1, 2, 3, 0).reshape(c, -1)
    maps = F.pad(taps.view(b, h, w, k, k, -1), (0, 0, 0, 0, 0, 0, padding, padding, padding, padding))
    height, width = h + 2 * padding - k + 1, w + 2 * padding - k + 1
    parts = [maps[:, i : i + height, j : j + width, i, j] for i in range(k) for j in range(k)]
    return (torch.stack(parts).sum(0) + bias).permute(0, 3, 1, 2)


class Candidates(nn.Module):
    """One probe for each way to scale the features, and which of them goes on. See `ProbeTrainer`."""

    chosen: Tensor

    def __init__(self, probes: Sequence[PositionProbe]) -> None:
        super().__init__()
        self.probes = nn.ModuleList(probes)
        self.register_buffer("chosen", torch.tensor(0 if len(probes) == 1 else -1))

    @property
    def best(self) -> PositionProbe:
        """The probe that was chosen; the first until then."""
        found = self.probes[max(0, int(self.chosen))]
        assert isinstance(found, PositionProbe)
        return found


class ProbeTrainer:
    """Trains a probe on features that were computed once.

    Minimised is the squared error, mean over images and places and summed over the five maps. Which scale suits the
    features of a network is not known beforehand. A channel that hardly moves on natural images, divided by its own
    standard deviation, drowns all others where an image is unlike those; yet what holds position may be a small channel
    beside large ones. With ``held_out`` a probe of either kind learns for the first third of the steps, and the one
    with the smaller error on the last eighth of the images, which no probe learns from, goes on alone.

    Args:
        features: (n, c, g, g), float32, of the training images; 2 or more.
        seed: of the probe's weights and the order of the images.
        kernel, depth, padding, hidden: see `PositionProbe`.
        scale: see `PositionProbe.standardise`; ``held_out`` chooses between ``one`` and ``channel``.
        optimiser: ``adam``, whose rate falls to 0 over the last ``decay`` of the steps (cosine), or ``sgd`` with
            momentum .9, whose rate is a tenth over the last third: Islam et al. 2020.
        batch, steps, lr, l2, decay: of either.
    """

    def __init__(
        self, features: Features, *, seed: int, batch: int, steps: int, lr: float, l2: float, decay: float,
        kernel: int = 3, depth: int = 1, padding: int = 0, hidden: int = 16, scale: Scales = "held_out",
        optimiser: Optimiser = "adam",
    ) -> None:  # fmt: skip
        (count, channels, grid, _), device = features.shape, features.device
        self.scales: tuple[Scale, ...] = ("one", "channel") if scale == "held_out" else (scale,)
        self.features = features.contiguous(memory_format=torch.channels_last)
        self.learned = count - held_out(count) if len(self.scales) > 1 else count
        self.steps, self.lr, self.decay, self.sgd = steps, lr, decay, optimiser == "sgd"
        self.maps = position_maps(grid).to(device)
        sizes = {"kernel": kernel, "depth": depth, "padding": padding, "hidden": hidden, "grid": grid}
        self.probe = Candidates([PositionProbe(channels, **sizes) for _ in self.scales])
        for probe, each in zip(self._probes(), self.scales, strict=True):
            seed_parameters(probe, seed, "probe")  # Xavier's law, all but: the fan-out is small beside the fan-in
            with torch.no_grad():
                probe.last.weight.mul_(START)
            probe.to(device).standardise(features[: self.learned], each)
        self.probe.to(device)
        fused = device.type in ("cpu", "cuda")
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.SGD(self.probe.parameters(), lr, momentum=0.9, weight_decay=l2, fused=fused) if self.sgd
            else torch.optim.Adam(self.probe.parameters(), lr, weight_decay=l2, fused=fused)
        )  # fmt: skip
        self.epochs = Epochs(self.learned, batch, seed)

    def _probes(self) -> list[PositionProbe]:
        return [probe for probe in self.probe.probes if isinstance(probe, PositionProbe)]

    @property
    def scale(self) -> Scale:
        """How the features are scaled."""
        return self.scales[max(0, int(self.probe.chosen))]

    def _rate(self, step: int) -> float:
        if self.sgd:
            return 1.0 if step <= self.steps * 2 / 3 else 0.1
        return cosine_decay(step, self.steps, self.decay)

    def step(self, step: int) -> dict[str, Tensor]:
        """One update, a function of the seed and the step; the loss and the length of the gradient by tag.

        Raises:
            RunError: a probe of raw features diverges.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * self._rate(step)
        if self.probe.chosen < 0 and step > self.steps / 3:
            self._choose()
        rows = self.epochs.indices(step).to(self.features.device)
        learning = [self.probe.best] if self.probe.chosen >= 0 else self._probes()
        losses = [self._loss(probe, self.features[rows]) for probe in learning]
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        norm = get_total_norm([p.grad for p in self.probe.parameters() if p.grad is not None])
        self.optimiser.step()
        if self.scale == "raw" and not bool(torch.isfinite(losses[0])):
            size = float(self.features.square().mean().sqrt())
            raise RunError(f"the probe of raw features diverged at step {step}: their root mean square is {size:.3g}, "
                           f"too much for the rate {self.lr:g}; --scale one divides them by it")  # fmt: skip
        return {"loss/train": losses[0].detach(), "grad/probe": norm}

    def _loss(self, probe: PositionProbe, features: Features) -> Tensor:
        error: Tensor = probe(features) - self.maps
        return error.square().mean((0, 2, 3)).sum()

    @torch.no_grad()
    def _choose(self) -> None:
        """The probe with the smallest error on the images that none learns from."""
        parts = self.features[self.learned :].split(_CHUNK)
        errors = [sum(float(self._loss(probe, part)) * len(part) for part in parts) for probe in self._probes()]
        self.probe.chosen.fill_(errors.index(min(errors)))

    @torch.no_grad()
    def answers(self, features: Features) -> Float[Tensor, "b 5 g g"]:
        """What the probe says about some features."""
        return torch.cat([self.probe.best(part) for part in features.split(_CHUNK)])

    def scores(self, sets: Mapping[str, Iterable[Features]]) -> dict[str, float]:
        """SPC and MAE by tag, means over images.

        Args:
            sets: kind of image (`INPUTS`) -> features in parts. A kind that is not there is undefined: NaN.
        """
        found: dict[str, float] = {}
        measures = {"spc": rank_correlation, "mae": mean_absolute_error}
        for shown in INPUTS:
            answers = [self.answers(part) for part in sets.get(shown, ())]
            for measure, compute in measures.items():
                each = [compute(part, self.maps) for part in answers]
                means = np.concatenate(each).mean(0) if each else np.full(len(MAPS), math.nan)
                found |= {f"score/{measure}_{name}_{shown}": float(means[k]) for k, name in enumerate(MAPS)}
        for measure in measures:
            found[f"score/{measure}"] = sum(found[f"score/{measure}_{name}_natural"] for name in ("h", "v")) / 2
        return found


def shuffled(features: Features, seed: int, *key: str | int) -> Features:
    """The control without position: each image's features on its places in an order of their own."""
    places = features.shape[-1] ** 2
    orders = torch.stack(
        [torch.randperm(places, generator=keyed_generator(seed, "shuffle", *key, k)) for k in range(len(features))]
    ).to(features.device)
    flat = features.flatten(2)
    return flat.gather(2, orders[:, None].expand_as(flat)).view_as(features)
