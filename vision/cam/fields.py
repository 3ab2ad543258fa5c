"""Which pixels a cell of a map sees: the total stride of a network and its receptive fields, found by running it."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.errors import UserError, one_line
from vision.probe.levels import Levels

_HEIGHT, _WIDTH = 64, 1024  # pixels of the strips that a network is run on; a field reaches less far to either side


@dataclass(frozen=True)
class Receptive:
    """Where the receptive fields of a level's cells lie, alike along both axes.

    Attributes:
        stride: pixels from one cell to the next, the network's total stride down to the level.
        first, last: pixels that cell 0 sees, both counted; cell i sees ``first + i * stride`` to ``last + i * stride``.
            They reach beyond the image where there is padding.
    """

    stride: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Pixels along a receptive field's edge."""
        return self.last - self.first + 1

    def inside(self, low: int, high: int, cells: int) -> range:
        """Of ``cells`` cells along an axis those whose receptive fields lie inside pixels ``low`` to ``high - 1``."""
        start = max(0, math.ceil((low - self.first) / self.stride))
        stop = min(cells, (high - 1 - self.last) // self.stride + 1)
        return range(start, max(start, stop))


@torch.no_grad()
def receptive_of(network: nn.Module, level: str) -> Receptive:
    """The receptive fields of a level, exact whatever the weights: what is not a number spreads as far as they reach.

    Where a strip of an image is not a number from some column on, the last cell that is a number does not see that
    column, and the next one does. Measured along rows: kernels are taken to be square. The padding ``none`` scales maps
    up, so that fields differ from cell to cell; these hold those in the middle.

    Args:
        network: in evaluation mode; a copy of it runs on the CPU, where no convolution is computed by way of others'
            pixels, as some are on a GPU.
        level: name of the module whose output the cells are.

    Raises:
        UserError: its cells do not lie on a regular grid, or see more than a strip.
    """
    levels = Levels(deepcopy(network).cpu().eval(), [level])

    def run(strip: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 c h2 w2"]:
        try:
            (found,) = levels(strip)
        except (RuntimeError, ValueError) as error:
            size = f"{_HEIGHT}x{strip.shape[-1]} pixels"
            raise UserError(f"the network cannot run on images of {size}, from which its receptive fields are found "
                            f"({one_line(error, 100)})") from None  # fmt: skip
        return found

    def clean(low: int, high: int) -> list[int]:
        """The cells that see none of the columns from ``low`` to ``high - 1``."""
        strip = torch.zeros(1, 3, _HEIGHT, _WIDTH)
        strip[..., low:high] = math.nan
        found: list[int] = (~run(strip).isnan()).all(2).all(1)[0].nonzero().flatten().tolist()
        return found

    widths = [run(torch.zeros(1, 3, _HEIGHT, width)).shape[-1] for width in (_WIDTH // 2, _WIDTH)]
    more = widths[1] - widths[0]
    if more <= 0 or (_WIDTH // 2) % more:
        raise UserError(f"the cells of {level} do not lie on a regular grid: there is nothing to crop in whole strides")
    stride = _WIDTH // 2 // more
    # In the middle of the strip; further out where the fields are so wide that nothing is left beside them.
    sides = [cut for cut in (_WIDTH // 2, _WIDTH - stride) if clean(cut, _WIDTH) and clean(0, _WIDTH - cut)]
    if not sides:
        raise UserError(f"the cells of {level} see more than {_WIDTH} pixels: no crop holds what one sees")
    cut = sides[0]
    right, left = clean(cut, _WIDTH)[-1], clean(0, _WIDTH - cut)[0]
    far = _smallest(lambda shift: clean(cut - stride + shift, _WIDTH)[-1] == right, stride)
    near = _smallest(lambda shift: clean(0, _WIDTH - cut + stride - shift)[0] == left, stride)
    return Receptive(
        stride,
        first=_WIDTH - cut + stride - near - left * stride,
        last=cut - stride + far - 1 - right * stride,
    )


def _smallest(holds: Callable[[int], bool], limit: int) -> int:
    """The smallest of 1 to ``limit`` for which something holds that holds for all larger ones, too."""
    low, high = 1, limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
