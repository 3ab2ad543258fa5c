"""The layer, under the name by which other code imports it; it stands in `sandbox.nn.coordconv`."""

from sandbox.nn.coordconv import *  # noqa: F403
from sandbox.nn.coordconv import __all__  # noqa: F401
