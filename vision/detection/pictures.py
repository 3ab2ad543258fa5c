"""Images with boxes on them: the truth, the proposals that fit it best, the others."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.ops import box_iou
from torchvision.utils import draw_bounding_boxes

from sandbox.base.types import Picture
from vision.detection.boxes import Found

EDGE = 192  # pixels of an image's edge in a picture
TRUTH, BEST, OTHER = "#ff8c00", "#3f8cff", "#7a7a7a"


def boxed(image: Float[Tensor, "c h w"], truths: Float[Tensor, "n 4"], found: Found) -> UInt8[Tensor, "3 edge edge"]:
    """An image with its boxes.

    Args:
        image: in [0, 1], square; grey or RGB.
        truths: true boxes, in its pixels, in orange.
        found: proposals; those that fit a true box best are blue and lie above the others.
    """
    scale = EDGE / image.shape[-1]
    large = interpolate(image[None].cpu().expand(-1, 3, -1, -1), size=(EDGE, EDGE), mode="nearest")[0]
    canvas = (large.clamp(0, 1) * 255).round().to(torch.uint8)
    proposals, truths = found.boxes.float().cpu(), truths.float().cpu()
    best = torch.zeros(len(proposals), dtype=torch.bool)
    if len(proposals) and len(truths):
        values, rows = box_iou(proposals, truths).max(0)
        best[rows[values > 0]] = True
    layers = [(proposals[~best], OTHER, 1), (truths, TRUTH, 2), (proposals[best], BEST, 2)]
    for boxes, colour, width in layers:
        if len(boxes):
            inside = (boxes * scale).clamp(0, EDGE - 1)
            canvas = draw_bounding_boxes(canvas, inside, colors=colour, width=width)
    return canvas


def rolled(boxes: Float[Tensor, "n 4"], way: int, size: int) -> Float[Tensor, "m 4"]:
    """Boxes of an image rolled by ``way`` pixels down and to the right, without those that cross its border."""
    low = (boxes[:, :2] + way) % size
    high = low + boxes[:, 2:] - boxes[:, :2]
    return torch.cat([low, high], 1)[(high <= size).all(1)]


def picture(drawn: UInt8[Tensor, "3 h w"]) -> Picture:
    """As the bench has pictures."""
    return drawn.permute(1, 2, 0).contiguous().numpy()
