"""The depth study: a network estimates the depth of drawn rooms; then a box is moved, and only what it reads changes.

After van Dijk and de Croon 2019 (arXiv 1905.07005), who found that a network for streets reads depth from where an
obstacle touches the ground. Sizes of boxes vary in training independently of distance, so that the data do not decide
the question. Loss: mean absolute difference of logarithms, of all pixels and of the boxes' fronts.
"""

import csv
import io

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from sandbox.base.types import PathKind, Picture, Walks
from sandbox.data.held_out import first_test
from sandbox.data.rooms.empty import EmptyRendered, EmptyRooms
from sandbox.film.cells import in_a_row, in_rows, shown
from sandbox.nn.coordconv import CoordConv2d
from sandbox.nn.padded import make_convolutions
from vision.classify.study import CHUNK, ClassifierStudy, Examples
from vision.depth.conditions import FARTHEST, levels, of_the_box, scenes, slope
from vision.depth.pictures import curves, depth_picture
from vision.depth.spec import CONDITIONS, DepthConfig
from vision.segment.unet import EncoderDecoder

_TYPICAL = 3.0  # metres: what an untrained network says everywhere
_PREVIEWED = 16  # rooms of a learning curve's slope
_SHOWN = 8


class Depths(Examples):
    """Images with the depth of every pixel and where a box's front is.

    Args:
        shown: the rooms.
        device: where they go.
    """

    def __init__(self, shown: EmptyRendered, device: torch.device) -> None:
        images = torch.from_numpy(shown.images).to(device)
        super().__init__(images, torch.zeros(len(images), dtype=torch.int64, device=device))
        self.depths: Float[Tensor, "n h w"] = torch.from_numpy(shown.depths).to(device)
        self.front: Bool[Tensor, "n h w"] = torch.from_numpy(shown.front).to(device)


