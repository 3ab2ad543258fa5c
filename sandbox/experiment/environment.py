"""What a run is made with: commit, versions, processor, device and accelerator."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field

from sandbox.base.world import announced
from sandbox.experiment.written import Owned

_INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")  # those that change how fast a run is, or its rounding


class Environment(Owned):
    """What ``environment.json`` holds."""

    commit: str | None = None
    python: str
    packages: dict[str, str | None] = Field(default_factory=dict)
    platform: str | None = None
    processor: str | None = None
    instructions: str | None = None
    threads: int | None = None
    processes: int | None = None
    device: str | None = None
    accelerator: str | None = None


def environment(device: str) -> dict[str, Any]:
    """What the run is made with: commit, versions, processor, device and, where the device is one, the GPU's name.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
    """
    import torch  # here: what only reads run folders starts without it

    packages = ("torch", "torchvision", "numpy", "lightning-fabric", "safetensors", "stable-baselines3", "ale-py")
    able = torch.cpu.get_capabilities()
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "platform": platform.platform(),
        "processor": able.get("cpu_name") or platform.processor(),
        "instructions": " ".join(name for name in _INSTRUCTIONS if able.get(name)) or None,
        "threads": torch.get_num_threads(),
        "processes": announced().size,
        "device": device,
        "accelerator": torch.cuda.get_device_name() if device == "cuda" else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(checkout)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}{' with changes' if dirty else ''}"
