"""The VAE study: encoder and decoder with plain or coordinate convolutions, on two-object Sort-of-CLEVR.

Liu et al. 2018 (arXiv 1807.03247), section 5, tell that a VAE showed what their GAN did, and no more of it. Images are
[0, 1] here. Training runs in the run's precision; likelihood, KL and every score and picture are computed in float32.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from PIL import Image, ImageOps
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.base.types import PathKind, Picture, Walks
from sandbox.data.shapes import FEW, Factors, SortOfClevr
from sandbox.film.grids import tile
from sandbox.film.paths import ANCHORS, image_path, latent_path
from sandbox.scores import samples as metrics
from sandbox.scores.copies import copies
from sandbox.train.device import sent
from sandbox.train.encoder import Encoder, of_latents
from sandbox.train.processes import share
from sandbox.train.schedule import Epochs, cosine_decay
from sandbox.train.study import Between, Filmed, Study
from vae.loss import beta_at, kl_divergence, make_likelihood
from vae.networks import Posterior, make_networks
from vae.scores import active_units, position_error, readouts
from vae.spec import VaeConfig
from vae.unseen import map_of_errors, unseen_data, unseen_error

_CHUNK = 125  # images at a time outside training: bounds the memory, and fills the cores
HELD_OUT = 1000  # images of the scores: those after the training images
FITTED = 5000  # training images, at most, that a linear readout is fitted on

Pictures = UInt8[np.ndarray, "n 3 64 64"]
Latents = Float[Tensor, "n latent"]


class VaeStudy(Study[VaeConfig], Filmed, Between):
    """Trains an encoder and a decoder on the ELBO with a weighted KL.

    Modules: ``encoder``, ``decoder``; ``likelihood``, whose sigma may be learned. Over several processes batch norm
    sees its process's share of the batch; all else is as in one process.
    """

    def __init__(self, config: VaeConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        encoder, decoder = make_networks(config)
        self.add_network("encoder", encoder)
        self.decoder = self.add_network("decoder", decoder)
        self.likelihood = self.add_network("likelihood", make_likelihood(config), compiled=False)
        parameters = [p for module in self.modules.values() for p in module.parameters() if p.requires_grad]
        self.add_optimiser("vae", self.adam(parameters, config.lr, betas=(config.beta1, config.beta2)))
        self.data = SortOfClevr(separation=config.separation, quadrant="free" if config.split == "uniform" else "empty")
        self._bank: Tensor | None = None
        self.epochs = Epochs(config.images, config.batch, config.seed)

    def rate(self, step: int) -> float:
        """The rate rises over the first share of the steps and falls over the last."""
        return cosine_decay(step, self.config.steps, self.config.decay, self.config.rise)

    # ---- training

    def step(self, step: int) -> dict[str, Tensor]:
        """One update with one latent an image."""
        self.set_rates(step)
        self.decoder.train()
        images = self._batch(step)  # (b, 3, 64, 64), b the share of this process
        noise = share(self._normal(self.config.batch, "noise", step))
        with self.fabric.autocast():
            posterior = self.modules["encoder"](images)
            logits = self.decoder(posterior.sample(noise))
        recon, kl = self.likelihood(logits, images).mean(), kl_divergence(posterior).mean()
        beta = beta_at(step, self.config)
        norms = self.optimise("vae", recon + beta * kl, "encoder", "decoder")
        self.average_buffers("decoder")
        losses = {
            "loss/recon": recon,
            "loss/kl": kl,
            "loss/elbo": recon + kl,
            "beta": torch.full((), beta, device=recon.device),
        }
        return {tag: value.detach() for tag, value in losses.items()} | norms

    # ---- data

    def _batch(self, step: int) -> Float[Tensor, "b 3 64 64"]:
        indices = share(self.epochs.indices(step))
        if self.fabric.device.type == "cpu":  # painting a batch is cheaper than keeping 600 MB of them
            return self._tensor(self.data.render(indices.numpy()).images)
        if self._bank is None:
            everything = self.data.render(np.arange(self.config.images)).images
            self._bank = torch.from_numpy(everything).to(self.fabric.device)
        return self._bank[sent(indices, self.fabric.device)].float() / 255

    def _tensor(self, images: Pictures) -> Float[Tensor, "n 3 64 64"]:
        return torch.from_numpy(images).to(self.fabric.device).float() / 255

    def _normal(self, count: int, *key: str | int) -> Latents:
        noise = torch.randn(count, self.config.latent, generator=keyed_generator(self.config.seed, *key))
        return sent(noise, self.fabric.device)

    def _held_out(self, count: int) -> np.ndarray[Any, Any]:
        """Indices that no training image has."""
        return self.config.images + np.arange(count)

    # ---- pictures

    @torch.no_grad()
    def encode(self, images: Pictures) -> Posterior:
        """Posteriors of images, in float32."""
        parts = [self.modules["encoder"](self._tensor(images[i : i + _CHUNK])) for i in range(0, len(images), _CHUNK)]
        return Posterior(*(torch.cat(part) for part in zip(*parts, strict=True)))

    @torch.no_grad()
    def generate(self, z: Latents) -> Pictures:
        """The images that the likelihood expects of latents, uint8."""
        self.decoder.eval()
        parts = [self.likelihood.mean(self.decoder(part.to(self.fabric.device))) for part in z.split(_CHUNK)]
        return (torch.cat(parts) * 255).round().to(torch.uint8).cpu().numpy()

    def reconstruct(self, images: Pictures) -> Pictures:
        """Images through their posterior means."""
        return self.generate(self.encode(images).mean)

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Four rows of held-out images, each above its reconstruction, and four of samples from fixed latents.

        Of ``split: quadrant`` the second pair of rows has an object in the quadrant. The scores are of 256 held-out
        images and 256 samples.
        """
        shapes = self.data.render(self._held_out(256))
        posterior = self.encode(shapes.images)
        again, samples = self.generate(posterior.mean), self.generate(self._normal(256, "preview"))
        second, found = (shapes.images[8:16], again[8:16]), {}
        if self.config.split == "quadrant":
            unseen = unseen_data(self.config).render(np.arange(256))
            restored = self.reconstruct(unseen.images)
            second = unseen.images[:8], restored[:8]
            found = {"preview/unseen_position_error": unseen_error(restored, unseen).mean}
        rows = [shapes.images[:8], again[:8], *second, samples[:32]]
        return tile(np.concatenate(rows)[None], (8, 8))[0], found | {
            "preview/position_error": position_error(again, shapes).mean,
            "preview/elbo": self._bound(shapes.images, posterior)["test_elbo"],
            "preview/valid": metrics.validity(samples).valid,
            "preview/active_units": float(active_units(posterior.mean.cpu().numpy())),
        }

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Walks through the prior and, the latter half of them (rounded down), between held-out images.

        See `latent_path` and `image_path` of `sandbox.film.paths`; the same latents and images in every arm.
        """
        kind, between = path, count // 2
        config = self.config
        z = latent_path("normal", config.latent, frames=frames, count=count - between, kind=kind, seed=seed)
        if between:
            z = torch.cat([z, self._image_walks(frames=frames, count=between, kind=kind, seed=seed)], 1)
        return self._film(z)

    def _image_walks(self, *, frames: int, count: int, kind: PathKind, seed: int) -> Float[Tensor, "t n latent"]:
        stops = ANCHORS if kind == "loop" else 2
        drawn = torch.randperm(HELD_OUT, generator=keyed_generator(seed, "images", kind))[: count * stops]
        means = self.encode(self.data.render(self.config.images + drawn.numpy()).images).mean.cpu()
        return image_path(means.view(count, stops, -1), frames=frames, kind=kind)

    def _film(self, z: Float[Tensor, "t n latent"]) -> UInt8[np.ndarray, "t n 3 h w"]:
        images = self.generate(z.flatten(0, 1))
        return images.reshape(*z.shape[:2], *images.shape[1:])

    def between(
        self, ends: tuple[int | Image.Image, int | Image.Image], *, frames: int
    ) -> UInt8[np.ndarray, "t 3 3 64 64"]:
        """The straight line between the posterior means of two images; see `sandbox.train.study.Between`."""
        pictures = np.stack([self._picture(end) for end in ends])
        walk = self._film(image_path(self.encode(pictures).mean.cpu()[None], frames=frames, kind="pair"))
        still = np.broadcast_to(pictures, (frames, *pictures.shape))  # (t, 2, 3, 64, 64)
        return np.concatenate([still[:, :1], walk, still[:, 1:]], axis=1)

    def _picture(self, image: int | Image.Image) -> UInt8[np.ndarray, "3 64 64"]:
        if isinstance(image, int):
            shown = self.data.render(np.array([image])).images
        else:
            size = (self.data.size, self.data.size)
            shown = np.asarray(ImageOps.fit(image, size, Image.Resampling.LANCZOS)).transpose(2, 0, 1)[None]
        picture: UInt8[np.ndarray, "3 64 64"] = shown[0]
        return picture

    # ---- scores

    @torch.no_grad()
    def _bound(self, images: Pictures, posterior: Posterior) -> dict[str, float]:
        """The ELBO and its parts in nats per image: one latent an image, the same noise at every call."""
        self.decoder.eval()
        z = posterior.sample(self._normal(len(images), "elbo"))
        recon = torch.cat([
            self.likelihood(self.decoder(z[i : i + _CHUNK]), self._tensor(images[i : i + _CHUNK]))
            for i in range(0, len(images), _CHUNK)
        ]).mean()  # fmt: skip
        kl = kl_divergence(posterior).mean()
        return {"test_elbo": -float(recon + kl), "test_recon": float(recon), "test_kl": float(kl)}

    def evaluate(self) -> dict[str, float]:
        """ELBO, objects of reconstructions and samples, paths, readouts; see docs/metrics.md."""
        held_out = self.data.render(self._held_out(HELD_OUT))
        posterior = self.encode(held_out.images)
        again, samples = self.generate(posterior.mean), self.generate(self._normal(metrics.LOCATED, "score"))
        placed, valid = position_error(again, held_out), metrics.validity(samples)
        scores = {
            "position_error": placed.mean,
            "missing": placed.missing,
            "right_kind": placed.right_kind,
            **self._bound(held_out.images, posterior),
            **valid.scores(),
            "reconstruction_valid": metrics.validity(again).valid,
            **self._coherence(),
            **self._readouts(posterior.mean.cpu().numpy(), held_out),
            "active_units": active_units(posterior.mean.cpu().numpy()),
        }
        if self.config.split == "quadrant":
            unseen = unseen_data(self.config).render(np.arange(HELD_OUT))
            beyond = unseen_error(self.reconstruct(unseen.images), unseen)
            scores |= {"unseen_position_error": beyond.mean, "unseen_missing": beyond.missing,
                       "unseen_right_kind": beyond.right_kind}  # fmt: skip
        if self.config.images <= FEW:
            scores |= copies(samples, self.data.factors(np.arange(self.config.images))).scores()
        return {f"score/{name}": float(value) for name, value in scores.items()} | {
            "real/valid": metrics.validity(held_out.images).valid,
            "real/position_error": position_error(held_out.images, held_out).mean,
        }

    def _coherence(self) -> dict[str, float]:
        """Of walks through the prior, as in the GAN study, and between held-out images."""
        config = self.config
        prior = latent_path("normal", config.latent, frames=60, count=64, kind="pair", seed=config.seed)
        images = self._image_walks(frames=60, count=64, kind="pair", seed=config.seed)
        found: dict[str, float] = {}
        for prefix, z in (("", prior), ("image_", images)):
            scored = metrics.coherence(self._film(z).swapaxes(0, 1)).scores()
            found |= {f"{prefix}{name}": value for name, value in scored.items()}
        return found

    def _readouts(self, test_codes: Float[np.ndarray, "n latent"], test: Factors) -> dict[str, float]:
        train = self.data.render(np.arange(min(FITTED, self.config.images)))
        found = readouts(self.encode(train.images).mean.cpu().numpy(), train, test_codes, test)
        return {f"readout_{name}": value for name, value in found.items()}

    def files(self) -> dict[str, bytes]:
        """Of ``split: quadrant`` ``places.png``, see `vae.unseen.map_of_errors`."""
        if self.config.split == "uniform":
            return {}
        shapes = SortOfClevr(separation=self.config.separation).render(self._held_out(3 * HELD_OUT))
        return {"places.png": map_of_errors(self.reconstruct(shapes.images), shapes)}

    def examples(self) -> dict[str, Tensor]:
        """Two inputs of each network."""
        return {"encoder": self._batch(1)[:2], "decoder": self._normal(2, "costs")}

    def encoder(self, name: str = "") -> Encoder:
        """The encoder, which sees images in [0, 1], or the decoder, which has no image input."""
        if name == "decoder":
            return of_latents(self.modules["decoder"], "normal", self.config.latent)
        return Encoder(self.find_network(name, default="encoder"))