class DepthStudy(ClassifierStudy[DepthConfig]):
    """A network that estimates depth, and what it reads it from."""

    film_frames, film_grid, film_fps = 24, (2, 1), 8
    train: Depths
    test: Depths

    def __init__(self, config: DepthConfig, fabric: Fabric) -> None:
        self.rooms = EmptyRooms()
        super().__init__(config, fabric)
        if config.rows_only:
            _keep_rows(self.network)
        self._truths: dict[tuple[int, int], Float64[np.ndarray, "levels n"]] = {}
        self._found: dict[str, tuple[Float64[np.ndarray, "levels n"], Float64[np.ndarray, "levels n"]]] | None = None

    def make_data(self) -> tuple[Depths, Depths]:
        """Rooms with a box each."""
        c = self.config
        return self._drawn(np.arange(c.images)), self._drawn(self._held_out(c.test_images))

    def _held_out(self, count: int) -> Int64[np.ndarray, " n"]:
        return first_test(self.config.images) + np.arange(count)

    def _drawn(self, indices: Int64[np.ndarray, " n"]) -> Depths:
        return Depths(self.rooms.render(indices, self.rooms.draw(indices)), self.fabric.device)

    def make_network(self) -> nn.Module:
        """An encoder-decoder with one output: the logarithm of depth over three metres."""
        c = self.config
        convs = make_convolutions(c.coord, c.coord_layers, c.with_r, c.padding)
        return EncoderDecoder(convs, c.padding, c.width, 1)

    def losses(self, rows: Int64[Tensor, " b"], step: int) -> dict[str, Tensor]:
        """Mean absolute difference of logarithms, of all pixels and once more of the boxes' fronts."""
        self._found = None  # of weights that are no more
        with self.fabric.autocast():
            said = self.network(self.train.inputs(rows))
        truth = (self.train.depths[rows] / _TYPICAL).log()
        error, front = (said[:, 0].float() - truth).abs(), self.train.front[rows]
        of_boxes = (error * front).sum() / front.sum().clamp_min(1)
        return {"loss/train": error.mean() + self.config.box_weight * of_boxes}

    # ---- scores

    @torch.no_grad()
    def estimated(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Metres, in evaluation mode."""
        self.network.eval()
        found: Tensor = _TYPICAL * self.network(images)[:, 0].exp()
        return found

    def of_bytes(self, images: UInt8[np.ndarray, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Metres, of images as bytes."""
        parts = torch.from_numpy(images).to(self.fabric.device).split(CHUNK)
        return torch.cat([self.estimated(part.float() / 127.5 - 1) for part in parts])

    def error(self, data: Depths, count: int, front: bool = False) -> float:
        """Mean of |estimated - true| / true over the pixels of some rooms, or over their boxes' fronts."""
        total, pixels = 0.0, 0
        for rows in data.rows(count).split(CHUNK):
            relative = (self.estimated(data.inputs(rows)) / data.depths[rows] - 1).abs()
            part = relative[data.front[rows]] if front else relative.flatten()
            total, pixels = total + float(part.double().sum()), pixels + len(part)
        return total / pixels if pixels else float("nan")

    def _true(self, count: int, number: int) -> Float64[np.ndarray, "levels n"]:
        """How far away the box is in ``count`` rooms at ``number`` distances, where position and size both say so."""
        if (count, number) not in self._truths:
            rows = self._held_out(count)
            seen = [scenes(self.rooms, rows, "both", level) for level in levels(number)]
            self._truths[count, number] = np.stack([of_the_box(each.depths, each) for each in seen])
        return self._truths[count, number]

    def moved(self, condition: str, count: int, number: int) -> tuple[Float64[np.ndarray, "levels n"],
                                                                      Float64[np.ndarray, "levels n"]]:  # fmt: skip
        """Estimated and true depth of the box in ``count`` rooms at ``number`` distances; truth as position has it."""
        rows, estimates = self._held_out(count), []
        for level in levels(number):
            seen = scenes(self.rooms, rows, condition, level)
            estimates.append(of_the_box(self.of_bytes(seen.images).cpu().numpy(), seen))
        return np.stack(estimates), self._true(count, number)

    @property
    def found(self) -> dict[str, tuple[Float64[np.ndarray, "levels n"], Float64[np.ndarray, "levels n"]]]:
        """`moved` under every condition, in all held-out rooms."""
        if self._found is None:
            self._found = {name: self.moved(name, self.config.test_images, self.config.levels) for name in CONDITIONS}
        return self._found

    def evaluate(self) -> dict[str, float]:
        """Slopes and errors; see docs/metrics.md."""
        count = len(self.test)
        return {
            **{f"score/slope_{name}": slope(*self.found[name]) for name in CONDITIONS},
            "score/relative_error": self.error(self.test, count),
            "score/train_error": self.error(self.train, count),
            "score/box_error": self.error(self.test, count, front=True),
        }

    # ---- pictures

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Held-out rooms, each beside its depth and the estimate; the error, and the slope of a few rooms."""
        rows = self.test.rows(_SHOWN)
        images, found = self.test.inputs(rows), self.estimated(self.test.inputs(rows))
        cells = [in_a_row([shown((image + 1) / 2), depth_picture(truth), depth_picture(said)])
                 for image, truth, said in zip(images, self.test.depths[rows], found, strict=True)]  # fmt: skip
        few = min(_PREVIEWED, self.config.test_images)
        return in_rows(cells, columns=2), {
            "preview/slope_position": slope(*self.moved("position", few, 2)),
            "preview/relative_error": self.error(self.test, 64),
        }

    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """A box that moves away in some held-out rooms, beside the estimate."""
        rows = self._held_out(count)
        pictures = []
        for t in range(frames):
            seen = scenes(self.rooms, rows, "both", 1 + (FARTHEST - 1) * t / (frames - 1))
            pairs = zip(torch.from_numpy(seen.images), self.of_bytes(seen.images), strict=True)
            pictures.append([in_a_row([shown(image.float() / 255), depth_picture(said)]) for image, said in pairs])
        return np.array(pictures).transpose(0, 1, 4, 2, 3)

    def files(self) -> dict[str, bytes]:
        """``depth.png``: the curves and the rooms under every condition; ``depth.csv``: every estimate."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("condition", "level", "room", "estimated", "true"))
        for name, (estimates, truth) in self.found.items():
            for level, row, true in zip(levels(self.config.levels), estimates, truth, strict=True):
                table.writerows((name, f"{level:.3f}", k, f"{said:.4f}", f"{is_:.4f}")
                                for k, (said, is_) in enumerate(zip(row, true, strict=True)))  # fmt: skip
        one, rows = self._held_out(1), []
        for name in CONDITIONS:
            cells = []
            for level in levels(3):
                seen = scenes(self.rooms, one, name, level)
                cells += [shown(torch.from_numpy(seen.images[0]).float() / 255),
                          depth_picture(self.of_bytes(seen.images)[0])]  # fmt: skip
            rows.append(in_a_row(cells))
        return {"depth.png": curves(self.found, dict(zip(CONDITIONS, rows, strict=True))),
                "depth.csv": text.getvalue().encode()}  # fmt: skip


def _keep_rows(network: nn.Module) -> None:
    """Takes the column's coordinate away: its weights are zero and learn nothing."""
    for layer in network.modules():
        if isinstance(layer, CoordConv2d):
            weight = layer.coordinate_weight
            rows = torch.zeros_like(weight)
            rows[:, 0] = 1
            weight.data *= rows
            weight.register_hook(lambda grad, rows=rows: grad * rows)
