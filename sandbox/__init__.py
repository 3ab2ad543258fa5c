"""The CoordConv sandbox: does a network do better when its convolutions know where they are?

python -m sandbox                  the commands and the configs
sandbox.load(run_folder)           a run's networks, in a notebook
sandbox.CoordConv2d, coordify      the layer, for your own networks
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.coordconv import (
        CoordConv1d,
        CoordConv2d,
        CoordConv3d,
        CoordConvTranspose1d,
        CoordConvTranspose2d,
        CoordConvTranspose3d,
        coordify,
        coordinate_planes,
        decoordify,
        freeze_size,
    )
    from sandbox.train.loading import load

__all__ = [
    "CoordConv1d",
    "CoordConv2d",
    "CoordConv3d",
    "CoordConvTranspose1d",
    "CoordConvTranspose2d",
    "CoordConvTranspose3d",
    "coordify",
    "coordinate_planes",
    "decoordify",
    "freeze_size",
    "load",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Lazy: a list of commands must not wait for torch, nor the layer for TensorBoard.
    if name not in __all__:
        raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
    return getattr(import_module("sandbox.train.loading" if name == "load" else "sandbox.coordconv"), name)
