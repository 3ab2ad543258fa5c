"""Models of torchvision and timm: with coordinates what they were before, then equal to explicit concatenation."""

from typing import Any

import pytest
import torch
import torchvision
from odd import by_concatenation, given_weights
from torch import Tensor, nn

from sandbox.nn.coordify import convolutions, coordify, left_plain

TORCHVISION = (
    "alexnet", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small",
    "regnet_x_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "vgg11", "convnext_tiny", "swin_t",
)  # fmt: skip
TIMM = (
    "test_nfnet", "tf_efficientnet_lite0", "tf_efficientnet_cc_b0_4e", "test_resnet", "test_efficientnet",
    "test_efficientnet_evos", "test_efficientnet_gn", "test_convnext", "test_convnext2", "test_byobnet",
    "test_mambaout", "resnetv2_50x1_bit", "resnetv2_18", "nfnet_f0", "nf_resnet26",
    "tf_mobilenetv3_small_minimal_100", "dla34", "ese_vovnet19b_dw", "ghostnet_050", "hardcorenas_a", "lcnet_035",
    "mixnet_s", "mobilevit_xxs", "poolformer_s12", "regnetx_002", "repvgg_a0", "resnest14d", "rexnetr_100",
    "selecsls42b", "skresnet18", "tinynet_e", "xcit_nano_12_p8_224", "edgenext_xx_small", "gernet_s",
    "inception_next_atto", "pvt_v2_b0", "repghostnet_050", "hgnet_tiny", "coat_tiny",
)  # fmt: skip
QUICK = ("resnet18", "mobilenet_v3_small", "test_nfnet", "tf_efficientnet_lite0", "tf_efficientnet_cc_b0_4e")
MODELS = [
    pytest.param(library, name, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for library, names in (("torchvision", TORCHVISION), ("timm", TIMM))
    for name in names
]


def made(library: str, name: str) -> tuple[nn.Module, Tensor]:
    """A model with random weights, in float64, and two images."""
    size = {"xcit_nano_12_p8_224": 224, "coat_tiny": 224}.get(name, 64)
    if library == "timm":
        import timm

        network: nn.Module = timm.create_model(name, num_classes=5)
    else:
        more: dict[str, Any] = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        network = torchvision.models.get_model(name, weights=None, num_classes=5, **more)
    with torch.no_grad():  # biases of zero would put units at the kink of a ReLU
        for parameter in network.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network.double().eval(), torch.randn(2, 3, size, size, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore::UserWarning:timm", "ignore::FutureWarning:timm", "ignore::DeprecationWarning:timm")
@pytest.mark.parametrize(("library", "name"), MODELS)
def test_models_are_what_they_were_and_then_concatenate(library: str, name: str) -> None:
    network, x = made(library, name)
    keys, before = list(network.state_dict()), network(x)
    names = list(convolutions(network))
    assert coordify(network, "all") is network
    assert [key for key in network.state_dict() if "coordinate" not in key] == keys
    assert list(convolutions(network)) == names
    assert left_plain(network) == {}
    torch.testing.assert_close(network(x), before, rtol=0, atol=1e-10)
    weights = given_weights(network)
    assert len(weights) >= len(names) - 1  # a layer may have two names
    reference = by_concatenation(network)
    out, expected = network(x), reference(x)
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9 * max(scale, 1))
    pairs = [(own, reference.get_parameter(key)) for key, own in network.named_parameters()]
    slope = torch.randn_like(out)
    ours, theirs = (
        torch.autograd.grad(each, [pair[k] for pair in pairs], slope, allow_unused=True)
        for k, each in enumerate((out, expected))
    )
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-8 * max(float(b.abs().max()), 1e-3))
