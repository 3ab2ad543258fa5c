"""The layer, under the name by which other code imports it; it stands in `sandbox.nn.coordconv`."""

from sandbox.nn.coordconv import (
    CoordConv,
    CoordConv2d,
    CoordConvTranspose2d,
    add_map,
    content_bound,
    convolution_names,
    coordify,
    coordinate_planes,
    from_concatenated,
)

__all__ = [
    "CoordConv",
    "CoordConv2d",
    "CoordConvTranspose2d",
    "add_map",
    "content_bound",
    "convolution_names",
    "coordify",
    "coordinate_planes",
    "from_concatenated",
]
