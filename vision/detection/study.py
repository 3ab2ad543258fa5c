"""The detection study: boxes around scattered digits, with plain or with coordinate convolutions.

Liu et al. 2018 (arXiv 1807.03247), section 5, report that a Faster R-CNN's boxes on scattered MNIST digits are 24 %
better in IoU with coordinates. Their released code holds the region-proposal network, which is trained here, beside a
whole Faster R-CNN of torchvision's. Anchors know their places: a box is told relative to its anchor, and where it lies
needs no coordinates.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import PathKind, Picture, Walks
from sandbox.experiment.content import Content
from sandbox.film.cells import in_rows
from sandbox.nn.blocks import place_by_name
from sandbox.nn.padded import make_convolutions
from sandbox.nn.seeding import seed_parameters
from sandbox.train.encoder import Encoder
from sandbox.train.processes import rank
from sandbox.train.schedule import cosine_decay
from sandbox.train.study import Filmed, Study
from vision.detection.boxes import Found, Truths, clipped
from vision.detection.data import Batch, make_scenes, scaled
from vision.detection.detectors import Detector, Proposer, size_of
from vision.detection.frcnn import Classifying, Whole
from vision.detection.networks import RegionProposals
from vision.detection.pictures import boxed, picture, rolled
from vision.detection.scores import Overlaps, Precision
from vision.detection.spec import DetectionConfig

_CHUNK = 50  # images at a time outside training
_PREVIEWED = 100  # held-out images of the learning curve
_SHOWN = 8  # of a picture
_COLUMNS = 4


class DetectionStudy(Study[DetectionConfig], Filmed):
    """A detector of objects and how it learns.

    Module: ``network``. Training runs in the run's precision, losses, scores and pictures in float32.
    """

    film_frames, film_grid, film_fps = 32, (1, 3), 8

    def __init__(self, config: DetectionConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        self.scenes = make_scenes(config)
        self.detector = self._make_detector()
        self.add_optimiser("network", self.adam(self.detector.network.parameters(), config.lr, weight_decay=config.l2))

    def _make_detector(self) -> Detector:
        c, scenes = self.config, self.scenes
        whole = c.network == "frcnn"
        layers = _inside(c.coord_layers) if whole else c.coord_layers
        convs = make_convolutions(c.coord, layers, c.with_r, "circular" if c.borders == "circular" else "zeros")
        network = (Whole(convs, scenes.channels, c.hidden, scenes.classes) if whole else
                   RegionProposals(convs, c.borders, c.hidden, scenes.channels))  # fmt: skip
        place_by_name({"network": network}, {"network": convs})
        seed_parameters(network, c.seed, "network")
        self.add_network("network", network)
        autocast = self.fabric.autocast
        return Classifying(network, autocast) if isinstance(network, Whole) else Proposer(network, autocast)

    def rate(self, step: int) -> float:
        """The rate rises over the first share of the steps and falls over the last."""
        return cosine_decay(step, self.config.steps, self.config.decay, self.config.rise)

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update on a batch."""
        self.set_rates(step)
        self.detector.network.train()
        batch = self.scenes.train(step)
        if self.config.scales > 1:
            batch = scaled(batch, self.config.scales, self.config.seed, step)
        images, truths = self._here(batch)
        found = self.detector.losses(images, truths, keyed_generator(self.config.seed, "sampling", step, rank()))
        total = torch.stack([loss for tag, loss in found.items() if tag.startswith("loss/")]).sum()
        norms = self.optimise("network", total)
        self.average_buffers("network")
        return {"loss/train": total.detach()} | {tag: value.detach() for tag, value in found.items()} | norms

    def _here(self, batch: Batch) -> Batch:
        images, truths = batch
        return images.to(self.fabric.device), truths.to(self.fabric.device)

    @property
    def content(self) -> Content | None:
        """What pictures of COCO's format are."""
        return self.scenes.content

    # ---- scores

    def detect(self, images: Float[Tensor, "b c h w"]) -> list[Found]:
        """Ten proposals an image, in evaluation mode."""
        self.detector.network.eval()
        return self.detector.detect(images)

    def _measure(self, count: int, *measures: Overlaps | Precision, test: bool = True) -> None:
        """Gives each measure the first ``count`` images, of the held-out ones or of training."""
        for first in range(0, count, _CHUNK):
            images, truths = self._here(self.scenes.some(first, min(_CHUNK, count - first), test=test))
            found = self.detect(images)
            for measure in measures:
                measure.add(found, truths, size_of(images))

    def evaluate(self) -> dict[str, float]:
        """IoU of proposals and objects, AP and AR; see docs/metrics.md."""
        count = self.config.test_images
        overlaps, trained, ap, classed = Overlaps(), Overlaps(), Precision(False), Precision(True)
        telling = self.detector.classes
        self._measure(count, overlaps, ap, *([classed] if telling else []))
        self._measure(min(count, self.config.images), trained, test=False)
        values = overlaps.scores()
        accuracy = values.pop("class_accuracy")
        values |= ap.scores() | {"train_best_iou": trained.scores()["best_iou"]}
        if telling:
            found = classed.scores()
            values |= {"map": found["ap"], "map50": found["ap50"], "class_accuracy": accuracy}
        else:
            values["sampled_iou"] = self._sampled(count)
        return {f"score/{name}": value for name, value in values.items()}

    @torch.no_grad()
    def _sampled(self, count: int) -> float:
        """The IoU of positives sampled as in training, of held-out images; the mean over batches."""
        found = []
        for first in range(0, count, _CHUNK):
            images, truths = self._here(self.scenes.some(first, min(_CHUNK, count - first), test=True))
            parts = self.detector.losses(images, truths, keyed_generator(0, "sampling", first))
            found.append(float(parts["iou/sampled"]))
        return float(np.mean(found))

    # ---- pictures

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """The first held-out images with their boxes, and the IoU of a few more."""
        overlaps = Overlaps()
        self._measure(min(_PREVIEWED, self.config.test_images), overlaps)
        images, truths = self._here(self.scenes.some(0, min(_SHOWN, self.config.test_images), test=True))
        drawn = [
            picture(boxed(images[k], self._true(truths, k, images), found))
            for k, found in enumerate(self.detect(images))
        ]
        values = overlaps.scores()
        return in_rows(drawn, _COLUMNS), {
            f"preview/{name}": values[name] for name in ("best_iou", "best_iou_in_view", "proposal_iou")
        }

    @staticmethod
    def _true(truths: Truths, k: int, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "n 4"]:
        """The true boxes of an image, cut off at its border."""
        return clipped(truths.boxes[k, truths.there[k]], size_of(images))

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Held-out images that roll once around, down and to the right, with their proposals."""
        images, truths = self._here(self.scenes.some(0, min(count, self.config.test_images), test=True))
        rolls = [
            self._rolling(images[k % len(images)], self._true(truths, k % len(images), images), frames)
            for k in range(count)
        ]
        return np.stack(rolls, 1)

    def _rolling(
        self, image: Float[Tensor, "c h w"], truths: Float[Tensor, "n 4"], frames: int
    ) -> UInt8[np.ndarray, "t 3 _ _"]:
        size = image.shape[-1]
        ways = [round(t * size / frames) for t in range(frames)]
        moved = torch.stack([image.roll((way, way), (1, 2)) for way in ways])
        drawn = [
            boxed(one, rolled(truths, way, size), found)
            for one, way, found in zip(moved, ways, self.detect(moved), strict=True)
        ]
        return torch.stack(drawn).numpy()

    # ---- what else is asked

    def examples(self) -> dict[str, Tensor]:
        """Two images."""
        return {"network": self._here(self.scenes.some(0, 2, test=True))[0]}

    def encoder(self, name: str = "") -> Encoder:
        """The network, which sees grey images of scattered digits, or RGB ones of COCO."""
        grey = self.scenes.channels == 1
        network = self.find_network(name)
        return Encoder(network, self.config.size, (lambda images: images.mean(1, keepdim=True)) if grey else
                       (lambda images: images), names=("image", "second", "rpn"))  # fmt: skip


def _inside(layers: str) -> str:
    """Places by name, as Faster R-CNN's convolutions are called: each lies in a part of it."""
    return layers if layers in ("first", "all") else ",".join(f"*.{name}" for name in layers.split(","))
