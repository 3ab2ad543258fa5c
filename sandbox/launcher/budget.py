"""What networks and training steps cost, and how many steps each arm may train so that none wins by computing more.

Counted are the multiply-adds, half of the FLOPs by torch's own formulas; of a training step forward and backward,
penalties and all. What is not a convolution or a matrix product counts as nothing.
"""

from collections.abc import Mapping
from pathlib import Path

from sandbox.base.errors import UserError
from sandbox.experiment.config import Config
from sandbox.experiment.run import Run
from sandbox.nn.counting import Flops
from sandbox.train.make import build


def step_multiply_adds(study: str, config: Config) -> float:
    """Mean multiply-adds of a training step, over the ``config.cycle`` steps after which its work repeats itself."""
    networks = build(Run(Path(), study, "budget", "budget", "32", config), "cpu")  # the folder is never touched
    with Flops() as flops:
        for step in range(1, config.cycle + 1):
            networks.step(step)
    total: int = flops.total
    return total / 2 / config.cycle


def equal_steps(study: str, configs: Mapping[str, Config]) -> dict[str, int]:
    """Steps of each arm that cost what the first arm's own steps cost.

    Args:
        study: its name.
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
