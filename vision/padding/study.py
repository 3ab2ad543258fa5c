"""The padding study: trains a small classifier of shapes under one padding, then probes its features for position.

The task needs no position: whether the red and the blue object are square or disc. The images are rolled around by
random ways, so that no place differs from another in what is seen there: what position the features hold comes from
padding or coordinates.
"""

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.utils import get_total_norm

from sandbox.blocks import seed_parameters
from sandbox.budget import multiply_adds
from sandbox.config import Config
from sandbox.data.shapes import SortOfClevr
from sandbox.processes import average_buffers, average_gradients, share
from sandbox.schedule import Epochs, cosine_decay
from sandbox.training import Picture, Study
from vision.padding.config import PaddingConfig
from vision.padding.networks import make_network
from vision.position.encoders import Encoder
from vision.position.images import TEST_FROM, rolled
from vision.position.levels import Levels
from vision.position.pictures import beside_each_other
from vision.position.probing import Probing

_CHUNK = 64  # images at a time outside training
_SEEN_BY_PROBE = 10**6  # indices kept between the classifier's test images and the probe's


class PaddingStudy(Study):
    """A classifier and, once it is trained, the probe of its features.

    Modules: ``network``. Training runs in the run's precision, all scores and the probe in float32.
    """

    config: PaddingConfig
    film_frames, film_grid, film_fps = 16, (2, 1), 8

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.fabric = cast(PaddingConfig, config), fabric
        self.network = make_network(self.config)
        seed_parameters(self.network, config.seed, "network")
        fabric.to_device(self.network)
        if fabric._precision.precision == "bf16-mixed":
            self.network.to(memory_format=torch.channels_last)
        if config.compile:
            self.network.compile()  # in place: the class and the names stay
        self.modules = {"network": self.network}
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), self.config.lr, fused=fabric.device.type in ("cpu", "cuda")
        )
        self.optimisers = {"network": self.optimiser}
        first_test = TEST_FROM + _SEEN_BY_PROBE
        self.train, self.train_labels = self._data(np.arange(self.config.images), 2)
        self.test, self.test_labels = self._data(first_test + np.arange(self.config.test_images), 3)
        self.epochs = Epochs(self.config.images, config.batch, config.seed)
        self._probed: Probing | None = None

    def _data(self, indices: Int64[np.ndarray, " n"], key: int) -> tuple[Tensor, Tensor]:
        """Images, bytes, and the class of each: 2 x (the red object is a disc) + (the blue one is)."""
        shapes = SortOfClevr().render(indices)
        images = rolled(shapes.images, key) if self.config.roll else shapes.images
        labels = 2 * shapes.kinds[:, 0] + shapes.kinds[:, 1]
        return tuple(torch.from_numpy(part).to(self.fabric.device) for part in (images, labels))  # type: ignore[return-value]

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the classifier: cross-entropy, nats."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * cosine_decay(step, self.config.steps, self.config.decay)
        rows = share(self.epochs.indices(step).to(self.train.device))
        self.network.train()
        with self.fabric.autocast():
            logits = self.network(_scaled(self.train[rows]))
        loss = F.cross_entropy(logits.float(), self.train_labels[rows])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.network)
        self.optimiser.step()
        average_buffers(self.network)
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        self._probed = None  # of weights that are no more
        return {"loss/train": loss.detach(), "grad/network": norm}

    # ---- scores and pictures

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of images whose likeliest class is the right one."""
        self.network.eval()
        right = [
            self.network(_scaled(part)).argmax(1) == truth
            for part, truth in zip(images.split(_CHUNK), labels.split(_CHUNK), strict=True)
        ]
        return float(torch.cat(right).float().mean())

    @property
    def probing(self) -> Probing:
        """The probe of the network as it is; trained at the first look, in seconds."""
        if self._probed is None:
            self.network.eval()
            encoder = Encoder(self.network, 64, lambda images: 2 * images - 1, names=self._levels)
            probing = Probing(self.config.probe(), encoder, self.fabric.device)
            probing.train()
            self._probed = probing
        return self._probed

    @property
    def _levels(self) -> tuple[str, ...]:
        return tuple(f"stages.{k}" for k in range(len(self.network.stages)))

    def evaluate(self) -> dict[str, float]:
        """SPC and MAE of the probe, accuracy of the classifier; see docs/metrics.md."""
        count = len(self.test)
        return {
            **self.probing.scores(),
            "score/test_accuracy": self.accuracy(self.test, self.test_labels),
            "score/train_accuracy": self.accuracy(self.train[:count], self.train_labels[:count]),
        }

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """What each level makes of a white image, and the accuracy.

        A place is the darker the further its features lie from their mean over all places: without a source of
        position all of it is white.
        """
        self.network.eval()
        white = torch.ones(1, 3, 64, 64, device=self.fabric.device)
        pictures = [1 - _difference(level)[0] for level in Levels(self.network, self._levels)(white)]
        return beside_each_other(pictures), {"preview/test_accuracy": self.accuracy(self.test, self.test_labels)}

    def film(self, *, frames: int, count: int, path: str, seed: int) -> UInt8[np.ndarray, "t n 3 h w"]:
        """Test images that roll around, each beside what the probe says; see `Probing.film`."""
        return self.probing.film(frames, count)

    def costs(self) -> dict[str, Any]:
        """Parameters and multiply-adds an image."""
        return {
            "parameters": {"network": sum(p.numel() for p in self.network.parameters())},
            "multiply_adds_per_image": {"network": multiply_adds(self.network, _scaled(self.train[:2]))},
        }


def _scaled(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Bytes as numbers in [-1, 1]."""
    return images.float() / 127.5 - 1


def _difference(level: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Distance of each place's features from their mean over places, in lengths of that mean, at most 1."""
    mean = level.mean((2, 3), keepdim=True)
    distance: Tensor = torch.linalg.vector_norm(level - mean, dim=1)
    return distance.div(torch.linalg.vector_norm(mean, dim=1).clamp_min(1e-12)).clamp(max=1)


STUDY = PaddingStudy
