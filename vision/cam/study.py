"""The class activation study: where a network sees a class, in an image and in its crops.

After Figure 1 of Islam, Jia and Bruce 2020 (arXiv 2001.08248), which shows the salient regions of an image and of a
slightly cropped version of it. Here a region is where Grad-CAM at the last convolutional level speaks for a class, and
how far it moves is measured. A classifier of shapes is trained for it, under one padding, with or without coordinates;
or the target is somebody else's network, of which nothing is trained.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.errors import UserError
from sandbox.base.types import PathKind, Picture, Walks
from sandbox.data.shapes import PAIRS
from sandbox.experiment.content import Content
from sandbox.nn.counting import multiply_adds
from sandbox.nn.padded import make_convolutions
from sandbox.train.encoder import Encoder
from sandbox.train.study import State, Study
from vision.cam.canvases import Canvases, make_canvases
from vision.cam.crops import SIDES, Crop, crops_of, smallest_size
from vision.cam.maps import grad_cam
from vision.cam.measure import Moves, measure
from vision.cam.pictures import Shown, frame, sheet
from vision.cam.spec import OWN, CamConfig
from vision.cam.targets import find_target, own_classifier
from vision.classify.networks import PooledLinear, SmallVgg
from vision.classify.study import ClassifierStudy, Examples
from vision.probe.encoders import refuse_other_weights, weights_state
from vision.probe.images import natural_images

_SHOWN = 4  # images of a picture, one cropped from each side


class CamStudy(ClassifierStudy[CamConfig]):
    """A classifier, trained here or somebody else's, and what cropping does to its class activation maps.

    Modules: ``network`` where it is trained here; of a target none, and a checkpoint holds a hash of its weights.
    Training runs in the run's precision, all maps and scores in float32.

    Attributes:
        classifier: whose maps.
        measured: images in [0, 1] that are measured, and those of pictures and films.

    Raises:
        UserError: captum is not installed; there is no such target, or its maps cannot be had.
    """

    network: SmallVgg
    train: Canvases
    test: Canvases

    def __init__(self, config: CamConfig, fabric: Fabric) -> None:
        grad_cam()  # before anything is trained
        self._found: Moves | None = None
        self._content: Content | None = None
        self._target: State = {}
        if config.target == OWN:
            super().__init__(config, fabric)
            self.classifier = own_classifier(self.network)
            self.measured = self._canvases(self.test.rows(config.measured))
            self.shown = self._canvases(self.test.central(_SHOWN, config.measured))
        else:
            Study.__init__(self, config, fabric)  # nothing to train: neither data nor optimiser
            self.classifier = find_target(config, fabric.device)
            _, images, self._content = natural_images(config.probed(), config.size)
            self.measured = torch.from_numpy(images).to(fabric.device).float() / 255
            self.shown = self.measured[:_SHOWN]
            self._target = weights_state(self.classifier.network)
        self.crops = crops_of(config.size, self.classifier.field.stride)

    def _canvases(self, rows: Tensor) -> Float[Tensor, "b 3 h w"]:
        return (self.test.inputs(rows) + 1) / 2

    # ---- training

    def make_data(self) -> tuple[Examples, Examples]:
        """Scenes on canvases, and the class of each: 2 x (the red object is a disc) + (the blue one is)."""
        return make_canvases(self.config, self.fabric.device)

    def make_network(self) -> SmallVgg:
        """A small VGG with the configuration's padding."""
        c = self.config
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, c.padding)
        return SmallVgg(convs, c.padding, c.width, PooledLinear(8 * c.width, PAIRS))

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the classifier; of a target only how sure it is of its images, since nothing is trained."""
        self._found = None  # of weights that are no more
        if self.config.target == OWN:
            return super().step(step)
        sure = [self.classifier.logits(image[None]).softmax(1).amax() for image in self.shown]
        return {"target/confidence": torch.stack(sure).mean()}

    @property
    def content(self) -> Content | None:
        """What the images of ``data: folder`` are."""
        return self._content

    def state_dict(self) -> State:
        """Of a target the hash of its weights."""
        return self._target

    def load_state_dict(self, state: State) -> None:
        """Refuses a checkpoint of other weights.

        Raises:
            UserError: the target's weights have changed since.
        """
        if self.config.target != OWN:
            refuse_other_weights(state, self._target)

    # ---- scores

    @property
    def found(self) -> Moves:
        """What was measured of the network as it is."""
        if self._found is None:
            self.classifier.network.eval()
            self._found = measure(self.classifier, self.measured, self.crops)
        return self._found

    def evaluate(self) -> dict[str, float]:
        """How far regions move under crops and on a shifted canvas, and the accuracies; see docs/metrics.md."""
        return {**self.found.scores(), **(super().evaluate() if self.config.target == OWN else {})}

    def files(self) -> dict[str, bytes]:
        """Every measurement as a table."""
        return {"cam.csv": self.found.csv()}

    # ---- pictures

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """A few images and crops with their maps, a quarter of the edge cut off; their mean displacement."""
        self.classifier.network.eval()
        crops = self._quarters()
        moves = measure(self.classifier, self.shown, crops)
        rows = [self._row(self.shown[k], crops[k], moves, k) for k in range(len(self.shown))]
        scores = {"preview/displacement": moves.scores()["score/displacement"]}
        if self.config.target == OWN:
            scores["preview/test_accuracy"] = self.accuracy(self.test)
        return sheet(rows, self.classifier.field), scores

    def _quarters(self) -> tuple[Crop, ...]:
        """One crop from each side: that which takes away nearest to a quarter."""
        wanted = min((crop.pixels for crop in self.crops), key=lambda pixels: abs(4 * pixels - self.config.size))
        return tuple(Crop(side, wanted, self.config.size) for side in SIDES)

    def _row(self, image: Float[Tensor, "3 h w"], crop: Crop, moves: Moves, k: int) -> Shown:
        classes = self.classifier.logits(image[None]).argmax(1)
        maps = [self.classifier.maps(part, classes)[0] for part in (image[None], crop.of(image[None]))]
        along = maps[1].shape[1 if crop.sideways else 0]
        window, _ = crop.windows(self.classifier.field, maps[0].shape[0], along)["inside"]
        numbers = (float(values["crop", "inside"][k, k]) for values in (moves.displacement, moves.correlation))
        return Shown(image, crop, (maps[0], maps[1]), window, *numbers)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Images that roll once around, down and to the right, each beside its map of the class it begins with."""
        self.classifier.network.eval()
        return np.stack([self._rolling(self.shown[k % len(self.shown)], frames) for k in range(count)], 1)

    def _rolling(self, image: Float[Tensor, "3 h w"], frames: int) -> UInt8[np.ndarray, "t 3 _ _"]:
        classes = self.classifier.logits(image[None]).argmax(1)
        pictures = []
        for t in range(frames):
            way = round(t * self.config.size / frames)
            moved = image.roll((way, way), (1, 2))
            pictures.append(frame(moved, self.classifier.maps(moved[None], classes)[0], self.classifier.field.stride))
        return np.stack(pictures).transpose(0, 3, 1, 2)

    # ---- what else a reader must know

    def costs(self) -> dict[str, Any]:
        """Parameters and multiply-adds an image; the receptive fields, what of them fits, and a note on that."""
        field, size = self.classifier.field, self.config.size
        fits = [crop.pixels for crop in self.crops if crop.side == "left" and self._cells(crop)]
        notes = [self.classifier.note] if self.classifier.note else []
        if not fits:
            notes.append(f"No crop of {size} pixels holds a receptive field, {field.size} pixels: displacement and "
                         f"correlation inside are undefined; --size {smallest_size(field)} is the smallest that has "
                         "some.")  # fmt: skip
        found = {
            "level": self.classifier.level, "total_stride": field.stride, "receptive_field": field.size,
            "crops": sorted({crop.pixels for crop in self.crops}), "crops_that_hold_a_receptive_field": fits,
        }  # fmt: skip
        if self.config.target == OWN:
            costs = super().costs()
        else:
            network = self.classifier.network
            adds = multiply_adds(network, self.classifier.prepare(self.shown[:1].expand(2, -1, -1, -1)))
            costs = {"parameters": {"target": sum(p.numel() for p in network.parameters())},
                     "multiply_adds_per_image": {"target": adds}}  # fmt: skip
        return {**({"note": " ".join(notes)} if notes else {}), **found, **costs}

    def _cells(self, crop: Crop) -> int:
        low, high = crop.kept
        stride = self.classifier.field.stride
        return len(self.classifier.field.inside(low, high, math.ceil(self.config.size / stride)))

    def encoder(self, name: str = "") -> Encoder:
        """The classifier, which sees images in [-1, 1].

        Raises:
            UserError: it looks at a target: there is nothing of its own to look into.
        """
        if self.config.target != OWN:
            raise UserError(f"it only looks at {self.config.target}: look at that")
        return super().encoder(name)
