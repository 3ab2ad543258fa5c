"""The network of a neurons run."""

from sandbox.nn.coordify import coordify
from sandbox.nn.padded import make_convolutions
from vision.neurons.spec import NeuronsConfig
from vision.segment.networks import DeepLab, Head, SmallNet


def make_network(config: NeuronsConfig, classes: int) -> SmallNet | DeepLab:
    """The network of a configuration, not yet seeded."""
    if config.network == "deeplabv3_resnet50":
        network = DeepLab(classes)
        if config.coord and config.coord_layers in ("first", "all"):  # names are seen to where it is built
            coordify(network, config.coord_layers, config.with_r)
        return network
    convs = make_convolutions(config.coord, config.coord_layers, config.with_r, config.padding)
    head = Head(convs, 8 * config.width, classes, config.padding)
    return SmallNet(convs, config.padding, config.width, head)
