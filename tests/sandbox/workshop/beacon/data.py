"""Images of one beacon, read through a DataLoader as from a disk."""

import torch
from torch import Tensor

SIZE, COUNT = 8, 2_000_000  # more than anybody keeps in memory


class Beacon:
    """Item k: an image with a beacon at k modulo 64, moved by at most one pixel; and where it then lies, in [-1, 1]."""

    def __len__(self) -> int:
        return COUNT

    def item(self, index: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """``(1, 8, 8)`` and ``(2,)``."""
        moved = torch.randint(-1, 2, (2,), generator=draws)
        place = (torch.tensor(divmod(index % SIZE**2, SIZE)) + moved).clamp(0, SIZE - 1)
        image = torch.zeros(1, SIZE, SIZE)
        image[0, place[0], place[1]] = 1
        return image, 2 * place / (SIZE - 1) - 1
