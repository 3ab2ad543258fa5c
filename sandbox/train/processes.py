"""One run over several processes: `torchrun --nproc_per_node 4 -m sandbox.gan --coord`, or `srun` with as many tasks.

A study shares its batch out, averages its gradients and, at the end of a step, its buffers:

    real, z = share(real), share(z)                 # this process's rows of the global batch
    loss.backward(); average_gradients(network.parameters()); optimiser.step()
    average_buffers(network)                        # batch norm's running statistics

Every process holds the same weights, since seeds are the same and so is every averaged gradient. Losses are means over
equal shares, so the gradient is that of the whole batch; only batch norm differs, which normalises with the statistics
of its process's share. Networks are not wrapped (DistributedDataParallel cannot take the gradient of a gradient).

The first process writes, prints and scores; the others only compute. Alone, every function here does nothing.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from sandbox.base.errors import Interrupted, RunError, UserError, one_line
from sandbox.base.world import World, announced
from sandbox.train.fabric import ClusterEnvironment

T = TypeVar("T")

_PATIENCE = timedelta(hours=24)  # of a collective: scores and films take the first process as long as they take
_MEETING = timedelta(minutes=10)  # how long the processes wait for each other at the start
_LAST_WORDS = timedelta(seconds=5)  # how long the others wait for the first process to say what is wrong
# Exit codes of `sandbox.base.guard.guarded`, for the processes that do not print the line. In order: subclasses first.
_CODES = {UserError: 2, RunError: 1, Interrupted: 130, KeyboardInterrupt: 130, OSError: 1}


# ---- who we are


def count() -> int:
    """Processes that train this run together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This one's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes, prints and scores."""
    return rank() == 0


def fabric_arguments(device: str) -> dict[str, Any]:
    """What `lightning_fabric.Fabric` must know of the processes.

    Raises:
        UserError: fewer GPUs than processes here, or a device without collectives.
    """
    if count() == 1:
        # Left to itself, Lightning would look for a cluster in the environment of a process that is alone.
        return {"devices": 1, "plugins": [Told(World())]}
    world = announced()
    here = world.here
    if device == "mps":
        raise UserError("several processes compute on cpu or cuda, not on mps: give --device cpu")
    if device == "cuda" and torch.cuda.device_count() < here:
        raise UserError(f"{here} processes on a machine with {torch.cuda.device_count()} GPUs: "
                        "start one for each, or give --device cpu")  # fmt: skip
    return {"devices": here, "num_nodes": world.nodes, "strategy": "ddp", "plugins": [Told(world)]}


# ---- what a study calls


def check_batch(batch: int) -> None:
    """Raises `UserError` unless ``batch``, the global one, can be shared equally."""
    if batch % count():
        raise UserError(f"--batch {batch} cannot be shared equally by {count()} processes: it must be a multiple")


def share(rows: Tensor) -> Tensor:
    """This process's rows of a global batch, ``(b, ...) -> (b / processes, ...)``; alone, the batch itself.

    Raises:
        UserError: the rows cannot be shared equally.
    """
    check_batch(len(rows))
    return rows.chunk(count())[rank()] if count() > 1 else rows


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Puts the mean over all processes into every gradient: between ``backward`` and the optimiser's step.

    A parameter that has a gradient in some processes only counts as zero in the others, as in DistributedDataParallel;
    one that has none anywhere keeps none.
    """
    if count() == 1 or not (wanted := [parameter for parameter in parameters if parameter.requires_grad]):
        return
    grads = [parameter.grad for parameter in wanted]
    parts = [torch.zeros_like(p) if grad is None else grad for p, grad in zip(wanted, grads, strict=True)]
    there = torch.tensor([float(grad is not None) for grad in grads], device=parts[0].device)
    *means, anywhere = _means([*parts, there])  # every process sends as much, whatever it has
    # Asked only where it matters here: reading the answer waits for a GPU.
    somewhere = anywhere.tolist() if any(grad is None for grad in grads) else [1.0] * len(grads)
    for parameter, part, found in zip(wanted, means, somewhere, strict=True):
        if found:
            parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.copy_(part)


@torch.no_grad()
def average_buffers(*networks: nn.Module) -> None:
    """Puts the mean over all processes into every buffer of floats, such as batch norm's running statistics."""
    buffers = [buffer for network in networks for buffer in network.buffers() if buffer.is_floating_point()]
    if count() > 1 and buffers:
        for buffer, part in zip(buffers, _means(buffers), strict=True):
            buffer.copy_(part)


@torch.no_grad()
def _means(tensors: Sequence[Tensor]) -> list[Tensor]:
    flat = mean(torch.cat([tensor.reshape(-1) for tensor in tensors]))  # one call, not one for each
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor).to(tensor.dtype) for tensor, part in zip(tensors, parts, strict=True)]


