"""What the processes of a test of parallel training run.

Not in the test's own module: a process that is spawned must import it, and `tests` may be another package's.
"""

import torch
import torch.distributed as dist
from torch import nn

from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d


def layers() -> nn.Sequential:
    return nn.Sequential(
        CoordConv2d(3, 4, 3, stride=2, padding=1, padding_mode="circular", with_r=True), nn.ReLU(),
        CoordConv2d(4, 4, 3, groups=2, padding="same"), CoordConvTranspose2d(4, 2, 4, stride=2, padding=1),
    )  # fmt: skip


def train_in_parallel(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(0)
    net, images = layers(), torch.randn(4, 3, 8, 12)
    parallel = nn.parallel.DistributedDataParallel(net)
    for _ in range(2):
        net.zero_grad()
        parallel(images[2 * rank : 2 * rank + 2]).square().mean().backward()
    if rank == 0:
        torch.save([parameter.grad for parameter in net.parameters()], f"{folder}/gradients.pt")
    dist.destroy_process_group()
