"""The neurons study: trains a segmentation network, finds its position neurons and zeroes them.

Islam et al. 2021, "Global pooling, more than meets the eye" (arXiv 2108.07884), on the channels before the head of
DeepLabv3: those that change most when an image is mirrored are zeroed, and as many at random.
"""

import csv
import io

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import Picture, Sheet
from vision.classify.study import CHUNK
from vision.neurons.knockout import Knockouts, answers, cut_off, fall_scores, knock_out, steps
from vision.neurons.networks import make_network
from vision.neurons.pictures import SHOWN, curves, frame
from vision.neurons.ranking import Channels, measure
from vision.neurons.spec import RANKINGS, NeuronsConfig
from vision.segment.config import REGIONS
from vision.segment.iou import confusion, mious
from vision.segment.networks import DeepLab, SmallNet
from vision.segment.scenes import CLASSES, Scenes, make_scenes, painted
from vision.segment.study import SegmentStudy

_PREVIEWED = 128  # test images of a learning curve's mIoU
_FPS = 2  # of the film of knock-outs
_NONE = torch.zeros(0, dtype=torch.int64)


class NeuronsStudy(SegmentStudy[NeuronsConfig]):
    """A segmentation network and, once it is trained, what its channels do and what zeroing them costs."""

    network: SmallNet | DeepLab

    def __init__(self, config: NeuronsConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        self._found: tuple[Channels, Knockouts, bytes] | None = None

    def make_data(self) -> tuple[Scenes, Scenes]:
        """Images and their masks."""
        return make_scenes(self.config.data, self.config.images, self.config.test_images, self.fabric.device)

    def make_network(self) -> SmallNet | DeepLab:
        """The configuration's encoder and head."""
        return make_network(self.config, self.classes)

    @property
    def classes(self) -> int:
        """Of a pixel."""
        return len(CLASSES[self.config.data])

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the network."""
        self._found = None  # of weights that are no more
        return super().step(step)

    # ---- scores

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The maps before the head, in evaluation mode."""
        self.network.eval()
        return self.network.maps(images)

    def mious(self, scenes: Scenes, count: int) -> Float[np.ndarray, " regions"]:
        """mIoU of the first ``count`` images, of each region."""
        parts = [confusion(self.said(scenes.inputs(rows)), scenes.masks[rows], self.classes)
                 for rows in scenes.rows(count).split(CHUNK)]  # fmt: skip
        return mious(torch.stack(parts).sum(0))

    def said(self, images: Float[Tensor, "b 3 h w"], zeroed: Int64[Tensor, " n"] = _NONE) -> Int64[Tensor, "b h w"]:
        """The likeliest class of every pixel, with some channels zeroed."""
        return answers(self.network.head, self.maps(images), zeroed)

    @property
    def found(self) -> tuple[Channels, Knockouts, bytes]:
        """What the channels do, on training images, what zeroing them costs, on test images, and a picture of that."""
        if self._found is None:
            channels = measure(self.maps, self.train, len(self.test))
            number = len(channels.active)
            orders = {name: [order] for name, order in channels.orders().items()}
            orders["random"] = [self._random(number, draw) for draw in range(self.config.draws)]
            maps = torch.cat([self.maps(self.test.inputs(rows)) for rows in self.test.rows().split(CHUNK)])
            counts = steps(number, self.config.points, self.config.cut)
            costs = knock_out(self.network.head, maps, self.test.masks, self.classes, orders, counts)
            self._found = channels, costs, curves(costs)
        return self._found

    def _random(self, number: int, draw: int) -> Int64[Tensor, " c"]:
        generator = keyed_generator(self.config.seed, "zeroed channels", draw)
        return torch.randperm(number, generator=generator).to(self.fabric.device)

    def evaluate(self) -> dict[str, float]:
        """mIoU, what zeroing channels costs, how far pooled features know a place; see docs/metrics.md."""
        channels, knockouts, _ = self.found
        whole = dict(zip(REGIONS, knockouts.mious["overall"][0, 0].tolist(), strict=True))
        return {
            "score/miou": whole["all"],
            "score/train_miou": float(self.mious(self.train, len(self.test))[0]),
            **{f"score/miou_{region}": whole[region] for region in REGIONS[1:]},
            **fall_scores(knockouts, cut_off(len(channels.active), self.config.cut)),
            "score/mirrored_difference": channels.relative(channels.mirrored),
            "score/rolled_difference": channels.relative(channels.rolled),
        }

    # ---- pictures and tables

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Test images, each beside its mask and what the network says; and the mIoU."""
        return self.answers_picture(), {"preview/miou": float(self.mious(self.test, _PREVIEWED)[0])}

    def films(self) -> dict[str, tuple[Sheet, int]]:
        """``knockout``: channels zeroed, more and more, the curves and what the network still says."""
        channels, knockouts, picture = self.found
        rows, data = self.test.rows(SHOWN), self.config.data
        images, number = self.test.inputs(rows), len(channels.active)
        ways = {"top": channels.orders()[RANKINGS[0]], "random": self._random(number, 0)}
        frames = []
        for count in knockouts.counts:
            said = [(f"{name}\n{count}", painted(self.said(images, order[:count]).to(torch.uint8), data))
                    for name, order in ways.items()]  # fmt: skip
            shown_rows = [("image", (images + 1) / 2), ("asked for", painted(self.test.masks[rows], data)), *said]
            frames.append(frame(picture, count, number, shown_rows))
        return {"knockout": (np.stack(frames), _FPS)}

    def files(self) -> dict[str, bytes]:
        """The curves as a picture and a table, and a table of the channels."""
        channels, knockouts, picture = self.found
        names = ("mirrored", "signed", "rolled", "active")
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("channel", *names))
        for k, values in enumerate(zip(*(getattr(channels, name).tolist() for name in names), strict=True)):
            rows.writerow((k, *(f"{value:.6g}" for value in values)))
        return {"knockout.png": picture, "knockout.csv": knockouts.csv(), "channels.csv": text.getvalue().encode()}
