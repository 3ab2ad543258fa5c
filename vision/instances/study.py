"""The instances study: trains a U-Net to tell objects apart that look the same, and measures which it tells apart."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.experiment.content import Content
from sandbox.film.cells import in_rows
from sandbox.nn.seeding import seed_parameters
from vision.classify.study import ClassifierStudy
from vision.instances.found import Found, k_means, mean_shift
from vision.instances.losses import embedding_losses
from vision.instances.matching import average_precision, scored
from vision.instances.networks import InstanceNet
from vision.instances.pictures import as_colours, claims, objects, panels
from vision.instances.scenes import Scenes, make_scenes
from vision.instances.solo import find_objects, solo_losses
from vision.instances.spec import InstancesConfig
from vision.instances.theory import distinct_share, table

_CHUNK = 16  # images at a time outside training
_PREVIEWED = 2  # test images of a learning curve and of the pictures: mean shift takes half a second each
_SURE = 0.3  # score from which on what SOLO finds is counted and shown; its AP takes all
Ids = UInt8[np.ndarray, "n h w"]
Output = Tensor | tuple[Tensor, Tensor]  # embeddings and the foreground's logit, or SOLO's cells and masks


class InstancesStudy(ClassifierStudy[InstancesConfig]):
    """A network that segments objects, and how well it tells them apart.

    Module: ``network``. Training runs in the run's precision, all scores in float32.
    """

    film_frames, film_grid, film_fps = 12, (1, 1), 4
    network: InstanceNet
    train: Scenes
    test: Scenes

    def make_data(self) -> tuple[Scenes, Scenes]:
        """Images with the number of the object that each pixel belongs to."""
        train, test, self._content = make_scenes(self.config, self.fabric.device)
        return train, test

    @property
    def content(self) -> Content | None:
        """What a user's own pictures are."""
        return self._content

    def make_network(self) -> InstanceNet:
        """The configuration's U-Net and head."""
        return InstanceNet(self.config)

    @property
    def solo(self) -> bool:
        """Whether the head is SOLO's, which has no embedding."""
        return self.config.head == "solo"

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """The head's losses; see docs/metrics.md."""
        with self.fabric.autocast():
            out = self.network(self.train.inputs(rows))
        c, ids = self.config, self.train.ids[rows]
        if isinstance(out, tuple):
            return solo_losses(out[0].float(), out[1].float(), ids)
        return embedding_losses(out.float(), ids, c.loss, c.pull_margin, c.push_margin)

    # ---- what is found

    @torch.no_grad()
    def outputs(self, images: Float[Tensor, "b 3 h w"]) -> list[Output]:
        """What the network says of each image, in evaluation mode."""
        self.network.eval()
        said = [self.network(part) for part in images.split(_CHUNK)]
        return [each for out in said for each in (zip(*out, strict=True) if isinstance(out, tuple) else out)]

    def find(self, outputs: Sequence[Output]) -> list[Found]:
        """The objects found in some images, by mean shift or by SOLO's own suppression."""
        c = self.config
        return [find_objects(*out, c.size) if isinstance(out, tuple) else mean_shift(*_parts(out), c.push_margin)
                for out in outputs]  # fmt: skip

    def evaluate(self) -> dict[str, float]:
        """Pairs told apart, symmetric best Dice, counts, average precision; see docs/metrics.md."""
        outputs = self.outputs(self.test.inputs(self.test.rows()))
        ids = self.test.ids.cpu().numpy()
        found = self.find(outputs)
        scores = average_precision(found, ids)
        scores |= scored([each.above(_SURE) for each in found] if self.solo else found, ids)
        if vectors := [out for out in outputs if not isinstance(out, tuple)]:
            scores |= self._of_embeddings(vectors, ids)
        return {f"score/{name}": value for name, value in scores.items()}

    def _of_embeddings(self, outputs: Sequence[Tensor], ids: Ids) -> dict[str, float]:
        """What k-means finds with the true number, and which embeddings differ at all, now and before training."""
        counts = self.test.labels.tolist()
        known = scored([k_means(*_parts(out), count) for out, count in zip(outputs, counts, strict=True)], ids)
        vectors = torch.stack([out[:-1] for out in outputs])
        few = self.test.rows(_PREVIEWED)
        untrained = self.make_network()
        seed_parameters(untrained, self.config.seed, "network")
        with torch.no_grad():
            before = untrained.to(self.fabric.device).eval()(self.test.inputs(few))[:, :-1]
        return {
            "pairs_kmeans": known["pairs"],
            "sbd_kmeans": known["sbd"],
            "distinct": distinct_share(vectors, self.test.ids),
            "distinct_untrained": distinct_share(before, self.test.ids[few]),
        }

    # ---- pictures and tables

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Test images, each beside its objects, what is found and the embedding; pairs told apart and best Dice."""
        rows = self.test.rows(_PREVIEWED)
        images, ids = self.test.images[rows].float().cpu() / 255, self.test.ids[rows].cpu().numpy()
        outputs = self.outputs(self.test.inputs(rows))
        found = self.find(outputs)
        sure = [each.above(_SURE) for each in found] if self.solo else found
        scores = scored(sure, ids)
        pictures = [panels([image, objects(each), claims(said, each), self._inside(out, each)])
                    for image, each, said, out in zip(images, ids, sure, outputs, strict=True)]  # fmt: skip
        return in_rows(pictures, columns=1), {f"preview/{name}": scores[name] for name in ("pairs", "sbd")}

    def _inside(self, out: Output, ids: UInt8[np.ndarray, "h w"]) -> Float[Tensor, "3 h w"]:
        """The embedding's first two numbers as colours; of SOLO the probability of each cell, dark where it is high."""
        if not isinstance(out, tuple):
            vectors, foreground = _parts(out)
            return as_colours(torch.from_numpy(vectors), foreground)
        cells = 1 - out[0].sigmoid().cpu()
        return torch.nn.functional.interpolate(cells[None, None], size=ids.shape)[0].expand(3, -1, -1)

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """Test images that roll once around, down and to the right, each beside what is found."""
        return np.stack([self._rolling(k % len(self.test), frames) for k in range(count)], 1).transpose(0, 1, 4, 2, 3)

    def _rolling(self, number: int, frames: int) -> UInt8[np.ndarray, "t _ _ 3"]:
        image, ids = self.test.images[number], self.test.ids[number].cpu().numpy()
        ways = [round(t * image.shape[2] / frames) for t in range(frames)]
        moved = torch.stack([image.roll((way, way), (1, 2)) for way in ways])
        found = self.find(self.outputs(self.test.bordered(moved.float() / 127.5 - 1)))
        if self.solo:
            found = [each.above(_SURE) for each in found]
        return np.stack([panels([one.float().cpu() / 255, claims(said, np.roll(ids, (way, way), (0, 1)))])
                         for one, said, way in zip(moved, found, ways, strict=True)])  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """Of a grid the share of pairs that symmetry lets differ, at every spacing, beside this network untrained."""
        if self.config.data != "grid" or self.solo:
            return {}
        return {"untrained.csv": table(self.config)}


def _parts(out: Float[Tensor, "d h w"]) -> tuple[Float[np.ndarray, "d2 h w"], Float[np.ndarray, "h w"]]:
    """Embeddings and the probability of the foreground."""
    return out[:-1].cpu().numpy(), out[-1].sigmoid().cpu().numpy()
