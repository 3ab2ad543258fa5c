"""What the C library does with memory that tensors have freed, and how much a process has held."""

import ctypes
import sys
from contextlib import suppress

import torch

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of <malloc.h>


def keep_freed_memory() -> bool:
    """Lets glibc keep freed blocks of up to 32 MiB (its limit) for the next step; returns whether it does.

    By itself it hands large ones back to the kernel, and a training step on the CPU then spends up to half of its time
    on getting the same pages again. Elsewhere than on Linux with glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        return bool(library.mallopt(_MMAP, 32 * 2**20) and library.mallopt(_TRIM, 2**31 - 1))
    return False


def peak_memory_mb(device: torch.device) -> float:
    """Most memory so far, MiB: what the device allocated on a GPU, else what the process held."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if sys.platform == "win32":
        return 0.0  # Python asks Windows nothing of the kind
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
