"""Multiply-adds of networks and of whole training steps: half of the FLOPs by torch's own formulas.

What is not a convolution or a matrix product counts as nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Flops(TorchDispatchMode):
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
        with Flops() as flops:
            network(*inputs)
    network.train(training)
    total: int = flops.total
    return total // 2 // len(inputs[0])
