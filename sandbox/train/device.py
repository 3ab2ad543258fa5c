"""Where a run computes and how precisely."""

import logging

import torch
from torch import Tensor

from sandbox.base.errors import UserError, nearest
from sandbox.base.memory import keep_freed_memory
from sandbox.base.types import Device
from sandbox.train import processes
from sandbox.train.fabric import Fabric


def resolve_device(device: Device) -> str:
    """The accelerator that ``auto`` means here.

    Raises:
        UserError: there is no such device, or not here.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(device, False):
        here = ", ".join(name for name, is_there in there.items() if is_there)
        close = nearest(device, ["auto", *there]) if device not in there else ""
        raise UserError(f"device {device!r} is not available: here are auto, {here}{close}")
    return device


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; on a GPU nobody waits for the copy, and so not for what was asked of it before."""
    # On mps a source that is freed meanwhile would be read all the same.
    return tensor.to(device, non_blocking=device.type == "cuda")


def resolve_precision(precision: str, device: str) -> str:
    """``bf16`` or ``32``: what ``auto`` means on a device. Emulated bf16 would be slower than float32."""
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    capabilities = torch.cpu.get_capabilities()
    has = device == "cpu" and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if has else "32"


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric on one device for each process, quiet about its choice of precision."""
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    keep_freed_memory()
    arguments = processes.fabric_arguments(device)
    fabric = Fabric(accelerator=device, precision="bf16-mixed" if precision == "bf16" else "32-true", **arguments)
    if processes.count() > 1:
        fabric.launch()
    return fabric
