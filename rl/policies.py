"""Networks of agents that may know where they are. They work in plain stable-baselines3, too:

    policy_kwargs = dict(features_extractor_class=CoordCNN, features_extractor_kwargs=dict(coord=True), net_arch=[])
    A2C("CnnPolicy", env, policy_kwargs=policy_kwargs)

``net_arch=[]`` matters: stable-baselines3 leaves its two extra layers of 64 out for its own NatureCNN alone.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Num
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rl.one_pass import KeepingPolicy
from rl.spec import Kernels, Padding, Pooling, parse_kernels
from sandbox.base.seeding import keyed_generator
from sandbox.base.types import CoordLayers
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.coordconv import CoordConv2d

NATURE = parse_kernels("8x4 4x2 3x1")  # of Mnih et al. 2015


class KernelsTooLarge(ValueError):
    """Nothing is left of a picture behind the convolutions."""


class CoordCNN(BaseFeaturesExtractor):
    """The convolutional network of Mnih et al. 2015 (doi 10.1038/nature14236), with or without coordinates.

    ``(b, c, h, w) -> (b, features_dim)``. Plain, with the defaults, it is stable-baselines3's NatureCNN, layer for
    layer.

    Args:
        observation_space: pictures, channels first: bytes, which are divided by 255, or planes of 0 and 1 as MinAtar's,
            a channel for each kind of object, which are taken as they are.
        features_dim: of the last, dense layer.
        coord: coordinate convolutions; without, the next two say nothing.
        coord_layers: ``first``: the first convolution knows coordinates; ``all``; or names, ``cnn.2``, or ``cnn.*``.
        with_r: the radius as a third coordinate.
        padding_mode: ``none`` as published, or how each convolution is padded by half its kernel.
        pooling: ``flatten`` as published, or a global ``mean`` or ``max`` over places.
        width: channels of the first layer; the others have twice as many.
        kernels: kernel size and stride of each convolution.
        bf16: the network runs in bfloat16 (autocast) and in channels_last; what it returns is float32. Else it runs in
            the layout of its weights, which may be changed once the policy stands.

    Raises:
        ValueError: the observations are no pictures, or smaller than the kernels.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features_dim: int = 512,
        *,
        coord: bool = True,
        coord_layers: CoordLayers = "first",
        with_r: bool = False,
        padding_mode: Padding = "none",
        pooling: Pooling = "flatten",
        width: int = 32,
        kernels: Kernels = NATURE,
        bf16: bool = False,
    ) -> None:
        super().__init__(observation_space, features_dim)
        if not _shows_pictures(observation_space):
            raise ValueError(f"pictures of bytes, channels first, are needed, not {observation_space}")
        convs = Convolutions(coord, coord_layers, with_r, "zeros" if padding_mode == "none" else padding_mode)
        layers: list[nn.Module] = []
        channels = observation_space.shape[0]
        for number, (kernel, stride) in enumerate(kernels):
            padding, wide = 0 if padding_mode == "none" else None, width if number == 0 else 2 * width
            layers += [convs.conv(channels, wide, kernel, stride, first=number == 0, padding=padding), nn.ReLU()]
            channels = wide
        self.cnn = nn.Sequential(*layers, *_pooled(pooling))
        place_by_name({"cnn": self.cnn}, {"cnn": convs})
        self.linear = nn.Sequential(nn.Linear(self._flat(observation_space), features_dim), nn.ReLU())
        self.brightest = int(observation_space.high.max())
        self.bf16, self.dtype = bf16, torch.bfloat16 if bf16 else torch.float32

    def _flat(self, space: spaces.Box) -> int:
        try:
            with torch.no_grad():
                return int(self.cnn(torch.zeros(1, *space.shape)).shape[1])
        except RuntimeError:
            raise KernelsTooLarge(f"pictures of {space.shape} are too small for these kernels") from None

    def forward(self, observations: Num[Tensor, "b c h w"]) -> Float[Tensor, "b features"]:
        """The features, float32, of pictures: bytes, or floats already scaled to 0..1."""
        return self.dense(self.look(observations))

    def look(self, observations: Num[Tensor, "b c h w"]) -> Float[Tensor, "b places"]:
        """What the convolutions see in pictures, flat."""
        scaled, last = observations, self.bf16 or not self.cnn[0].weight.is_contiguous()  # type: ignore[operator]
        layout = torch.channels_last if last else torch.contiguous_format
        if observations.dtype == torch.uint8:  # as bytes they are laid out and cast in a fraction of the time
            scaled = observations.contiguous(memory_format=layout).to(self.dtype)
            scaled = scaled if self.brightest == 1 else scaled / self.brightest
        with self._autocast(observations):
            out: Tensor = self.cnn(scaled.contiguous(memory_format=layout))
        return out

    def dense(self, places: Float[Tensor, "b places"]) -> Float[Tensor, "b features"]:
        """The features, float32, of what the convolutions saw."""
        with self._autocast(places):
            out: Tensor = self.linear(places)
        return out.float()

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        return torch.autocast(x.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def _shows_pictures(space: spaces.Space[Any]) -> bool:
    """Whether observations are stacks of pictures: bytes, or planes of 0 and 1."""
    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and ((space.high == 255).all() or (space.high == 1).all()))


def _pooled(pooling: Pooling) -> list[nn.Module]:
    pools: dict[str, list[nn.Module]] = {"mean": [nn.AdaptiveAvgPool2d(1)], "max": [nn.AdaptiveMaxPool2d(1)]}
    return [*pools.get(pooling, []), nn.Flatten()]


class ActorCoordPolicy(KeepingPolicy):
    """Actor and critic with a `CoordCNN` each: coordinates in the actor's, none in the critic's.

    The paper puts "a CoordConv layer in the actor" and does not say what the critic has.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "share_features_extractor": False})

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Called twice: for the actor, then for the critic."""
        plain = {"coord": False} if hasattr(self, "pi_features_extractor") else {}
        return self.features_extractor_class(self.observation_space, **{**self.features_extractor_kwargs, **plain})


POLICIES: dict[Literal["shared", "actor"], type[KeepingPolicy]] = {
    "shared": KeepingPolicy,
    "actor": ActorCoordPolicy,
}


def seed_policy(policy: ActorCriticPolicy, seed: int) -> None:
    """Draws every weight anew, so that both arms start from the same content weights at one seed.

    The law is stable-baselines3's for actor and critic: orthogonal, gain sqrt(2), 0.01 for the actions and 1 for the
    value, biases 0; see `draw_weights`.
    """
    draw_weights(policy, seed, "policy", {"action_net": 0.01, "value_net": 1.0})


@torch.no_grad()
def draw_weights(network: nn.Module, seed: int, key: str, gains: Mapping[str, float]) -> None:
    """Draws every weight anew: orthogonal, gain sqrt(2) where ``gains`` says no other for a layer's name, biases 0.

    The content part of a coordinate layer is drawn by itself, from a stream keyed by (seed, key, the layer's name); the
    coordinate part is normal, with the content's standard deviation, from a second stream.
    """
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        content = torch.empty(layer.weight.shape)
        nn.init.orthogonal_(content, gains.get(name, math.sqrt(2.0)), keyed_generator(seed, key, name, "content"))
        layer.weight.copy_(content)
        if isinstance(layer, CoordConv2d):
            noise = torch.randn(
                layer.coordinate_weight.shape, generator=keyed_generator(seed, key, name, "coordinates")
            )
            layer.coordinate_weight.copy_(noise * content.std())
        if layer.bias is not None:
            layer.bias.zero_()