# ---- what the loop calls: torch's own collectives, which work before there is a Fabric; Fabric's all_reduce adds a
# barrier to each, and adds up in another way where the backend is not called gloo


def mean(values: Tensor) -> Tensor:
    """The mean over all processes of a tensor of any shape; alone, the tensor itself."""
    if count() > 1:
        dist.all_reduce(values)
        values /= count()
    return values


def agreed(flag: bool) -> bool:
    """Whether the flag is up in any process; all of them learn the same. On the CPU: no GPU is waited for."""
    if count() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def from_first(action: Callable[[], T]) -> T:
    """What ``action`` returns in the first process, the only one to run it, while the others wait."""
    if count() == 1:
        return action()
    result: list[Any] = [action() if is_first() else None]
    dist.broadcast_object_list(result)
    answer: T = result[0]
    return answer


# ---- meeting and parting


@contextmanager
def joined() -> Iterator[None]:
    """Meets the processes that torchrun or Slurm has started; the first one speaks for all.

    Nobody else prints to stdout or complains about what is not a defect. When one process fails, the connection to it
    breaks, which ends the others: nobody waits for ever.

    Raises:
        UserError: the environment does not say who meets where, or nobody can meet there.
        RunError: a process has not come.
    """
    if dist.is_initialized():
        yield
        return
    store, number, size = _met(announced())
    # Both: flags and objects travel on the CPU whatever the networks do.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=_PATIENCE)
    with open(os.devnull, "w") as nowhere, nullcontext() if number == 0 else redirect_stdout(nowhere):
        try:
            yield
            dist.destroy_process_group()
        except BaseException as error:
            told = _first_error(error, store) if number == 0 else _other_error(error, store, number)
            if told is error:
                raise
            raise told from None
        finally:
            if number == 0:
                store.set("ended", "yes")


def _met(world: World) -> tuple[Store, int, int]:
    """The store that all processes share, once all of them have come to it; this one's number, and how many."""
    where = f"MASTER_ADDR is {world.address!r} and MASTER_PORT is {world.port}"
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = world.address, str(world.port)
    try:
        socket.getaddrinfo(world.address, world.port)  # torch would ask again and again
        meeting = rendezvous("env://", rank=world.rank, world_size=world.size, timeout=_MEETING)
        store, number, size = next(meeting)
    except (OSError, dist.DistError) as error:  # no such machine, a port that is taken or must not be; nobody there
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error, 120)
        raise UserError(f"{where}: the processes cannot meet there ({reason})") from None
    store.set(f"here/{number}", "yes")
    for other in range(size):
        try:
            store.wait([f"here/{other}"], _MEETING)
        except dist.DistError:
            raise RunError(f"process {other} of {size} has not come: {where}") from None
    store.set_timeout(_PATIENCE)
    return store, number, size


class Told(ClusterEnvironment):
    """A world as Lightning wants to be told of it; what the environment announces is read in one place, world.py."""

    creates_processes_externally = True

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @property
    def main_address(self) -> str:
        """Where the processes meet."""
        return self.world.address

    @property
    def main_port(self) -> int:
        """Of that machine."""
        return self.world.port

    @staticmethod
    def detect() -> bool:
        """Lightning's question whether to choose this class by itself."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return self.world.size

    def set_world_size(self, size: int) -> None:
        """Lightning's own reckoning has no say."""

    def global_rank(self) -> int:
        """This process's number."""
        return self.world.rank

    def set_global_rank(self, rank: int) -> None:
        """Lightning's own reckoning has no say."""

    def local_rank(self) -> int:
        """This process's number on its machine."""
        return self.world.local

    def node_rank(self) -> int:
        """Its machine's number."""
        return self.world.rank // self.world.here


def _is_lost(error: BaseException) -> bool:
    # gloo has no error class of its own: its messages begin with the place in its source.
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _first_error(error: BaseException, store: Store) -> BaseException:
    """What the first process raises: its own error, or that of the process to which the connection broke."""
    if not _is_lost(error):
        return error
    for number in range(1, count()):
        if store.check([f"error/{number}"]):
            return RunError(f"process {number}: {store.get(f'error/{number}').decode()}")
    return RunError("another process of this run has ended: the same command goes on from the last checkpoint")


def _other_error(error: BaseException, store: Store, number: int) -> BaseException:
    """What another process raises: nothing that prints, once the first one has had the time to; a defect as it is."""
    lost = _is_lost(error)
    code = 1 if lost else next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if code is None:
        return error
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # torchrun ends us when the first process has failed: in silence
    with suppress(dist.DistError, RuntimeError):  # the store may be gone
        if not lost:
            store.set(f"error/{number}", one_line(error))
        store.wait(["ended"], _LAST_WORDS)
    time.sleep(1)  # torchrun, at the end of any process, would interrupt the first one's last words
    return SystemExit(code)
