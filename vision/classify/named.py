"""Networks of timm by name, and what images of ImageNet are standardised with."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from sandbox.base.errors import UserError, nearest, one_line

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of each channel


def timm_network(flag: str, value: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A network of timm's and what timm says of its images, ``mean`` and ``std`` among other things.

    Args:
        flag: whose value names it, for messages: ``--target``.
        value: ``timm:NAME``.
        options: of `timm.create_model`.

    Raises:
        UserError: timm is not installed, has no such network, or cannot make it.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(f"{flag} timm:NAME needs {error.name}: pip install 'coordconv-sandbox[timm]'") from None
    name = value.removeprefix("timm:")
    if not timm.is_model(name):
        raise UserError(f"{flag} {value}: timm has no such network{nearest(name, timm.list_models())}")
    try:
        network: nn.Module = timm.create_model(name, **options)
    except Exception as error:  # its hub, its networks: anything
        raise UserError(f"{flag} {value}: timm cannot make it ({one_line(error, 120)})") from None
    return network, getattr(network, "pretrained_cfg", None) or {}


def statistics_of(told: dict[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of each channel, of what timm says; ImageNet's where it says nothing."""
    return told.get("mean", IMAGENET[0]), told.get("std", IMAGENET[1])
