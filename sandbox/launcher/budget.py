"""What networks and training steps cost, and how many steps each arm may train so that none wins by computing more.

Counted are the multiply-adds, half of the FLOPs by torch's own formulas; of a training step forward and backward,
penalties and all. What is not a convolution or a matrix product counts as nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sandbox.experiment.config import Config
from sandbox.base.errors import UserError
from sandbox.experiment.run import Run
from sandbox.train.loop import build


class _Flops(TorchDispatchMode):
    """Counts by torch's own formulas. FlopCounterMode follows modules too, and cannot inside autograd.grad."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of one forward pass in evaluation mode, per image of the batch."""
    training = network.training
    with torch.no_grad():
        network.eval()(*inputs)  # coordinate planes are made once and kept: what they cost is not counted
        with _Flops() as flops:
            network(*inputs)
    network.train(training)
    total: int = flops.total
    return total // 2 // len(inputs[0])


def step_multiply_adds(study: str, config: Config) -> float:
    """Mean multiply-adds of a training step, over the ``config.cycle`` steps after which its work repeats itself."""
    networks = build(Run(Path(), study, "budget", "budget", "32", config), "cpu")  # the folder is never touched
    with _Flops() as flops:
        for step in range(1, config.cycle + 1):
            networks.step(step)
    total: int = flops.total
    return total / 2 / config.cycle


def equal_steps(study: str, configs: Mapping[str, Config]) -> dict[str, int]:
    """Steps of each arm that cost what the first arm's own steps cost.

    Args:
        study: key of `sandbox.experiment.config.STUDIES`.
        configs: arm -> configuration, the reference first.

    Returns:
        arm -> steps, rounded; the reference keeps its own.

    Raises:
        UserError: nothing to count.
    """
    costs = {arm: step_multiply_adds(study, config) for arm, config in configs.items()}
    if not all(costs.values()):
        raise UserError("--budget macs: this study's steps hold no convolution or matrix product to count")
    reference = next(iter(configs))
    total = costs[reference] * configs[reference].steps
    return {arm: max(1, round(total / cost)) for arm, cost in costs.items()}
