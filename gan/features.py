"""Our own small feature network, trained on the rooms' masks and factors, and the distance measured with it.

The distance is called `room_kid`, because it is no KID and no FID: those mean features of an Inception network trained
on photographs, which must be downloaded. This one comes with the package, 81 thousand parameters that have seen drawn
rooms alone; its numbers compare with each other and with nothing else.

    python -m gan.features      # trains it anew, about a minute on an idle core, and writes room_features.safetensors
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sandbox.base.seeding import keyed_generator
from sandbox.data.rooms.rooms import CLASSES, Rooms
from sandbox.nn.seeding import seed_parameters

WEIGHTS = Path(__file__).with_name("room_features.safetensors")
SIZE = 64  # every image is resized to this
SEED = 2**33  # of the rooms it learned from: no run trains on them
ROOMS, STEPS, BATCH = 3000, 500, 64
FACTORS = 15
_CHUNK = 250


class RoomFeatures(nn.Module):
    """Four convolutions of stride 2 on 64x64; classes are read out on 8x8, factors at the end: the last map, 2x2."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2), nn.LeakyReLU(0.1), nn.Conv2d(24, 48, 3, 2, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(48, 64, 3, 2, 1), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.late = nn.Sequential(nn.Conv2d(64, 64, 3, 2, 1), nn.LeakyReLU(0.1))
        self.classes = nn.Conv2d(64, len(CLASSES), 1)
        self.factors = nn.Linear(64 * 4, FACTORS)

    def forward(self, images: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 256"]:
        """Features of images in [-1, 1]: 64 channels in each quarter of the image."""
        return F.adaptive_avg_pool2d(self.late(self.early(images)), 2).flatten(1)


@lru_cache(maxsize=1)
def _network() -> RoomFeatures:
    network = RoomFeatures()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def room_features(images: UInt8[np.ndarray, "n 3 h w"]) -> Float[Tensor, "n 256"]:
    """Features of images of any size, which are resized to 64x64 with antialiasing; on the CPU in float32."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + _CHUNK])).float() / 127.5 - 1
        if part.shape[-2:] != (SIZE, SIZE):
            part = F.interpolate(part, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        parts.append(_network()(part))
    return torch.cat(parts)


def kernel_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """The squared maximum mean discrepancy under the kernel (x.y / d + 1)^3, estimated without bias.

    The estimator of KID (Binkowski et al. 2018, arXiv 1801.01401, section 4), on whatever features: 0 on average for
    two samples of one law, so single values may lie below 0.

    Raises:
        ValueError: fewer than two samples on a side.
    """
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} samples; allowed are 2 and more")
    a, b = a.double(), b.double()
    own_a, own_b, across = ((x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = (own_a.sum() - own_a.trace()) / (n * (n - 1)) + (own_b.sum() - own_b.trace()) / (m * (m - 1))
    return float(within - 2 * across.mean())


def room_kid(a: UInt8[np.ndarray, "n 3 h w"], b: UInt8[np.ndarray, "m 3 h w"]) -> float:
    """`kernel_distance` of the `room_features` of two sets of images, lower is closer."""
    return kernel_distance(room_features(a), room_features(b))


# ---- how it was trained


def _lessons(rooms: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 3, 64, 64), shares of the classes on 8x8 (n, classes, 8, 8), and factors scaled to about one."""
    rendered = Rooms(SEED, SIZE).render(np.arange(rooms), masks=True)
    assert rendered.masks is not None
    one_hot = F.one_hot(torch.from_numpy(rendered.masks).long(), len(CLASSES)).permute(0, 3, 1, 2).float()
    f = rendered.factors
    told = [f.camera[:, [0, 1, 3, 4]], f.bed_centre / SIZE, f.wall_colour / 255, f.floor_colour / 255,
            f.blanket_colour / 255]  # fmt: skip
    factors = torch.from_numpy(np.concatenate(told, axis=1)).float()
    scaled = (factors - factors.mean(0)) / factors.std(0)
    return torch.from_numpy(rendered.images), F.avg_pool2d(one_hot, 8), scaled


def train(rooms: int = ROOMS, steps: int = STEPS) -> tuple[RoomFeatures, float]:
    """The network, a function of these numbers, and the last loss: class shares (nats) plus factors (mean square)."""
    images, shares, factors = _lessons(rooms)
    network = RoomFeatures()
    seed_parameters(network, 0, "room features")
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss = torch.tensor(float("nan"))
    for step in range(steps):
        rows = torch.randint(rooms, (BATCH,), generator=keyed_generator(0, "room features", step))
        early = network.early(images[rows].float() / 127.5 - 1)
        late = F.adaptive_avg_pool2d(network.late(early), 2).flatten(1)
        loss = F.cross_entropy(network.classes(early), shares[rows])
        loss = loss + F.mse_loss(network.factors(late), factors[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network, loss.item()


def main() -> None:
    """Trains and writes the weights, halves of 16 bits."""
    network, loss = train()
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, WEIGHTS)
    print(f"{WEIGHTS}: last loss {loss:.3f}")


if __name__ == "__main__":
    main()
