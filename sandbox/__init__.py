"""The CoordConv sandbox: does a network do better when its convolutions know where they are?

python -m sandbox                  the doors and the configurations
sandbox.load(run_folder)           a run's networks, in a notebook
sandbox.CoordConv2d, coordify      the layer, for your own networks
"""

from sandbox.coordconv import CoordConv2d, CoordConvTranspose2d, coordify, coordinate_planes

__all__ = ["CoordConv2d", "CoordConvTranspose2d", "coordify", "coordinate_planes", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Lazy: the layer alone must not pull in TensorBoard and Fabric.
    if name == "load":
        from sandbox.loading import load

        return load
    raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
