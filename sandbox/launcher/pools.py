"""Where the runs of a comparison are made: in processes of this machine, or many at once on a Ray cluster."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from sandbox.base.cluster import connect
from sandbox.base.errors import UserError
from sandbox.launcher.worker import PATIENCE, Order, run_to_end

RETRIES = 3  # of a run whose machine or process went away; each goes on from its checkpoint


class Pool(ABC):
    """Makes runs. A pool that is stopped leaves every run with a checkpoint of all it did."""

    @abstractmethod
    def submit(self, order: Order) -> None:
        """Queues a run."""

    @abstractmethod
    def ended(self) -> list[tuple[Order, int]]:
        """The runs that ended since the last call and their exit codes, minus the signal where one was killed."""

    @abstractmethod
    def running(self) -> set[Order]:
        """The runs that have started and have not ended."""

    @abstractmethod
    def stop(self) -> bool:
        """Asks every run to stop and waits until they have; False where one had to be killed."""


class Local(Pool):
    """One or several runs at a time on this machine, each in a process of its own, so that its memory is its own too.

    Args:
        jobs: runs at a time.
        threads: of each run; None: as many as torch takes, or OMP_NUM_THREADS says.
        devices: GPUs that the runs take in turn; 0: every run sees all there are.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None, devices: int = 0) -> None:
        self._jobs, self._threads, self._devices = jobs, threads, devices
        self._waiting: deque[Order] = deque()
        self._now: dict[int, tuple[Order, subprocess.Popen[bytes]]] = {}  # slot -> what runs there

    def submit(self, order: Order) -> None:
        """Queues a run; see `Pool`."""
        self._waiting.append(order)

    def ended(self) -> list[tuple[Order, int]]:
        """The runs that ended; others start in their place."""
        done = []
        for slot, (order, process) in list(self._now.items()):
            code = process.poll()
            if code is not None:
                process.communicate()  # closes the pipe
                done.append((order, code))
                del self._now[slot]
        for slot in range(self._jobs):
            if slot not in self._now and self._waiting:
                order = self._waiting.popleft()
                try:
                    self._now[slot] = order, order.begin(self._surroundings(slot))
                except OSError as error:
                    order.cannot_begin(error)
                    done.append((order, 1))
        return done

    def _surroundings(self, slot: int) -> dict[str, str]:
        threads = {"OMP_NUM_THREADS": str(self._threads)} if self._threads else {}
        device = {"CUDA_VISIBLE_DEVICES": _device(slot % self._devices)} if self._devices else {}
        return threads | device

    def running(self) -> set[Order]:
        """Those that have a process."""
        return {order for order, _ in self._now.values()}

    def stop(self) -> bool:
        """Interrupts them and waits; a second Ctrl-C meanwhile kills them, which loses the steps since a checkpoint."""
        self._waiting.clear()
        processes = [process for _, process in self._now.values()]
        until = time.monotonic() + PATIENCE
        try:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                process.wait(max(0.0, until - time.monotonic()))
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            killed = [process for process in processes if process.poll() is None]
            for process in killed:
                process.kill()
                process.wait()
            return not killed
        return True


def _device(number: int) -> str:
    """A GPU of those that this process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",")[number] if seen else str(number)


class _Lost(Exception):
    """The process of a run was killed: Ray shall try again."""


def _ray_task(order: Order) -> int:
    code = run_to_end(order)
    if code < 0:
        raise _Lost(signal.Signals(-code).name)
    return code


class Cluster(Pool):
    """Many runs at once as Ray tasks; one whose process or machine dies is made again from its checkpoint.

    All machines must see the folder of runs under the same path.

    Args:
        address: of a running cluster (``auto``, ``ray://host:10001``); None starts one on this machine.
        jobs: with no address: runs at once on this machine.
        cpus: cores that each run asks for.
        gpus: GPUs that each run asks for; a fraction shares one.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, address: str | None, jobs: int, cpus: float, gpus: float) -> None:
        self._ray = ray = connect(address, round(jobs * cpus))
        self._check(cpus, gpus)
        # A worker of its own for each run: nothing of one is left in the memory of the next.
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_calls": 1,
                   "max_retries": RETRIES, "retry_exceptions": [_Lost]}  # fmt: skip
        self._task = ray.remote(**options)(_ray_task)
        self._orders: dict[Any, Order] = {}

    def _check(self, cpus: float, gpus: float) -> None:
        """What no machine of the cluster has, Ray would wait for in silence."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            there = ", ".join(f"{node.get('CPU', 0):g} CPU + {node.get('GPU', 0):g} GPU" for node in nodes)
            self._ray.shutdown()
            raise UserError(f"a run asks for {cpus:g} CPU + {gpus:g} GPU, but the machines have {there}: "
                            "--cpus and --gpus say what a run needs")  # fmt: skip

    def submit(self, order: Order) -> None:
        """Queues a run; see `Pool`."""
        order.log.unlink(missing_ok=True)
        self._orders[self._task.remote(order)] = order

    def ended(self) -> list[tuple[Order, int]]:
        """The runs that ended since the last call; one that was lost `RETRIES` times counts as killed."""
        if not self._orders:
            return []
        ready, _ = self._ray.wait(list(self._orders), num_returns=len(self._orders), timeout=0)
        orders = [(self._orders.pop(reference), reference) for reference in ready]
        return [(order, self._code(order, reference)) for order, reference in orders]

    def _code(self, order: Order, reference: Any) -> int:
        try:
            return int(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, _Lost):  # it could not be started there, say
                order.cannot_begin(error.cause)
                return 1
            return -signal.SIGKILL
        except self._ray.exceptions.RayError:
            return -signal.SIGKILL

    def running(self) -> set[Order]:
        """Those whose log has begun: Ray does not say which of its tasks it has started."""
        return {order for order in self._orders.values() if order.log.exists()}

    def stop(self) -> bool:
        """Leaves the cluster, which ends our tasks; their runs see it and stop."""
        self._orders.clear()
        self._ray.shutdown()
        return True
