"""What every task that trains a segmentation network shares: its loss, its answers, pictures and films."""

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.data.voc import IGNORED
from sandbox.film.cells import in_a_row, in_rows, shown
from vision.classify.config import ClassifierConfig
from vision.classify.study import ClassifierStudy
from vision.segment.scenes import Scenes, painted
from vision.segment.unet import cropped

_SHOWN = 8  # test images of a picture

C = TypeVar("C", bound=ClassifierConfig)


class SegmentStudy(ClassifierStudy[C]):
    """A segmentation network and how it learns. Of a network whose answer is smaller than the image, the middle counts.

    Attributes:
        train, test: images with masks.
    """

    train: Scenes
    test: Scenes

    @property
    def palette(self) -> str:
        """Whose colours its masks are shown in, see `vision.segment.scenes.painted`."""
        return str(getattr(self.config, "data", ""))

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """Cross-entropy of the pixels that the network answers and that have a class; 0 where none has."""
        with self.fabric.autocast():
            logits = self.network(self.train.inputs(rows))
        truth = cropped(self.train.masks[rows], *logits.shape[-2:]).long()
        total = F.cross_entropy(logits.float(), truth, ignore_index=IGNORED, reduction="sum")
        return {"loss/train": total / (truth != IGNORED).sum().clamp_min(1)}

    def said(self, images: Float[Tensor, "b 3 h w"]) -> Int64[Tensor, "b h2 w2"]:
        """The likeliest class of every pixel."""
        return self.logits(images).argmax(1)

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        """What the network says of every pixel, in evaluation mode."""
        self.network.eval()
        out: Tensor = self.network(images)
        return out

    # ---- pictures

    def _answers(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The answers in the colours of their classes; grey where there is none."""
        colours = painted(self.said(images).to(torch.uint8), self.palette)
        whole = torch.full_like(images, 0.8)
        cropped(whole, *colours.shape[-2:])[:] = colours
        return whole

    def answers_picture(self) -> Picture:
        """Test images, each beside its mask and what the network says."""
        rows = self.test.rows(_SHOWN)
        images = self.test.inputs(rows)
        asked = painted(self.test.masks[rows], self.palette)
        parts = zip((images + 1) / 2, asked, self._answers(images), strict=True)
        return in_rows([in_a_row([shown(part) for part in row]) for row in parts], columns=2)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Test images that roll once around to the right, each beside what the network says."""
        films = [self._rolling(k % len(self.test), frames) for k in range(count)]
        return np.stack(films, 1).transpose(0, 1, 4, 2, 3)

    def _rolling(self, number: int, frames: int) -> UInt8[np.ndarray, "t _ _ 3"]:
        (image,) = self.test.inputs(self.test.rows()[number : number + 1])
        moved = torch.stack([image.roll(round(t * image.shape[2] / frames), 2) for t in range(frames)])
        parts = zip((moved + 1) / 2, self._answers(moved), strict=True)
        return np.stack([in_a_row([shown(part) for part in row]) for row in parts])
