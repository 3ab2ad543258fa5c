"""trial"""
from typing import Any
import time
import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.data.digits import read_digits
from sandbox.data.held_out import first_test
from sandbox.data.scattered_digits import SIZE, ScatteredDigits
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.padded import make_convolutions
from sandbox.nn.seeding import seed_parameters
from sandbox.train.processes import rank, share
from sandbox.train.schedule import Epochs, cosine_decay
from sandbox.train.study import Study
from vision.detection.boxes import Found, Truths, clipped, kept, moved
from vision.detection.losses import losses
from vision.detection.networks import RegionProposals
from vision.detection.scores import Overlaps
from vision.detection.spec import DetectionConfig


class DetectionStudy(Study[DetectionConfig]):
    def __init__(self, config, fabric):
        super().__init__(config, fabric)
        c = config
        padding = "circular" if c.borders == "circular" else "zeros"
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, padding)
        network = RegionProposals(convs, c.borders, c.hidden)
        place_by_name({"network": network}, {"network": convs})
        seed_parameters(network, c.seed, "network")
        self.network = self.add_network("network", network)
        if c.optimiser == "sgd":
            opt = torch.optim.SGD(network.parameters(), c.lr, momentum=c.momentum, weight_decay=c.l2)
        else:
            opt = self.adam(network.parameters(), c.lr, weight_decay=c.l2)
        self.add_optimiser("network", opt)
        self.size = (64, 64)
        self.anchors = network.anchors(self.size)
        self.train = ScatteredDigits(read_digits(c.digits, True, c.data_root), c.data)
        self.test = ScatteredDigits(read_digits(c.digits, False, c.data_root), c.data)
        self.epochs = Epochs(c.images, c.batch, c.seed)

    def rate(self, step):
        return cosine_decay(step, self.config.steps, self.config.decay, .02)

    def scenes(self, data, idx):
        s = data.render(idx)
        b = torch.from_numpy(s.boxes)
        return torch.from_numpy(s.images).float().div(255), Truths(b, torch.ones(b.shape[:2], dtype=torch.bool), torch.from_numpy(s.labels))

    def step(self, step):
        self.set_rates(step)
        self.network.train()
        images, truths = self.scenes(self.train, self.epochs.indices(step).numpy())
        moves, logits = self.network(images)
        found = losses(moves.float(), logits.float(), self.anchors, truths, self.size, keyed_generator(self.config.seed, "sampling", step))
        n = self.optimise("network", found["loss/box"] + found["loss/score"])
        return {k: v.detach() for k, v in found.items()} | n

    @torch.no_grad()
    def detect(self, images):
        moves, logits = self.network(images)
        return kept(clipped(moved(self.anchors, moves), self.size), logits.softmax(2)[..., 0])

    def scored(self, count):
        o = Overlaps()
        for rows in np.array_split(first_test(self.config.images) + np.arange(count), max(1, count // 50)):
            images, truths = self.scenes(self.test, rows)
            o.add(self.detect(images), truths, self.size)
        return o.scores()

    def preview(self): raise NotImplementedError
    def evaluate(self): return {}
