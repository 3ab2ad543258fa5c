"""Boxes as ``(..., 4)`` left, top, right, bottom in pixels: anchors, boxes moved from them, those that are kept."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import batched_nms

EDGES = (15.0, 20.0, 25.0)  # pixels of an anchor's height and width: nine anchors a place, as released
NMS_ABOVE = 0.8  # IoU with a better proposal from which one is dropped, as released
PROPOSALS = 10  # that are kept of an image, as released
Boxes = Float[Tensor, "b n 4"]
_CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))


def anchors_of(
    cells: tuple[int, int], stride: int, first: float, edges: tuple[float, ...] = EDGES
) -> Float[Tensor, "n 4"]:
    """Boxes of all pairs of edges around every cell: rows of cells, then columns, then anchors.

    Args:
        cells: rows and columns of the map.
        stride: pixels from one cell to the next.
        first: where the first cell's centre lies, in pixels from the image's corner along both axes.
        edges: heights and widths.
    """
    generator = AnchorGenerator()
    sides = torch.tensor([(width, height) for height in edges for width in edges]) / 2
    generator.cell_anchors = [torch.cat([first - sides, first + sides], 1)]
    (anchors,) = generator.grid_anchors([list(cells)], [[torch.tensor(stride)] * 2])
    return torch.as_tensor(anchors)


def clipped(boxes: Float[Tensor, "*b n 4"], size: tuple[int, int]) -> Float[Tensor, "*b n 4"]:
    """Boxes cut off at the image's border; what lies outside becomes a pixel's width at the nearest border.

    So the released code cuts truths and proposals alike, there at 0 and 63, here at 0 and 64, where the image ends.

    Args:
        boxes: of any extent.
        size: height and width of the image.
    """
    height, width = size
    inner = boxes.new_tensor([width - 1, height - 1])
    low = boxes[..., :2].clamp(min=0).minimum(inner)
    high = boxes[..., 2:].clamp(min=1).minimum(inner + 1)
    return torch.cat([low, high], -1)


def moved(anchors: Float[Tensor, "n 4"], moves: Boxes) -> Boxes:
    """Boxes of a network's answer: (x, y, w, h) in sizes of the anchor and in logarithms of its size.

    Girshick et al. 2014 (arXiv 1311.2524), appendix C. No box grows beyond 62 times its anchor.
    """
    count = len(moves)
    boxes: Tensor = _CODER.decode_single(moves.flatten(0, 1), anchors.repeat(count, 1))
    return boxes.view(count, -1, 4)


def moves_to(truths: Float[Tensor, "n 4"], anchors: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """The moves that take each anchor to its truth."""
    moves: Tensor = _CODER.encode_single(truths, anchors)
    return moves


@dataclass(frozen=True)
class Truths:
    """The objects of a batch of images; where images have fewer than others the rest is filled up.

    Attributes:
        boxes: ``(b, m, 4)``, whole, also where they leave the image.
        there: ``(b, m)`` which of them are objects.
        labels: ``(b, m)``.
        crowd: ``(b, m)`` which of them are crowds, that nobody need find and nobody is blamed for finding.
    """

    boxes: Float[Tensor, "b m 4"]
    there: Bool[Tensor, "b m"]
    labels: Int64[Tensor, "b m"]
    crowd: Bool[Tensor, "b m"]

    def to(self, device: torch.device) -> "Truths":
        """The same on a device."""
        return Truths(*(part.to(device) for part in (self.boxes, self.there, self.labels, self.crowd)))

    def scaled(self, factor: float) -> "Truths":
        """The objects of images that are ``factor`` times as large."""
        return replace(self, boxes=self.boxes * factor)


@dataclass(frozen=True)
class Found:
    """What a detector says of one image, the surest first.

    Attributes:
        boxes: ``(n, 4)``, inside the image.
        scores: ``(n,)``.
        labels: ``(n,)``; without classes all 0.
    """

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]


@torch.no_grad()
def kept(boxes: Boxes, scores: Float[Tensor, "b n"], most: int = PROPOSALS, above: float = NMS_ABOVE) -> list[Found]:
    """The best proposals of each image after non-maximum suppression.

    Args:
        boxes: inside their images.
        scores: of the boxes.
        most: proposals that are kept of an image.
        above: IoU with a better one from which a proposal is dropped.
    """
    images = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(scores)
    order = batched_nms(boxes.flatten(0, 1).float(), scores.flatten().float(), images.flatten(), above)
    found = []
    for k in range(len(boxes)):
        own = order[images.flatten()[order] == k][:most] - k * boxes.shape[1]
        found.append(Found(boxes[k, own], scores[k, own], torch.zeros_like(own)))
    return found
