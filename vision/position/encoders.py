"""What a probe can look at: nothing but the image, a torchvision network, or a network of one of our runs.

* `image`: the image itself, three channels, no encoder; the baseline of the paper's Table 1.
* torchvision: VGG and ResNet families and their like, weights from the user's disk or random; downloaded only where the
  user says `--weights download`.
* a run: what sees images gets the same images as all others, in its own convention. What makes images from latents (a
  GAN's generator, a VAE's decoder, a painter of coordinates) has no image input: it is fed random latents of its prior,
  which stand for natural images, and its answers to black, white and noise are undefined.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from sandbox.base.errors import UserError, nearest, one_line
from sandbox.train.loading import Loaded, load
from sandbox.film.paths import draw_latents
from vision.probe.config import PositionConfig
from vision.probe.levels import Levels, find_levels, refuse_unrunnable, strip_padding

Images = Float[Tensor, "b 3 h w"]
_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # of ImageNet: what torchvision's weights are used to
_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
PLAIN_SIZE = 112  # pixels, where nobody says anything


@dataclass
class Encoder:
    """A frozen network and what it is fed.

    Attributes:
        network: in evaluation mode.
        size: pixels along an edge of its images.
        prepare: images in [0, 1] to inputs.
        draw: count and random stream to inputs, of a network that has no image input; else None.
        note: one line that a reader of the result must know; empty where there is nothing to say.
        names: of the modules that are its levels; None: found by running it.
    """

    network: nn.Module
    size: int
    prepare: Callable[[Images], Tensor]
    draw: Callable[[int, torch.Generator], Tensor] | None = None
    note: str = ""
    names: tuple[str, ...] | None = None

    def example(self) -> Tensor:
        """Two inputs, for a look at the network."""
        if self.draw is not None:
            return self.draw(2, torch.Generator().manual_seed(0))
        return self.prepare(torch.rand(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(0)))

    def fingerprint(self) -> int:
        """A hash of the weights, 63 bits."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return int.from_bytes(digest.digest()[:8], "big") >> 1


def make_encoder(config: PositionConfig, device: torch.device) -> Encoder:
    """The encoder that a configuration names, frozen, on a device.

    Raises:
        UserError: no such run or weights, or no such network in the run.
    """
    if config.target == "image":
        return Encoder(nn.Identity(), config.size or PLAIN_SIZE, lambda images: images, names=("",))
    is_run = "/" in config.target
    encoder = _of_run(load(config.target, _device(device)), config) if is_run else _of_torchvision(config)
    encoder.network.to(device).eval().requires_grad_(False)
    return encoder


def _device(device: torch.device) -> Any:  # load's own names of devices
    return device.type


def make_levels(encoder: Encoder, config: PositionConfig, device: torch.device) -> Levels:
    """The levels that a configuration asks for; removes the padding first where it says so.

    Raises:
        UserError: a level that is not there, or a network that cannot run on these images or without its padding.
    """
    example = encoder.example().to(device)
    try:
        # Found with the padding: without it a dense layer behind the last level has no input that fits it.
        levels = Levels(encoder.network, encoder.names or find_levels(encoder.network, example))
        if config.strip_padding:
            if encoder.draw is not None:
                raise UserError("--strip-padding is for networks that see images")
            strip_padding(encoder.network)
        levels(example)
    except (RuntimeError, ValueError) as error:
        raise refuse_unrunnable(error, config.target, encoder.size, config.strip_padding) from None
    if config.stages == "all":
        return levels
    wanted = sorted({int(part) for part in config.stages.split(",")})
    if wanted[-1] > len(levels.names):
        raise UserError(f"--stages is {config.stages}: {config.target} has {len(levels.names)} levels, "
                        f"{', '.join(name or 'the output' for name in levels.names)}")  # fmt: skip
    return Levels(encoder.network, [levels.names[k - 1] for k in wanted])


# ---- torchvision


def _of_torchvision(config: PositionConfig) -> Encoder:
    from torchvision.models import get_model  # a second, that only who asks for it waits for

    name = config.target
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = get_model(name, weights=None)
    path = _weights(config)
    if path is not None:
        _load(network, path)
    random = f"{name} has random weights (seed {config.seed}): it was never trained."
    note = random if path is None else f"{name} has the weights of {path.name}."
    if path is None and config.weights == "auto":
        note += " Torch's hub cache has none: --weights download fetches ImageNet's."
    named = tuple(f"layer{k}" for k in (1, 2, 3, 4)) if hasattr(network, "layer4") else None
    body = network.features if hasattr(network, "features") else network  # VGG's dense layers see no place
    return Encoder(
        body, config.size or PLAIN_SIZE, lambda images: (images - _MEAN.to(images)) / _STD.to(images), None, note, named
    )


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
    if not path.is_file():
        raise UserError(f"--weights: there is no file {path}: fetch one (curl -O {urls[0]}), or say --weights download "
                        f"or random{nearest(config.weights, ('auto', 'random', 'download'))}")  # fmt: skip
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
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:  # whatever a damaged or foreign file makes the readers raise
        raise UserError(f"--weights: {path} does not fit {type(network).__name__} ({one_line(error, 120)})") from None


# ---- our own runs


def _of_run(loaded: Loaded, config: PositionConfig) -> Encoder:
    kind, networks = loaded.run.study, loaded.networks
    own: Any = loaded.config  # each study's model has fields of its own
    defaults = {"gan": "discriminator", "vae": "encoder", "rl": "policy"}
    name = config.target_module or defaults.get(kind, next(iter(networks)))
    if name not in networks:
        raise UserError(f"--target-module: no network {name!r} in {config.target}: there are {', '.join(networks)}"
                        f"{nearest(name, networks)}")  # fmt: skip
    if kind == "vision.position":
        raise UserError(f"--target: {config.target} is itself a probe, of {own.target}: probe that")
    network, size = networks[name], config.size or getattr(own, "size", 0) or 64
    note = f"{config.target}, {name}, after {loaded.step} steps."
    if kind == "gan" and name != "discriminator":
        return _generative(network, own.latent_law, own.latent, note)
    if kind == "vae" and name == "decoder":
        return _generative(network, "normal", own.latent, note)
    if kind == "vision" and own.task != "regression":
        return _generative(network, "uniform", 2, note)
    if kind == "rl":
        return _policy(network, note)
    if kind == "vision":
        return Encoder(network, size, lambda images: images.mean(1, keepdim=True), note=note)
    if kind == "gan" or kind.startswith("vision."):  # classifiers of images in [-1, 1]
        return Encoder(network, size, lambda images: 2 * images - 1, note=note)
    return Encoder(network, size, lambda images: images, note=note)


def _generative(network: nn.Module, law: Any, latent: int, note: str) -> Encoder:
    def draw(count: int, stream: torch.Generator) -> Tensor:
        return draw_latents(law, count, latent, stream)

    said = f"{note} It has no image input: random latents stand for natural images."
    return Encoder(network, 64, lambda images: images, draw, said)


def _policy(policy: Any, note: str) -> Encoder:
    """The actor's convolutions; an image becomes grey and stands still for all frames of the stack."""
    extractor = getattr(policy, "pi_features_extractor", None) or policy.features_extractor
    frames, size = policy.observation_space.shape[:2]
    return Encoder(
        extractor.cnn, size, lambda images: images.mean(1, keepdim=True).expand(-1, frames, -1, -1), note=note
    )
