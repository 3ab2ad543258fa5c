"""Where a beacon lies: two convolutions, the global maximum, two numbers."""

import numpy as np
import torch
from beacon.data import SIZE, Beacon
from beacon.spec import BeaconConfig
from lightning_fabric import Fabric
from torch import Tensor, nn

from sandbox.base.types import Picture
from sandbox.film.cells import in_a_row, shown
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.seeding import seed_parameters
from sandbox.train.batches import Loader
from sandbox.train.study import Study


class BeaconStudy(Study[BeaconConfig]):
    """A network that tells where a beacon lies."""

    def __init__(self, config: BeaconConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        convs = Convolutions(config.coord, config.coord_layers)
        layers = convs.conv(1, 8, 3, first=True), nn.ReLU(), convs.conv(8, 2, 3)
        network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        place_by_name({"network": network}, {"network": convs})
        seed_parameters(network, config.seed, "network")
        self.net = self.add_network("network", network)
        self.add_optimiser("network", self.adam(network.parameters(), config.lr))
        self.batches = Loader(Beacon(), config.batch, config.seed, workers=config.workers)

    def step(self, step: int) -> dict[str, Tensor]:
        """One update."""
        self.set_rates(step)
        images, places = (part.to(self.fabric.device) for part in self.batches(step))
        loss = (self.net.train()(images) - places).square().mean()
        return {"loss/train": loss.detach()} | self.optimise("network", loss)

    @torch.no_grad()
    def _look(self) -> tuple[Tensor, float]:
        """An image of each place, and the mean distance of what the network says."""
        images = torch.eye(SIZE**2).view(-1, 1, SIZE, SIZE).to(self.fabric.device)
        ramp = torch.linspace(-1, 1, SIZE)
        places = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij"), -1).view(-1, 2).to(images)
        distance = (self.net.eval()(images) - places).norm(dim=1) * (SIZE - 1) / 2
        return images, float(distance.mean())

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """The first images, and the error."""
        images, error = self._look()
        return in_a_row([np.asarray(shown(image[0])) for image in images[:4]]), {"preview/error": error}

    def evaluate(self) -> dict[str, float]:
        """The error."""
        return {"score/error": self._look()[1]}
