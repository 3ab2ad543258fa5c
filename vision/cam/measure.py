"""What cropping does to class activation maps beyond cropping them: over images, crops and two comparisons.

For each image and crop, of the class that the network gives the whole image:

* ``crop``: the image and its crop. A region that follows the content stays where it is in the image's coordinates.
* ``control``: the image with what the crop takes away painted over, and the same canvas rolled, so that the same
  pixels lie elsewhere. The size stays the same, and nothing but the place on the canvas changes.

Each on two sets of cells, see `vision.cam.crops.Crop.windows`: ``inside`` and ``all``.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vision.cam.crops import Crop, Maps, centre, crops_of
from vision.cam.maps import Classifier

FAINT = 0.01  # of a map's largest value: a region that is nowhere stronger among the compared cells is not there
CHUNK = 16  # images at a time
COMPARISONS = ("crop", "control")
CELLS = ("inside", "all")


@dataclass(frozen=True)
class Moves:
    """What was measured: for each image (rows) and each crop (columns), not a number where it is undefined.

    Attributes:
        crops: of the columns.
        displacement: (comparison, cells) -> pixels.
        correlation: the same -> -1 to 1.
    """

    crops: tuple[Crop, ...]
    displacement: Mapping[tuple[str, str], Float[np.ndarray, "images crops"]]
    correlation: Mapping[tuple[str, str], Float[np.ndarray, "images crops"]]

    def scores(self) -> dict[str, float]:
        """Means over what is defined; ``measurable`` is the share of image and crop for which the displacement is."""
        found = {}
        for (comparison, cells), moved in self.displacement.items():
            start = "score/" if comparison == "crop" else f"score/{comparison}_"
            end = "" if cells == "inside" else f"_{cells}"
            found[f"{start}displacement{end}"] = _mean(moved)
            found[f"{start}correlation{end}"] = _mean(self.correlation[comparison, cells])
            found[f"{start}measurable{end}"] = float(np.isfinite(moved).mean())
        known = self.displacement["crop", "inside"]
        known = known[np.isfinite(known)]
        found["score/displacement_median"] = float(np.median(known)) if known.size else float("nan")
        return found

    def csv(self) -> bytes:
        """A table: a row for each image, crop, comparison and set of cells; empty where undefined."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("image", "side", "pixels", "comparison", "cells", "displacement", "correlation"))
        for key, moved in self.displacement.items():
            for (image, k), value in np.ndenumerate(moved):
                numbers = (value, self.correlation[key][image, k])
                texts = ["" if np.isnan(number) else f"{number:.6g}" for number in numbers]
                rows.writerow((image, self.crops[k].side, self.crops[k].pixels, *key, *texts))
        return text.getvalue().encode()


def _mean(values: Float[np.ndarray, "images crops"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def compared(
    first: Maps, second: Maps, stride: int, least: tuple[Float[Tensor, " b"], Float[Tensor, " b"]]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """How far apart the regions of two maps lie, in pixels, and Pearson's correlation of the maps; on the same pixels.

    The place of a region is the centre of mass of its map, 0 and up. Both are undefined, not a number, where one of the
    maps nowhere exceeds what a region must; the correlation also where one of the maps is the same everywhere.

    Args:
        first, second: the cells that both show, of each pair of maps.
        stride: pixels from cell to cell.
        least: of the first and the second map, the value above which a region is there.
    """
    there = torch.ones(len(first), dtype=torch.bool, device=first.device)
    if 0 in first.shape[1:]:
        return torch.full_like(first.new_empty(len(first)), torch.nan), first.new_full((len(first),), torch.nan)
    for maps, limit in zip((first, second), least, strict=True):
        there &= maps.amax((1, 2)) > limit
    apart = torch.linalg.vector_norm(centre(first) - centre(second), dim=1) * stride
    a, b = (maps.flatten(1).double() for maps in (first, second))
    a, b = (part - part.mean(1, keepdim=True) for part in (a, b))
    lengths = torch.linalg.vector_norm(a, dim=1), torch.linalg.vector_norm(b, dim=1)
    alive = there & (lengths[0] > 1e-6 * first.amax((1, 2))) & (lengths[1] > 1e-6 * second.amax((1, 2)))
    alike = ((a * b).sum(1) / (lengths[0] * lengths[1])).clamp(-1, 1).float()
    nothing = torch.full_like(apart, torch.nan)
    return torch.where(there, apart, nothing), torch.where(alive, alike, nothing)


def measure(classifier: Classifier, images: Float[Tensor, "n 3 h w"], crops: tuple[Crop, ...] | None = None) -> Moves:
    """How far the regions of images move under crops and on a shifted canvas; the class is that of the whole image.

    Args:
        classifier: whose maps.
        images: square, in [0, 1].
        crops: which; None: all of `crops_of`.

    Raises:
        UserError: captum is not installed; the images are too small for a crop.
    """
    crops = crops_of(images.shape[-1], classifier.field.stride) if crops is None else crops
    parts = [_measure(classifier, part, crops) for part in images.split(CHUNK)]
    keys = [(comparison, cells) for comparison in COMPARISONS for cells in CELLS]
    tables = [{key: np.concatenate([part[key][k] for part in parts]) for key in keys} for k in (0, 1)]
    return Moves(crops, tables[0], tables[1])


Pair = tuple[Float[np.ndarray, "images crops"], Float[np.ndarray, "images crops"]]


def _measure(
    classifier: Classifier, images: Float[Tensor, "n 3 h w"], crops: tuple[Crop, ...]
) -> dict[tuple[str, str], Pair]:
    """Displacement and correlation of some images, a column a crop, by comparison and cells."""
    stride, classes = classifier.field.stride, classifier.logits(images).argmax(1)
    whole = classifier.maps(images, classes)
    columns: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = {}
    for crop in crops:
        canvases = crop.blanked(images)
        shown = [(whole, classifier.maps(crop.of(images), classes)),
                 (classifier.maps(canvases, classes), classifier.maps(crop.moved(canvases), classes))]  # fmt: skip
        along = shown[0][1].shape[2 if crop.sideways else 1]
        for cells, windows in crop.windows(classifier.field, whole.shape[-1], along).items():
            for comparison, (first, second), window in zip(COMPARISONS, shown, windows, strict=True):
                least = FAINT * first.amax((1, 2)), FAINT * second.amax((1, 2))
                found = compared(window.of_first(first), window.of_second(second), stride, least)
                columns.setdefault((comparison, cells), []).append(found)
    return {
        key: (_table([moved for moved, _ in found]), _table([alike for _, alike in found]))
        for key, found in columns.items()
    }


def _table(columns: list[Tensor]) -> Float[np.ndarray, "images crops"]:
    return torch.stack(columns, 1).cpu().numpy().astype(np.float64)
