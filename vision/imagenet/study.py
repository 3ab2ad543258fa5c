"""The image folder study: a classifier of torchvision or timm, plain or with coordinates, on the user's pictures.

Liu et al. 2018, section 5: one 1x1 CoordConv of eight channels before ResNet-50, trained on ImageNet. Recipe: Goyal et
al. 2017 (arXiv 1706.02677): SGD with momentum, a rate that rises and then falls, random crops; label smoothing of
Szegedy et al. 2016 (arXiv 1512.00567).
"""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sandbox.base.errors import UserError, warn
from sandbox.base.types import Picture
from sandbox.data.class_folders import ClassFolder, open_class_folders
from sandbox.data.records import NAMED
from sandbox.experiment.content import Content, joined
from sandbox.train import processes
from sandbox.train.batches import Loader
from sandbox.train.device import sent
from sandbox.train.encoder import Encoder
from sandbox.train.schedule import cosine_decay
from sandbox.train.study import State, Study
from vision.imagenet.digits import DigitPictures
from vision.imagenet.items import MISSING, Held, Labelled, Training, spread
from vision.imagenet.networks import make_classifier
from vision.imagenet.pictures import labelled
from vision.imagenet.spec import ImagenetConfig

PREVIEWED = 512  # held-out pictures of the learning curve
TRAIN_SCORED = 2048  # training pictures whose accuracy is told, at most
SHOWN = 12  # held-out pictures of a sample grid


