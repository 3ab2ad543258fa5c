"""How many processor cores there are for us."""

import os


def cores() -> int:
    """Processor cores that this process may use, which a scheduler or a container may make fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
