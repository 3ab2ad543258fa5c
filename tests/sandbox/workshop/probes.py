"""Small position probes, for tests."""

from typing import Any

import torch

from sandbox.experiment.config import COMMAND_LINE, validated
from vision.probe.config import PositionConfig

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"images": 16, "test_images": 3, "batch": 8, "size": 32, "steps": 150, "lr": 0.03}


def config(**fields: Any) -> PositionConfig:
    """A probe in seconds, with these settings."""
    made = validated(PositionConfig, {**SMALL, **fields}, COMMAND_LINE)
    assert isinstance(made, PositionConfig)
    return made
