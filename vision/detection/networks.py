"""The released region-proposal network, layer by layer, coordinates in one or more of three places."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from sandbox.nn.blocks import Convolutions
from sandbox.nn.seeding import with_start
from vision.detection.boxes import EDGES, anchors_of
from vision.detection.spec import Borders

STRIDE = 4  # pixels of the image from one cell to the next
_REACH = 16  # pixels that a cell sees before the 3x3 convolutions


class RegionProposals(nn.Module):
    """Two 5x5 convolutions with max-pools and a 3x3 one; from these a scorer and a mover of nine anchors a cell.

    ``(b, channels, h, w)`` to moves ``(b, n, 4)``, `vision.detection.boxes.moved`, and logits ``(b, n, 2)``, object and
    none. With ``valid`` borders 64x64 pixels have 13x13 cells, else 16x16. Source: the released code of Liu et al. 2018
    (arXiv 1807.03247); 81,590 parameters, 83,838 with coordinates in all three places.

    Args:
        convs: plain or coordinate convolutions; the places by name are ``image``, ``rpn`` (before the 3x3 convolution)
            and ``mover`` (before its last 1x1).
        borders: ``valid``: the 5x5 convolutions pad nothing, the 3x3 ones zeros, as the released trainer has it unless
            told otherwise; ``zeros``, ``circular``: every convolution keeps the size.
        hidden: channels of the 3x3 convolutions, 32 as released.
        channels: of the images.
    """

    def __init__(self, convs: Convolutions, borders: Borders, hidden: int = 32, channels: int = 1) -> None:
        super().__init__()
        self.borders, anchors = borders, len(EDGES) ** 2
        around = 0 if borders == "valid" else None
        self.image = convs.conv(channels, 32, 5, first=True, padding=around)
        self.second = convs.conv(32, 64, 5, padding=around)
        self.rpn = convs.conv(64, hidden, 3)
        self.scorer = convs.conv(hidden, 2 * anchors, 1)
        self.hidden = convs.conv(hidden, hidden, 3)
        self.mover = with_start(convs.conv(hidden, 4 * anchors, 1), weight=0.0)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n 4"], Float[Tensor, "b n 2"]]:
        """Moves and logits of all anchors, in the order of `anchors`."""
        # The released order is ReLU, max-pool: the same maps, with four times as much to clamp.
        maps = max_pool2d(self.image(images), 2).relu()
        maps = max_pool2d(self.second(maps), 2).relu()
        maps = self.rpn(maps).relu()
        moves, logits = self.mover(self.hidden(maps).relu()), self.scorer(maps)
        return _by_anchor(moves, 4), _by_anchor(logits, 2)

    def anchors(self, size: tuple[int, int]) -> Float[Tensor, "n 4"]:
        """The anchors of images of a height and width, around the middle of what each cell sees."""
        rows, columns = (((length - 4) // 2 - 4) // 2 if self.borders == "valid" else length // 4 for length in size)
        return anchors_of((rows, columns), STRIDE, _REACH / 2 if self.borders == "valid" else STRIDE / 2)


def _by_anchor(maps: Float[Tensor, "b c h w"], parts: int) -> Float[Tensor, "b n parts"]:
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, parts)
