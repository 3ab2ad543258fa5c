"""What the C library does with memory that tensors have freed."""

import ctypes
import sys
from contextlib import suppress

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
