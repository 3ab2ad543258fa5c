"""The layer and all that belongs to it, under one name: ``from sandbox.coordconv import CoordConv2d, coordify``."""

from sandbox.nn.convolve import add_map
from sandbox.nn.coordconv import (
    CoordConv,
    CoordConv1d,
    CoordConv2d,
    CoordConv3d,
    CoordConvTranspose1d,
    CoordConvTranspose2d,
    CoordConvTranspose3d,
    from_concatenated,
    to_concatenated,
)
from sandbox.nn.coordify import convolutions, coordify, decoordify, freeze_size, left_plain
from sandbox.nn.planes import coordinate_planes

__all__ = [
    "CoordConv",
    "CoordConv1d",
    "CoordConv2d",
    "CoordConv3d",
    "CoordConvTranspose1d",
    "CoordConvTranspose2d",
    "CoordConvTranspose3d",
    "add_map",
    "convolutions",
    "coordify",
    "coordinate_planes",
    "decoordify",
    "freeze_size",
    "from_concatenated",
    "left_plain",
    "to_concatenated",
]
