"""Fabric, imported in two thirds of the time.

lightning_fabric imports the whole of torchmetrics, scipy.signal and torchvision with it, to read its version. Which
version there is the package's metadata say, too: that is asked where the imported module names none.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _empty(name: str) -> Iterator[None]:
    """Inside, importing ``name`` finds a module with nothing in it, unless it has been imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


with _empty("torchmetrics"):
    from lightning_fabric import Fabric as Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment as ClusterEnvironment