class ImagenetStudy(Study[ImagenetConfig]):
    """A classifier and how it learns. Modules: ``network``; with ``ema`` the running mean of its weights, ``average``.

    Attributes:
        train, val: the pictures.
        left_out: which training pictures were met that cannot be used.
    """

    def __init__(self, config: ImagenetConfig, fabric: Fabric) -> None:
        super().__init__(config, fabric)
        self.train: Labelled
        self.val: Labelled
        if config.data == "digits":
            self.train, self.val = DigitPictures(True), DigitPictures(False)
        else:
            self.train, self.val = open_class_folders(Path(config.data_root), config.megapixels)
        self._check()
        network, (mean, deviation) = make_classifier(config, len(self.train.classes))
        self.constants = [torch.tensor(values, device=fabric.device)[:, None, None] for values in (mean, deviation)]
        if config.sync_batch_norm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = self.add_network("network", network)
        if config.ema:
            average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            self.add_network("average", average, compiled=False)
        self.add_optimiser("network", torch.optim.SGD(
            network.parameters(), config.lr, config.momentum, weight_decay=config.l2))  # fmt: skip
        items = Training(self.train, config.size, config.crop_least, config.flip)
        self.batches = Loader(items, config.batch, config.seed, workers=config.workers,
                              pin=fabric.device.type == "cuda")  # fmt: skip
        self.left_out = torch.zeros(len(self.train), dtype=torch.bool)
        self._told, self._since, self._steps = False, (time.perf_counter(), 0.0), 0

    def _check(self) -> None:
        config = self.config
        if config.batch > len(self.train):
            raise UserError(f"--batch {config.batch} is more than the {len(self.train)} training pictures")
        if config.sync_batch_norm and self.fabric.device.type != "cuda":
            raise UserError(f"--sync-batch-norm works on GPUs, not on {self.fabric.device.type}: each process has "
                            "batch statistics of its own")  # fmt: skip

    # ---- training

    def rate(self, step: int) -> float:
        """It rises in a straight line, then falls to 0 along half a cosine."""
        return cosine_decay(step, self.config.steps, 1 - self.config.rise, self.config.rise)

    def inputs(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """What the network sees of pictures: standardised."""
        mean, deviation = self.constants
        return (sent(images, self.fabric.device).float() / 255 - mean) / deviation

    def step(self, step: int) -> dict[str, Tensor]:
        """One update."""
        self.set_rates(step)
        images, labels, used = self.batches(step)
        self._note(processes.share(self.batches.epochs.indices(step)), used, step)
        self.network.train()
        with self.fabric.autocast():
            logits = self.network(self.inputs(images))
        truth = labels.to(self.fabric.device)
        loss = F.cross_entropy(logits.float(), truth, label_smoothing=self.config.smoothing)
        norms = self.optimise("network", loss)
        self.average_buffers("network")
        if self.config.ema:
            self.modules["average"].update_parameters(self.network)  # type: ignore[operator]
        self._steps += 1
        return {"loss/train": loss.detach()} | norms

    def _note(self, asked: Int64[Tensor, " b"], used: Int64[Tensor, " b"], step: int) -> None:
        """Keeps which pictures were passed over; the first one is told at once."""
        for first, last in zip(asked.tolist(), used.tolist(), strict=True):
            passed = (last - first) % len(self.train)
            if passed:
                self.left_out[(first + torch.arange(passed)) % len(self.train)] = True
        if processes.count() > 1 and step % self.config.log_every == 0:
            self.left_out = processes.mean(self.left_out.float()) > 0
        if not self._told and self.left_out.any() and processes.is_first():
            self._told = True
            name = self.train.name(int(self.left_out.nonzero()[0]))
            warn(f"{name} cannot be used: the next picture stands in for it. All such are named in left_out.txt")

    def status(self) -> dict[str, str]:
        """Images a second, and the share of the time spent waiting for data, since it was asked last."""
        now, (then, waited), steps = time.perf_counter(), self._since, self._steps
        self._since, self._steps = (now, self.batches.waited), 0
        seconds = max(now - then, 1e-9)
        return {"images/s": f"{steps * self.config.batch / seconds:.0f}",
                "waiting": f"{100 * (self.batches.waited - waited) / seconds:.0f} %"}  # fmt: skip

    def state_dict(self) -> State:
        """Which pictures were passed over."""
        return {"left_out": {"train": self.left_out}}

    def load_state_dict(self, state: State) -> None:
        """Goes on counting them."""
        found = state["left_out"]["train"]
        if found.shape != self.left_out.shape:
            raise UserError(f"the checkpoint is of {len(found)} training pictures, and {len(self.left_out)} are here")
        self.left_out = found.clone()

    @property
    def content(self) -> Content | None:
        """The user's pictures."""
        parts = [part.content() for part in (self.train, self.val) if isinstance(part, ClassFolder)]
        if not parts:
            return None
        return Content(kind=parts[0].kind, name=parts[0].name, records=sum(part.records for part in parts),
                       sha256=joined(part.sha256 for part in parts))  # fmt: skip

    # ---- scores and pictures

    def _scored(self) -> nn.Module:
        return self.modules["average" if self.config.ema else "network"].eval()

    @torch.no_grad()
    def _logits(self, pictures: Held) -> tuple[Float[Tensor, "n classes"], Int64[Tensor, " n"]]:
        """Of all pictures that can be used, with their classes, on the CPU."""
        network, found, labels = self._scored(), [], []
        for images, truth in pictures.batches(min(self.config.batch, 256), self.config.workers):
            there = truth != MISSING
            if there.any():
                found.append(network(self.inputs(images[there])).float().cpu())
                labels.append(truth[there])
        if not labels:
            raise UserError(f"--data-root: none of {len(pictures)} pictures of val/ can be used")
        return torch.cat(found), torch.cat(labels)

    def _held(self, train: bool, wanted: int) -> Held:
        pictures = self.train if train else self.val
        return Held(pictures, spread(len(pictures), wanted), self.config.size)

    def evaluate(self) -> dict[str, float]:
        """Accuracies and the loss of held-out pictures; see docs/metrics.md."""
        held = self._held(False, self.config.test_images)
        logits, labels = self._logits(held)
        self._missing = len(held) - len(labels)
        if self._missing:
            warn(f"{self._missing} of {len(held)} held-out pictures cannot be used and are left out of the scores")
        best = logits.topk(min(5, logits.shape[1]), 1).indices == labels[:, None]
        train, truth = self._logits(self._held(True, min(TRAIN_SCORED, len(held))))
        return {
            "score/top1": float(best[:, 0].float().mean()),
            "score/top5": float(best.any(1).float().mean()),
            "score/loss": float(F.cross_entropy(logits, labels)),
            "score/train_top1": float((train.argmax(1) == truth).float().mean()),
        }

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Held-out pictures with the class each is given, green where it is right; and the accuracy of some more."""
        held = self._held(False, min(PREVIEWED, self.config.test_images or PREVIEWED))
        logits, labels = self._logits(held)
        shown = self._held(False, SHOWN)
        images, truth = next(shown.batches(SHOWN, 0))
        with torch.no_grad():
            shares = self._scored()(self.inputs(images)).float().softmax(1).cpu()
        picture = labelled(images, shares, truth, self.train.classes)
        return picture, {"preview/top1": float((logits.argmax(1) == labels).float().mean())}

    def files(self) -> dict[str, bytes]:
        """``left_out.txt``: which training pictures cannot be used, where there are any."""
        rows = self.left_out.nonzero()[:, 0].tolist()
        if not rows:
            return {}
        more = [f"and {len(rows) - NAMED} more"] if len(rows) > NAMED else []
        lines = [f"{len(rows)} training pictures cannot be used:", *map(self.train.name, rows[:NAMED]), *more]
        return {"left_out.txt": "\n".join(lines).encode() + b"\n"}

    def examples(self) -> dict[str, Tensor]:
        """Two images."""
        size = self.config.size
        return {"network": self.inputs(torch.zeros(2, 3, size, size, dtype=torch.uint8))}

    def encoder(self, name: str = "") -> Encoder:
        """The classifier, which sees standardised images."""
        mean, deviation = (constant.cpu() for constant in self.constants)
        return Encoder(self.find_network(name), self.config.size,
                       lambda images: (images - mean.to(images)) / deviation.to(images))  # fmt: skip
