"""What a probe can look at: nothing but the image, a network by its name, or a network of one of our runs.

* `image`: the image itself, three channels, no encoder; the baseline of the paper's Table 1.
* a name: see `vision.probe.targets`.
* a run: its study says what sees images and in which convention (`Study.encoder`), so that all see the same images.
  What makes images from latents (a GAN's generator, a VAE's decoder, a painter of coordinates) has no image input: it
  is fed random latents of its prior, which stand for natural images; its answers to other images are undefined.
"""

import hashlib
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from sandbox.base.errors import UserError
from sandbox.train.encoder import Encoder
from sandbox.train.loading import load
from sandbox.train.study import State
from vision.probe.config import PositionConfig, kind_of, run_of
from vision.probe.targets import PLAIN_SIZE, named_network


def make_encoder(config: PositionConfig, device: torch.device) -> Encoder:
    """The encoder that a configuration names, frozen, on a device.

    Raises:
        UserError: no such run or weights, or no such network in the run.
    """
    if config.target == "image":
        return Encoder(nn.Identity(), config.size or PLAIN_SIZE, lambda images: images, names=("",))
    encoder = _of_run(config, device) if kind_of(config.target) == "run" else _of_name(config)
    encoder.network.to(device).eval().requires_grad_(False)
    return encoder


def _device(device: torch.device) -> Any:  # load's own names of devices
    return device.type


def fingerprint(network: nn.Module) -> int:
    """A hash of a network's weights, 63 bits."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def weights_state(network: nn.Module) -> State:
    """What a checkpoint holds of a network that is only looked at: the `fingerprint` of its weights."""
    return {"target": {"digest": torch.tensor(fingerprint(network))}}


def refuse_other_weights(state: State, own: State) -> None:
    """Refuses a checkpoint that was made beside other weights.

    Raises:
        UserError: the network's weights have changed since.
    """
    if int(state["target"]["digest"]) != int(own["target"]["digest"]):
        raise UserError("the target's weights are not those that this run began with: --overwrite starts it anew")


def _of_name(config: PositionConfig) -> Encoder:
    named = named_network(config, whole=False)
    return Encoder(named.body, named.size, named.prepare, note=named.note, names=named.levels)


def _of_run(config: PositionConfig, device: torch.device) -> Encoder:
    folder = run_of(config.target, config.seed)
    loaded = load(folder, _device(device))
    try:
        encoder = loaded.study.encoder(config.target_module)
    except UserError as error:
        raise UserError(f"--target {folder}, --target-module: {error}") from None
    holds = (name for name, network in loaded.networks.items() if encoder.network in list(network.modules()))
    name = next(holds, config.target_module or "its encoder")
    note = f"{folder}, {name}, after {loaded.step} steps."
    if encoder.draw is not None:
        note += " It has no image input: random latents stand for natural images."
    size = config.size if config.size and encoder.any_size else encoder.size
    return replace(encoder, size=size, note=note)
