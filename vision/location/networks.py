"""GAPNet, PermuteNet and a control: one trunk, three ways from its last maps to a class (arXiv 2108.07884)."""

from jaxtyping import Float
from torch import Tensor, nn

from sandbox.blocks import Convolutions
from vision.classifier_config import Padding
from vision.classifiers import PooledConv, PooledLinear, SmallVgg
from vision.location.config import Head, LocationConfig
from vision.padded import PaddedConv, make_convolutions


class ResNet18(nn.Module):
    """torchvision's ResNet-18, 7x7 stem of stride 2, without its max-pool: a total stride of 16. As the paper has it.

    The 1x1 convolutions of its shortcuts have nothing to pad, and never know coordinates.

    Args:
        convs: plain or coordinate convolutions, as `make_convolutions` makes them.
        padding: of all of them.
        head: on the last maps, of 512 channels.
    """

    def __init__(self, convs: Convolutions, padding: Padding, head: nn.Module) -> None:
        super().__init__()
        from torchvision.models import resnet18

        whole = resnet18()
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu)
        self.stages = nn.Sequential(whole.layer1, whole.layer2, whole.layer3, whole.layer4)
        self.head = head
        for name, layer in list(self.named_modules()):
            if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) and not name.startswith("head"):
                place, _, last = name.rpartition(".")
                setattr(self.get_submodule(place), last, PaddedConv(
                    convs, layer.in_channels, layer.out_channels, padding, first=name == "stem.0",
                    kernel_size=layer.kernel_size[0], stride=layer.stride[0], bias=False,
                ))  # fmt: skip

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        """Logits of images in [-1, 1]."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits


def make_network(config: LocationConfig) -> SmallVgg | ResNet18:
    """The classifier of a configuration, not yet seeded."""
    convs = make_convolutions(config.coord, config.coord_layers, config.with_r, config.padding)
    channels = 512 if config.network == "resnet18" else 8 * config.width
    head = _head(config.head, convs, channels, config)
    if config.network == "resnet18":
        return ResNet18(convs, config.padding, head)
    return SmallVgg(convs, config.padding, config.width, head)


def _head(kind: Head, convs: Convolutions, channels: int, config: LocationConfig) -> nn.Module:
    if kind == "gap":
        return PooledConv(convs, channels, config.classes, config.padding)
    return PooledLinear(channels, config.classes, permuted=kind == "permute")
