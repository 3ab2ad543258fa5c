"""What a probe can look at: nothing but the image, a torchvision network, or a network of one of our runs.

* `image`: the image itself, three channels, no encoder; the baseline of the paper's Table 1.
* torchvision: VGG and ResNet families and their like, weights from the user's disk or random; downloaded only where the
  user says `--weights download`.
* a run: its study says what sees images and in which convention (`Study.encoder`), so that all see the same images.
  What makes images from latents (a GAN's generator, a VAE's decoder, a painter of coordinates) has no image input: it
  is fed random latents of its prior, which stand for natural images; its answers to other images are undefined.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sandbox.base.errors import UserError, nearest, one_line
from sandbox.base.reading import Unreadable, size_of
from sandbox.nn.weights import read_weights
from sandbox.train.encoder import Encoder
from sandbox.train.loading import load
from vision.probe.config import PositionConfig

_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # of ImageNet: what torchvision's weights are used to
_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
PLAIN_SIZE = 112  # pixels, where nobody says anything


def make_encoder(config: PositionConfig, device: torch.device) -> Encoder:
    """The encoder that a configuration names, frozen, on a device.

    Raises:
        UserError: no such run or weights, or no such network in the run.
    """
    if config.target == "image":
        return Encoder(nn.Identity(), config.size or PLAIN_SIZE, lambda images: images, names=("",))
    is_run = "/" in config.target
    encoder = _of_run(config, device) if is_run else _of_torchvision(config)
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


# ---- torchvision


def _of_torchvision(config: PositionConfig) -> Encoder:
    network, note = torchvision_network(config)
    named = tuple(f"layer{k}" for k in (1, 2, 3, 4)) if hasattr(network, "layer4") else None
    # VGG's dense layers see no place.
    body = network.get_submodule("features") if hasattr(network, "features") else network
    return Encoder(body, config.size or PLAIN_SIZE, standardised, note=note, names=named)


def standardised(images: Tensor) -> Tensor:
    """Images in [0, 1] as torchvision's weights want them: ImageNet's mean taken off, over its standard deviation."""
    return (images - _MEAN.to(images)) / _STD.to(images)


def torchvision_network(config: PositionConfig) -> tuple[nn.Module, str]:
    """The whole torchvision network that a configuration names, dense layers included, and a line on its weights.

    Raises:
        UserError: there are no such weights.
    """
    from torchvision.models import get_model  # a second, that only who asks for it waits for

    name = config.target
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network: nn.Module = get_model(name, weights=None)
    path = _weights(config)
    if path is not None:
        _load(network, path)
    random = f"{name} has random weights (seed {config.seed}): it was never trained."
    note = random if path is None else f"{name} has the weights of {path.name}."
    if path is None and config.weights == "auto":
        note += " Torch's hub cache has none: --weights download fetches ImageNet's."
    return network, note


def _weights(config: PositionConfig) -> Path | None:
    """The file of a torchvision network's weights; None: random ones."""
    from torchvision.models import get_model_weights

    if config.weights == "random":
        return None
    # Not VGG16's IMAGENET1K_FEATURES, which want images in another standardisation. The first are those of the paper.
    urls = [entry.url for entry in get_model_weights(config.target) if entry.name.startswith("IMAGENET1K_V")]
    cached = [Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1] for url in urls]
    there = next((path for path in cached if path.is_file()), None)
    if config.weights == "download" and there is None:
        there = _fetched(urls[0], cached[0])
    if config.weights in ("auto", "download"):
        return there
    path = Path(config.weights)
    try:
        size_of(path)
    except Unreadable as error:
        raise UserError(f"--weights: {error}: fetch a file (curl -O {urls[0]}), or say --weights download "
                        f"or random{nearest(config.weights, ('auto', 'random', 'download'))}") from None  # fmt: skip
    return path


def _fetched(url: str, path: Path) -> Path:
    """Downloads a file of weights; the hash that its name holds is checked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # no network, no such page; a file whose hash is another
        raise UserError(f"--weights download: {url} cannot be fetched ({one_line(error, 80)}): fetch it by other means "
                        f"and put it at {path}, or say --weights random") from None  # fmt: skip
    return path


def _load(network: nn.Module, path: Path) -> None:
    try:
        read_weights(path, network)
    except Unreadable as error:
        raise UserError(f"--weights: {error}") from None


# ---- our own runs


def _of_run(config: PositionConfig, device: torch.device) -> Encoder:
    loaded = load(config.target, _device(device))
    try:
        encoder = loaded.study.encoder(config.target_module)
    except UserError as error:
        raise UserError(f"--target {config.target}, --target-module: {error}") from None
    holds = (name for name, network in loaded.networks.items() if encoder.network in list(network.modules()))
    name = next(holds, config.target_module or "its encoder")
    note = f"{config.target}, {name}, after {loaded.step} steps."
    if encoder.draw is not None:
        note += " It has no image input: random latents stand for natural images."
    size = config.size if config.size and encoder.any_size else encoder.size
    return replace(encoder, size=size, note=note)
