"""What the processes of a test of parallel training run.

Not in the test's own module: a process that is spawned must import it, and `tests` may be another package's.
"""

import torch
import torch.distributed as dist
from torch import nn

from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d
from sandbox.train.processes import average_gradients


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


def average_in_parallel(rank: int, folder: str) -> None:
    """Gradients of three parameters: one of both processes, one of the second alone, one of neither."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    parameters = [nn.Parameter(torch.zeros(2, 3)) for _ in range(3)]
    frozen = nn.Parameter(torch.zeros(4), requires_grad=False)
    parameters[0].grad = torch.full((2, 3), 1.0 + 2 * rank)
    if rank == 1:
        parameters[1].grad = torch.arange(6.0).view(2, 3)
    average_gradients([*parameters, frozen])
    torch.save([parameter.grad for parameter in (*parameters, frozen)], f"{folder}/means-{rank}.pt")
    dist.destroy_process_group()
