"""The segmentation study: what padding and coordinates are worth for the class of every pixel, and where.

Islam et al. 2020 (arXiv 2001.08248) trained a segmentation network with and without zero padding on PASCAL VOC and
found a mIoU of 23.1 and 12.3; how the smaller answers came back to the image's size they do not say. Murase et al. 2020
(arXiv 2005.03463) call that a technical issue of the design. Here both designs are arms: ``valid`` scales the answer
up, ``valid_cropped`` is trained and scored where it answers.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.base.types import AnyPadding, Picture
from sandbox.data.records import as_text
from sandbox.data.voc import IGNORED, read_voc
from sandbox.experiment.content import Content, joined
from sandbox.film.encode import png
from sandbox.film.grids import shaded
from sandbox.nn.coordify import coordify
from sandbox.nn.padded import make_convolutions
from vision.classify.study import CHUNK
from vision.segment.iou import confusion_by, miou
from vision.segment.networks import DeepLab
from vision.segment.scenes import CLASSES, Scenes, make_scenes
from vision.segment.study import SegmentStudy
from vision.segment.unet import EncoderDecoder, cropped
from vision.segmentation.spec import BANDS, SegmentationConfig

_PREVIEWED = 128  # test images of a learning curve's mIoU
_LOST = 34  # rows and columns that the small network loses without padding
_EDGE = 256  # pixels of the picture of errors, at most, where the images are smaller


class Resized(EncoderDecoder):
    """A network whose smaller answer is scaled up to the image's size, bilinear. ``(b, 3, h, w) -> (b, k, h, w)``.

    No wrapper: initial weights are drawn by the layers' names, which are those of the other arms.
    """

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h w"]:
        """Logits of images in [-1, 1]."""
        return F.interpolate(super().forward(images), size=images.shape[-2:], mode="bilinear")


class SegmentationStudy(SegmentStudy[SegmentationConfig]):
    """A segmentation network and its mIoU, over all and by distance to the border."""

    def make_data(self) -> tuple[Scenes, Scenes]:
        """Images and their masks."""
        c, device = self.config, self.fabric.device
        if c.data == "voc":
            return self._own("train", c.images), self._own("val", c.test_images)
        return make_scenes(c.data, c.images, c.test_images, device)

    def _own(self, part: str, count: int) -> Scenes:
        c, device = self.config, self.fabric.device
        found = read_voc(Path(c.data_root).expanduser(), part, count, c.size, c.classes)
        if part == "train" and len(found.images) < c.batch:
            raise UserError(f"--batch {c.batch} is more than the {len(found.images)} training images of {c.data_root}")
        images, masks = (torch.from_numpy(each).to(device) for each in (found.images, found.masks))
        return Scenes(images, masks, torch.zeros(len(images), dtype=torch.int64, device=device))

    @property
    def classes(self) -> int:
        """Of a pixel."""
        return self.config.classes if self.config.data == "voc" else len(CLASSES[self.config.data])

    def make_network(self) -> nn.Module:
        """The configuration's network."""
        c = self.config
        if c.network != "small":
            network = DeepLab(self.classes, c.network)
            if c.coord and c.coord_layers in ("first", "all"):  # names are seen to where it is built
                coordify(network, c.coord_layers, c.with_r)
            return network
        padding: AnyPadding = "valid" if c.padding == "valid_cropped" else c.padding
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, padding)
        kind = Resized if c.padding == "valid" else EncoderDecoder
        return kind(convs, padding, c.width, self.classes)

    @property
    def content(self) -> Content | None:
        """The user's images and masks, as they are used."""
        if self.config.data != "voc":
            return None
        parts = [part.cpu().numpy().tobytes() for scenes in (self.train, self.test)
                 for part in (scenes.images, scenes.masks)]  # fmt: skip
        return Content(kind="folder laid out as VOC's", name=as_text(Path(self.config.data_root).name),
                       records=len(self.train) + len(self.test), sha256=joined(parts))  # fmt: skip

    # ---- scores

    def parts(self) -> Int64[Tensor, "h w"]:
        """Of each pixel, which of `BANDS` it lies in, and as many more where every arm answers."""
        size = self.config.size
        line = torch.arange(size, device=self.test.masks.device)
        away = torch.minimum(line, size - 1 - line)
        distance = torch.minimum(away[:, None], away[None, :])
        bands = sum((distance >= low).long() for low, _ in BANDS[1:])
        assert isinstance(bands, Tensor)
        middle = torch.zeros_like(distance)
        cropped(middle, size - _LOST, size - _LOST)[:] = 1
        return bands + len(BANDS) * middle

    def counts(self, scenes: Scenes, count: int) -> Int64[Tensor, "parts classes classes"]:
        """Pixels of the first ``count`` images by part of `parts`, class of the truth and class of the answer."""
        found, whole = torch.zeros(2 * len(BANDS), self.classes, self.classes, dtype=torch.int64), self.parts()
        for rows in scenes.rows(count).split(CHUNK):
            said = self.said(scenes.inputs(rows))
            height, width = said.shape[-2:]
            truth, parts = cropped(scenes.masks[rows], height, width), cropped(whole, height, width)
            part = confusion_by(said, truth, self.classes, parts).cpu()
            found[: len(part)] += part
        return found

    def evaluate(self) -> dict[str, float]:
        """mIoU over all pixels, in the middle, and by distance to the border; see docs/metrics.md.

        NaN where a network does not answer all the pixels that a score counts.
        """
        counts, number = self.counts(self.test, len(self.test)), len(BANDS)
        bands = {f"score/miou_{low}": miou(counts[[k, number + k]].sum(0)) for k, (low, _) in enumerate(BANDS)}
        whole = {
            "score/miou": miou(counts.sum(0)),
            "score/train_miou": miou(self.counts(self.train, len(self.test)).sum(0)),
            **bands,
        }
        known = dict.fromkeys(whole, math.nan) if self.answers_middle_alone else whole
        return {**known, "score/miou_middle": _middle(counts)}

    @property
    def answers_middle_alone(self) -> bool:
        """Whether it is trained and scored on the middle."""
        return self.config.padding == "valid_cropped"

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Test images, each beside its mask and what the network says; and the mIoU of all pixels and of the middle."""
        counts = self.counts(self.test, _PREVIEWED)
        whole = {} if self.answers_middle_alone else {"preview/miou": miou(counts.sum(0))}
        return self.answers_picture(), {**whole, "preview/miou_middle": _middle(counts)}

    # ---- where it errs

    def errors(self) -> Float[np.ndarray, "h w"]:
        """The share of test images whose class at a pixel is wrong; NaN where the network answers nothing."""
        size = self.config.size
        wrong, counted = torch.zeros(size, size), torch.zeros(size, size)
        for rows in self.test.rows().split(CHUNK):
            said = self.said(self.test.inputs(rows))
            truth = cropped(self.test.masks[rows], *said.shape[-2:])
            cropped(wrong, *said.shape[-2:]).add_(((said != truth) & (truth != IGNORED)).sum(0).cpu())
            cropped(counted, *said.shape[-2:]).add_((truth != IGNORED).sum(0).cpu())
        shares: Float[np.ndarray, "h w"] = (wrong / counted).numpy()
        return shares

    def files(self) -> dict[str, bytes]:
        """``errors.png``: where it errs, white nowhere to black in half of the images; ``errors.csv``: the numbers."""
        shares = self.errors()
        table = "\n".join(",".join("" if np.isnan(x) else f"{x:.4f}" for x in row) for row in shares)
        picture = shaded(shares, 0.5, max(1, _EDGE // self.config.size))
        return {"errors.png": png(picture), "errors.csv": f"{table}\n".encode()}


def _middle(counts: Int64[Tensor, "parts classes classes"]) -> float:
    return miou(counts[len(BANDS) :].sum(0))
