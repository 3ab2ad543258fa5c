"""A whole Faster R-CNN with coordinates: torchvision's, behind a small backbone, with classes.

Ren et al. 2015 (arXiv 1506.01497). Coordinates have the paper's three places: the image, before the proposals' 3x3
convolution, before their mover's last 1x1. What classifies a box sees its cut-out alone, and knows of places only what
the backbone has told it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from sandbox.nn.blocks import Convolutions
from sandbox.nn.seeding import with_start
from vision.detection.boxes import EDGES, PROPOSALS, Found, Truths, clipped
from vision.detection.detectors import Detector, size_of
from vision.detection.networks import STRIDE
from vision.detection.scores import in_view

_RATIOS = (0.75, 1.0, 4 / 3)  # of an anchor's height to its width
_CUT = 5  # cells along the edge of a box's cut-out
_HIDDEN = 128  # units of each of the two layers that classify a cut-out
# Of an image: torchvision's numbers are for pictures 160 times as large.
_SAMPLED = {"rpn_batch_size_per_image": 64, "box_batch_size_per_image": 64}
_RANKED = {"rpn_pre_nms_top_n_train": 300, "rpn_pre_nms_top_n_test": 300,
           "rpn_post_nms_top_n_train": 100, "rpn_post_nms_top_n_test": 100}  # fmt: skip


class Backbone(nn.Module):
    """The paper's two 5x5 convolutions, padded, each with a max-pool. ``(b, c, h, w) -> (b, 64, h / 4, w / 4)``."""

    out_channels = 64

    def __init__(self, convs: Convolutions, channels: int) -> None:
        super().__init__()
        self.image = convs.conv(channels, 32, 5, first=True)
        self.second = convs.conv(32, 64, 5)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 64 h2 w2"]:
        """Features."""
        maps = max_pool2d(self.image(images), 2).relu()
        return max_pool2d(self.second(maps), 2).relu()


class ProposalHead(nn.Module):
    """torchvision's head of a region-proposal network, of convolutions that may know coordinates."""

    def __init__(self, convs: Convolutions, channels: int, hidden: int, anchors: int) -> None:
        super().__init__()
        self.rpn = convs.conv(channels, hidden, 3)
        self.scorer = convs.conv(hidden, anchors, 1)
        self.mover = with_start(convs.conv(hidden, 4 * anchors, 1), weight=0.0)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and moves of each level of features."""
        maps = [self.rpn(level).relu() for level in levels]
        return [self.scorer(level) for level in maps], [self.mover(level) for level in maps]


class Whole(nn.Module):
    """Faster R-CNN over batches. In training ``(images, targets)`` to its losses, else images to detections.

    Args:
        convs: plain or coordinate convolutions; the places by name are ``*.image``, ``*.rpn``, ``*.mover``.
        channels: of the images.
        hidden: channels of the proposals' 3x3 convolution.
        classes: of objects.
    """

    def __init__(self, convs: Convolutions, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        backbone = Backbone(convs, channels)
        anchors = AnchorGenerator((EDGES,), (_RATIOS,))
        predictor = FastRCNNPredictor(_HIDDEN, classes + 1)  # class 0 is none
        predictor.bbox_pred = with_start(predictor.bbox_pred, weight=0.0)
        self.detector = FasterRCNN(
            backbone,
            image_mean=[0.0] * channels, image_std=[1.0] * channels, size_divisible=STRIDE,
            rpn_anchor_generator=anchors,
            rpn_head=ProposalHead(convs, backbone.out_channels, hidden, len(EDGES) * len(_RATIOS)),
            box_roi_pool=MultiScaleRoIAlign(["0"], _CUT, sampling_ratio=2),
            box_head=TwoMLPHead(backbone.out_channels * _CUT**2, _HIDDEN), box_predictor=predictor,
            box_detections_per_img=PROPOSALS, **_SAMPLED, **_RANKED,
        )  # fmt: skip

    def forward(self, images: Float[Tensor, "b c h w"], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Losses by name, or a list of detections, as torchvision has them."""
        # Images stay at their own size, whatever it is.
        self.detector.transform.min_size = (min(images.shape[2:]),)
        self.detector.transform.max_size = max(images.shape[2:])
        return self.detector(list(images), targets)


class Classifying(Detector):
    """Faster R-CNN as the study asks a detector.

    It learns from objects of which at least half is in view, cut off at the border.

    Args:
        network: its weights.
        autocast: the run's precision, as a context.
    """

    classes = True

    def __init__(self, network: Whole, autocast: Any) -> None:
        self.network: Whole = network
        self.autocast = autocast

    def losses(self, images: Float[Tensor, "b c h w"], truths: Truths, draws: torch.Generator) -> dict[str, Tensor]:
        """torchvision's four: of the proposals' boxes and scores, of the boxes' moves and classes."""
        size = size_of(images)
        seen = truths.there & in_view(truths.boxes, size)
        boxes = clipped(truths.boxes, size)
        targets = [{"boxes": boxes[k, rows], "labels": truths.labels[k, rows] + 1} for k, rows in enumerate(seen)]
        devices = [images.device] if images.is_cuda else []
        # torchvision samples from torch's own stream.
        with torch.random.fork_rng(devices), self.autocast():
            torch.manual_seed(draws.initial_seed())
            found = self.network(images, targets)
        names = {"loss_objectness": "score", "loss_rpn_box_reg": "box", "loss_classifier": "class",
                 "loss_box_reg": "class_box"}  # fmt: skip
        return {f"loss/{names[name]}": value.float() for name, value in found.items()}

    @torch.no_grad()
    def detect(self, images: Float[Tensor, "b c h w"]) -> list[Found]:
        """The ten surest boxes of an image, with their classes."""
        return [Found(one["boxes"], one["scores"], one["labels"] - 1) for one in self.network(images)]
