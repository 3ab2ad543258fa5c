"""What a benchmark ran on: its numbers belong to that."""

import torch

from sandbox.train.device import resolve_precision


def machine(device: str = "cpu") -> str:
    """The device with its instruction set or name, threads and torch's version, in one line."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    bf16 = "with" if resolve_precision("auto", "cpu") == "bf16" else "no"
    sets = torch.backends.cpu.get_cpu_capability()
    return f"CPU, {sets}, {bf16} bf16 instructions, {torch.get_num_threads()} threads, torch {torch.__version__}"


def wait(device: str) -> None:
    """Until the device has done what it was asked: a GPU answers before it has computed."""
    if device != "cpu":
        torch.accelerator.synchronize()
