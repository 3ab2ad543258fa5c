"""The GAN study: generator and discriminator with plain or coordinate convolutions, on shapes, rooms or LSUN.

Liu et al. 2018 (arXiv 1807.03247), section 5. ``architecture: matched`` gives both arms the same topology;
``paper`` gives each the network that was published for it. The discriminator sees what the generator shows, unless
``before_tanh`` asks for what the authors' code does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from gan.data import PREVIEW, Data, make_data
from gan.discriminators import MatchedDiscriminator, PaperDiscriminator
from gan.fid import CHUNK, IMAGES, fid_and_kid, inception
from gan.generators import MatchedGenerator, PaperCoordGenerator, PaperGenerator
from gan.losses import discriminator_loss, generator_loss, gradient_penalty, penalised
from gan.spec import GanConfig
from gan.spectral import normed
from sandbox.base.seeding import keyed_generator
from sandbox.base.types import CoordLayers, PathKind, Picture, Walks
from sandbox.experiment.content import Content
from sandbox.film.grids import tile
from sandbox.film.paths import draw_latents, latent_path
from sandbox.nn.blocks import Convolutions, place_by_name
from sandbox.nn.seeding import seed_parameters
from sandbox.train.device import sent
from sandbox.train.encoder import Encoder, of_latents
from sandbox.train.processes import share
from sandbox.train.schedule import Epochs, cosine_decay
from sandbox.train.study import Filmed, Study

_BANK = 4 * 2**30  # bytes of images that an accelerator may hold; more are read from memory or disk
_CHUNK = 125  # images generated at a time outside training: bounds the memory, and fills the cores


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Its parameters gather no gradients: the generator's step needs none of the discriminator's."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def make_networks(config: GanConfig) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of a configuration, seeded alike in both arms wherever names and shapes agree."""
    paper = config.architecture == "paper"
    layers: CoordLayers = "first" if paper else config.coord_layers
    g_convs, d_convs = (
        Convolutions(config.coord and net in config.coord_in, layers, config.with_r, config.padding_mode)
        for net in "gd"
    )
    generator: nn.Module
    discriminator: nn.Module
    if paper:
        generator = (
            PaperCoordGenerator(g_convs, config.latent, config.before_tanh)
            if g_convs.coord else PaperGenerator(g_convs, config.latent)
        )  # fmt: skip
        discriminator = PaperDiscriminator(d_convs)
    else:
        generator = MatchedGenerator(g_convs, config.latent, config.width, config.stem, config.size)
        discriminator = MatchedDiscriminator(d_convs, config.d_width, config.head, config.size)
    networks = {"generator": generator, "discriminator": discriminator}
    place_by_name(networks, {"generator": g_convs, "discriminator": d_convs})
    for name, network in networks.items():
        seed_parameters(network, config.seed, name)
    if config.loss == "hinge":
        torch.manual_seed(config.seed)  # spectral norm starts its power iteration from torch's own stream
        for layer in list(discriminator.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                normed(layer)
    return generator, discriminator


class GanStudy(Study[GanConfig], Filmed):
    """Trains a generator against a discriminator and scores its moving average.

    Modules: ``generator``, ``discriminator`` and ``ema``, the averaged generator that makes every picture and score.
    Over several processes batch norm sees its process's share of the batch; all else is as in one process.
    """

    def __init__(self, config: GanConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        generator, discriminator = make_networks(config)
        ema = deepcopy(generator).requires_grad_(False)
        for name, module in (("generator", generator), ("discriminator", discriminator), ("ema", ema)):
            self.add_network(name, module, compiled=False)
        # Compiled functions beside the modules, not in their place: torch.compile cannot differentiate twice, so
        # penalties call the discriminator itself.
        compiled = torch.compile if config.compile else (lambda module: module)
        self.generator, self.discriminator, self.ema = (compiled(module) for module in self.modules.values())
        betas = (config.beta1, config.beta2)
        self.add_optimiser("generator", self.adam(generator.parameters(), config.lr_g, betas=betas))
        self.add_optimiser("discriminator", self.adam(discriminator.parameters(), config.lr_d, betas=betas))
        self._bank: Tensor | None = None
        self.epochs = Epochs(config.images, config.batch, config.seed)

    def rate(self, step: int) -> float:
        """Both rates fall over the last share of the steps."""
        return cosine_decay(step, self.config.steps, self.config.decay)

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of the discriminator, ``g_steps`` of the generator, one of the average."""
        self.set_rates(step)
        real = self._batch(step)  # (b, 3, s, s), b the share of this process
        latents = self._latents(self.config.batch * self.config.g_steps, "train", step).split(self.config.batch)
        fake = self._run(self.generator, share(latents[0]))
        losses = self._discriminator_step(step, real, fake.detach())
        losses |= self._generator_step(real, fake)  # the generator has not moved: the same images serve both
        for z in latents[1:]:
            losses |= self._generator_step(real, self._run(self.generator, share(z)))
        self._average(step)
        return losses

    def _discriminator_step(self, step: int, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        config, due = self.config, step % self.config.penalty_every == 0
        on_real, on_fake = (due and config.gamma > 0 and wanted for wanted in penalised(config.loss))
        real, fake = real.detach().requires_grad_(on_real), fake.requires_grad_(on_fake)
        real_scores, fake_scores = self._scores(real, fake, penalised=on_real or on_fake)
        adversarial = discriminator_loss(config.loss, real_scores, fake_scores)
        losses, total = {"loss/discriminator": adversarial.detach()}, adversarial
        pairs = [(real, real_scores)] * on_real + [(fake, fake_scores)] * on_fake
        if pairs:
            penalty = torch.stack([gradient_penalty(images, scores) for images, scores in pairs]).sum()
            total = total + config.gamma / 2 * config.penalty_every * penalty
            losses["loss/penalty"] = penalty.detach()
        return losses | self.optimise("discriminator", total)

    def _scores(self, real: Tensor, fake: Tensor, *, penalised: bool) -> tuple[Tensor, Tensor]:
        if penalised:
            network = self.modules["discriminator"]
            return self._run(network, real), self._run(network, fake)
        if self.config.architecture == "paper":  # batch norm: real and generated images must not share statistics
            return self._run(self.discriminator, real), self._run(self.discriminator, fake)
        real_scores, fake_scores = self._run(self.discriminator, torch.cat([real, fake])).chunk(2)
        return real_scores, fake_scores

    def _generator_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        loss = self.config.loss
        with _frozen(self.modules["discriminator"]):
            with torch.no_grad():
                real_scores = self._run(self.discriminator, real) if loss == "relativistic" else None
            adversarial = generator_loss(loss, real_scores, self._run(self.discriminator, fake))
            norms = self.optimise("generator", adversarial)
        return {"loss/generator": adversarial.detach()} | norms

    def _run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with self.fabric.autocast():
            return network(x).float()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.config.ema, step / (step + 10))  # a young average must forget the start
        ema, generator = self.modules["ema"], self.modules["generator"]
        self.average_buffers("generator", "discriminator")
        torch._foreach_lerp_(list(ema.parameters()), list(generator.parameters()), 1 - decay)
        for averaged, current in zip(ema.buffers(), generator.buffers(), strict=True):
            averaged.copy_(current)

    # ---- data

    @cached_property
    def data(self) -> Data:
        """What it learns from, opened when it is first wanted: a trained run shows its pictures without."""
        if self.config.fid_weights:
            inception(self.config.fid_weights)  # wrong weights are said before training, not after
        return make_data(self.config)

    def _batch(self, step: int) -> Float[Tensor, "b 3 s s"]:
        indices, device = share(self.epochs.indices(step)), self.fabric.device
        if device.type == "cpu" or self.config.images * 3 * self.config.size**2 > _BANK:
            images = torch.from_numpy(self.data.images(indices.numpy())).to(device)
        else:
            if self._bank is None:
                self._bank = torch.from_numpy(self.data.images(np.arange(self.config.images))).to(device)
            images = self._bank[sent(indices, device)]
        return images.float() / 127.5 - 1

    def _latents(self, count: int, *key: str | int) -> Float[Tensor, "count latent"]:
        generator = keyed_generator(self.config.seed, *key)
        z = draw_latents(self.config.latent_law, count, self.config.latent, generator)
        return sent(z, self.fabric.device)

    # ---- pictures and scores

    @torch.no_grad()
    def generate(self, z: Float[Tensor, "n latent"]) -> UInt8[np.ndarray, "n 3 s s"]:
        """Images of latents by the averaged generator, uint8."""
        self.modules["ema"].eval()
        images = torch.cat([self._run(self.ema, part.to(self.fabric.device)) for part in z.split(_CHUNK)])
        return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """An 8x8 grid of fixed latents, and the score of the learning curve from 256."""
        images = self.generate(self._latents(PREVIEW, "preview"))
        return tile(images[None, :64], (8, 8))[0], self.data.preview(images)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Walks through latent space; see `sandbox.film.paths.latent_path`."""
        config = self.config
        z = latent_path(config.latent_law, config.latent, frames=frames, count=count, kind=path, seed=seed)
        images = self.generate(z.flatten(0, 1))
        return images.reshape(frames, count, *images.shape[1:])

    def evaluate(self) -> dict[str, float]:
        """The scores of the data, and what real data score; see docs/metrics.md."""
        paths = self.film(frames=60, count=64, path="pair", seed=self.config.seed).swapaxes(0, 1)
        scores = self.data.scores(self._scored, paths)
        return scores | self._inception_scores() if self.config.fid_weights else scores

    def _scored(self, count: int, batch: int) -> UInt8[np.ndarray, "n 3 s s"]:
        return self.generate(self._latents(count, "score", batch))

    def _inception_scores(self) -> dict[str, float]:
        count = min(IMAGES, self.config.images)
        found = fid_and_kid(
            inception(self.config.fid_weights),
            lambda chunk: self.data.images(np.arange(chunk * CHUNK, min(chunk * CHUNK + CHUNK, count))),
            lambda chunk: self._scored(CHUNK, chunk), count, self.fabric.device,
        )  # fmt: skip
        return {f"score/{name}": value for name, value in found.items()}

    @property
    def content(self) -> Content | None:
        """What the images of ``data: lsun`` are."""
        return self.data.content if self.config.data == "lsun" else None

    def examples(self) -> dict[str, Tensor]:
        """Two inputs of each network that trains."""
        return {"generator": self._latents(4, "costs")[:2], "discriminator": self._batch(1)[:2]}

    def encoder(self, name: str = "") -> Encoder:
        """The discriminator, which sees images in [-1, 1]; the generators have no image input."""
        network = self.find_network(name, default="discriminator")
        if network is self.modules["discriminator"]:
            return Encoder(network, self.config.size, lambda images: 2 * images - 1)
        return of_latents(network, self.config.latent_law, self.config.latent)
