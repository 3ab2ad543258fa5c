"""One probe of one network: features computed once, the probe on them, scores, pictures, film."""

import time
from collections.abc import Iterator
from copy import deepcopy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.base.seeding import keyed_generator
from sandbox.experiment.content import Content
from sandbox.nn.counting import multiply_adds
from sandbox.train.encoder import Encoder
from vision.probe.config import PositionConfig
from vision.probe.images import natural_images, plain_images
from vision.probe.levels import Levels, make_levels
from vision.probe.pictures import Sheet, sheet, strip
from vision.probe.probe import Features, ProbeTrainer, shuffled

_CHUNK = 8  # images at a time through the encoder
_PREVIEW = 4  # natural images of a picture


class Probing:
    """The probe that a configuration describes, on an encoder. The features of all training images are kept.

    Args:
        config: what the probe is, how it learns, which images.
        encoder: frozen; its network lies on ``device``.
        device: where everything is computed.

    Attributes:
        trainer: the probe and how it learns.
        test: test inputs by kind: images (natural ones as bytes), or latents.
        cached: how many features were kept, and how long it took.
        content: what the natural images are, where they are the user's own.

    Raises:
        UserError: levels, images or convolutions that cannot be had.
    """

    def __init__(self, config: PositionConfig, encoder: Encoder, device: torch.device) -> None:
        self.config, self.encoder, self.device = config, encoder, device
        self.content: Content | None = None
        self.levels = make_levels(encoder, config, device)
        began = time.perf_counter()
        self.test, train = self._inputs()
        features = torch.cat(list(self._features(train, "train")))
        self.cached = {
            "images": len(features),
            "channels": features.shape[1],
            "megabytes": round(features.nbytes / 2**20, 1),
            "seconds": round(time.perf_counter() - began, 2),
        }
        try:
            self.trainer = ProbeTrainer(
                features, seed=config.seed, batch=config.batch, steps=config.steps, lr=config.lr, l2=config.l2,
                decay=config.decay, kernel=int(config.kernel), depth=int(config.depth),
                padding=int(config.probe_padding), hidden=config.hidden, scale=config.scale,
                optimiser=config.optimiser,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(f"--kernel, --depth and --grid: {error}") from None

    # ---- what goes in

    def _inputs(self) -> tuple[dict[str, Tensor], Tensor]:
        """Test inputs by kind and training inputs: images in [0, 1] (natural ones as bytes), or latents."""
        config, encoder = self.config, self.encoder
        if encoder.draw is not None:
            train, test = (encoder.draw(count, keyed_generator(config.seed, "latents", what))
                           for what, count in (("train", config.images), ("test", config.test_images)))  # fmt: skip
            return {"natural": test}, train
        shown, asked, self.content = natural_images(config, encoder.size)
        train, test = torch.from_numpy(shown), torch.from_numpy(asked)
        return {"natural": test, **plain_images(encoder.size, config.test_images)}, train

    def _prepared(self, inputs: Tensor) -> Tensor:
        if self.encoder.draw is not None:
            return inputs.to(self.device)
        return self.encoder.prepare(_unit(inputs).to(self.device))

    def _features(self, inputs: Tensor, what: str) -> Iterator[Features]:
        """Features of inputs, a few at a time."""
        for k, part in enumerate(inputs.split(_CHUNK)):
            features = self.levels.features(self._prepared(part), self.config.grid, self.config.resize)
            yield shuffled(features, self.config.seed, what, k) if self.config.shuffle else features

    def train(self) -> None:
        """All steps of the probe, at once."""
        for step in range(1, self.config.steps + 1):
            self.trainer.step(step)

    # ---- scores and pictures

    def scores(self) -> dict[str, float]:
        """SPC and MAE of every map on every kind of image; see docs/metrics.md."""
        return self.trainer.scores({shown: self._features(inputs, shown) for shown, inputs in self.test.items()})

    def picture(self) -> tuple[Sheet, float]:
        """The five maps, asked for and answered, on a few images; the primary score of the natural ones among them."""
        rows = [
            (shown, self._picture(part[None]), said)
            for shown, (inputs, features) in self._few.items()
            for part, said in zip(inputs, self.trainer.answers(features), strict=True)
        ]
        spc = self.trainer.scores({"natural": [self._few["natural"][1]]})["score/spc"]
        return sheet(self.trainer.maps, rows), spc

    @cached_property
    def _few(self) -> dict[str, tuple[Tensor, Features]]:
        """The inputs of every picture and their features, by kind."""
        few = {shown: inputs[: _PREVIEW if shown == "natural" else 1] for shown, inputs in self.test.items()}
        return {shown: (inputs, torch.cat(list(self._features(inputs, shown)))) for shown, inputs in few.items()}

    @torch.no_grad()
    def _picture(self, inputs: Tensor) -> Tensor:
        """The image of one input: the input itself, or what the network makes of a latent."""
        if self.encoder.draw is None:
            return _unit(inputs)[0]
        out: Tensor = self.encoder.network(inputs.to(self.device)).float()[0]
        low, high = out.amin(), out.amax()
        picture = (out - low) / (high - low).clamp_min(1e-12)
        return picture if len(picture) == 3 else picture.mean(0)

    def film(self, frames: int, count: int) -> UInt8[np.ndarray, "t n 3 h w"]:
        """Test images rolled once around, down and to the right, each beside what the probe says of H and V.

        A network without image input walks between two random latents and back.
        """
        return np.stack([self._filmed(self._walk(k, frames)) for k in range(count)], 1)

    def _walk(self, number: int, frames: int) -> Tensor:
        natural = self.test["natural"]
        first = natural[number % len(natural)]
        if self.encoder.draw is not None:
            second = natural[(number + 1) % len(natural)]
            shares = (1 - torch.cos(2 * torch.pi * torch.arange(frames) / frames)) / 2
            return torch.stack([torch.lerp(first, second, share) for share in shares])
        size = first.shape[-1]
        offsets = [round(t * size / frames) for t in range(frames)]
        return torch.stack([first.roll((offset, offset), (-2, -1)) for offset in offsets])

    def _filmed(self, walk: Tensor) -> UInt8[np.ndarray, "t 3 h w"]:
        said = torch.cat([self.trainer.answers(features) for features in self._features(walk, "film")])
        return np.stack([strip(self._picture(walk[t, None]), said[t]) for t in range(len(walk))])

    def costs(self) -> dict[str, Any]:
        """The levels, the features that were computed, parameters and multiply-adds an image, up to the last level."""
        example = self.encoder.example().to(self.device)
        levels = zip(self.levels.names, self.levels(example), strict=True)
        networks = {"target": self.encoder.network, "probe": self.trainer.probe.best}
        adds = {
            "target": multiply_adds(_Read(self.levels), example),
            "probe": multiply_adds(deepcopy(self.trainer.probe.best), self.trainer.features[:2]),
        }
        return {
            "levels": [f"{name or 'output'} {'x'.join(map(str, level.shape[1:]))}" for name, level in levels],
            "features": self.cached | {"scale": self.trainer.scale},
            "parameters": {name: sum(p.numel() for p in one.parameters()) for name, one in networks.items()},
            "multiply_adds_per_image": adds,
        }


class _Read(nn.Module):
    """What is computed of a network: up to its last level."""

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        self.network, self.levels = levels.network, levels

    def forward(self, inputs: Tensor) -> Tensor:
        return self.levels(inputs)[-1]


def _unit(images: Tensor) -> Float[Tensor, "b 3 h w"]:
    """Images in [0, 1], whether bytes or already so."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
