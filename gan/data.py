"""What a GAN learns from, and how its samples are scored: shapes by what is in them, scenes by distances.

    data = make_data(config)
    data.images(np.arange(32))     # (32, 3, s, s) uint8; image i is always the same

Shapes have objects whose places can be read. Rooms, the drawn stand-in, and LSUN's photographs are scored alike, so
that what holds on the one can be looked for on the other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.stats import wasserstein_distance

from gan.spec import GanConfig
from sandbox.base.errors import UserError
from sandbox.data.lsun import open_images
from sandbox.data.rooms.rooms import Rooms
from sandbox.data.shapes import Factors, Separation, SortOfClevr
from sandbox.experiment.content import Content
from sandbox.scores import samples as metrics
from sandbox.scores.copies import copies
from sandbox.scores.warp import warp_coherence

Images = UInt8[np.ndarray, "n 3 h w"]
Generate = Callable[[int, int], Images]  # (number of samples, batch 0, 1, ...) -> images
HELD_OUT = 2000  # images of scenes that scores compare with; never trained on
PREVIEW = 256


class Data(ABC):
    """Images to train on, 0 to ``images - 1``, and the scores of samples."""

    def __init__(self, config: GanConfig) -> None:
        self.config = config
        self.content: Content | None = None  # of the user's own images

    @abstractmethod
    def images(self, indices: Any) -> Images:
        """The training images of these indices."""

    @abstractmethod
    def preview(self, samples: Images) -> dict[str, float]:
        """The score of the learning curve, from 256 samples."""

    @abstractmethod
    def scores(self, generate: Generate, paths: UInt8[np.ndarray, "n t 3 h w"]) -> dict[str, float]:
        """All scores, and what real data score; see docs/metrics.md."""


@lru_cache(maxsize=1)
def _factors(separation: Separation, images: int) -> Factors:
    """Those of all training images."""
    return SortOfClevr(separation=separation).factors(np.arange(images))


class Shapes(Data):
    """Two-object Sort-of-CLEVR, painted when it is asked for: cheaper than keeping 600 MB of it."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__(config)
        self.shapes = SortOfClevr(separation=config.separation)

    def images(self, indices: Any) -> Images:
        """Painted anew each time."""
        return self.shapes.render(indices).images

    def preview(self, samples: Images) -> dict[str, float]:
        """The share of valid images, and of those that repeat none of training."""
        new = {} if self.config.copies == "allowed" else {"preview/new_valid": self._copies(samples)["new_valid"]}
        return {"preview/valid": metrics.validity(samples).valid} | new

    def _copies(self, images: Images) -> dict[str, float]:
        return copies(images, _factors(self.config.separation, self.config.images)).scores()

    def scores(self, generate: Generate, paths: UInt8[np.ndarray, "n t 3 h w"]) -> dict[str, float]:
        """Validity, position divergence and coherence."""
        count = self.config.images
        centres = _factors(self.config.separation, count).centres
        real = self.images(np.arange(count, count + 4 * metrics.LOCATED))
        samples = generate(metrics.LOCATED, 0)
        divergence = metrics.position_divergence(
            lambda batch: samples if batch == 0 else generate(metrics.LOCATED, batch), centres
        )
        scores = {f"score/{k}": v for scored in (metrics.validity(samples), divergence, metrics.coherence(paths))
                  for k, v in scored.scores().items()}  # fmt: skip
        if self.config.copies == "excluded":
            scores |= {f"score/{k}": v for k, v in self._copies(samples).items()}
            scores |= {f"real/{k}": v for k, v in self._copies(real[: metrics.LOCATED]).items()}
        floor = metrics.position_divergence(lambda batch: real[batch * 1000 : (batch + 1) * 1000], centres)
        return scores | {
            "real/valid": metrics.validity(real[: metrics.LOCATED]).valid,
            "real/position_divergence": floor.mean,
        }


class Scenes(Data):
    """Rooms or LSUN: no objects to be read, so distances to held-out images, and how paths move."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__(config)
        self._held: Images | None = None
        if config.data == "rooms":
            self.rooms: Rooms | None = Rooms(0, config.size)
            # Drawing costs more than a step: each room is drawn once, when it is first wanted.
            self._bank = np.empty((config.images, 3, config.size, config.size), dtype=np.uint8)
            self._drawn = np.zeros(config.images, dtype=bool)
        else:
            self.rooms, cache = None, Path(config.data_cache) if config.data_cache else None
            wanted = config.images + HELD_OUT
            opened = open_images(Path(config.data_root), config.category, config.size, first=wanted, cache=cache,
                                 megapixels=config.megapixels)  # fmt: skip
            self._bank, self.content = opened.images, opened.content(wanted)
            self._refuse_too_few()

    def _refuse_too_few(self) -> None:
        there, wanted = len(self._bank), self.config.images
        if there < wanted + HELD_OUT:
            left = f"give --images {there - HELD_OUT} or fewer" if there >= HELD_OUT + 32 else "that is too few"
            raise UserError(f"{self.config.data_root} holds {there} images, but {wanted} to train on and {HELD_OUT} "
                            f"to score against are asked for: {left}")  # fmt: skip

    def images(self, indices: Any) -> Images:
        """Read, or drawn at the first time."""
        if self.rooms is not None:
            new = np.unique(indices[~self._drawn[indices]])
            if len(new):
                self._bank[new] = self.rooms.render(new).images
                self._drawn[new] = True
        found: Images = self._bank[indices]
        return found

    def held_out(self) -> Images:
        """Images nobody trains on."""
        if self._held is None:
            rows = np.arange(self.config.images, self.config.images + HELD_OUT)
            self._held = self.rooms.render(rows).images if self.rooms is not None else np.array(self._bank[rows])
        return self._held

    def preview(self, samples: Images) -> dict[str, float]:
        """The own-feature distance to as many held-out images."""
        from gan.features import room_kid  # here: what scores shapes needs no weights

        return {"preview/room_kid": room_kid(samples, self.held_out()[:PREVIEW])}

    def scores(self, generate: Generate, paths: UInt8[np.ndarray, "n t 3 h w"]) -> dict[str, float]:
        """Distances of 1000 samples to 1000 held-out images, coherence by warp, and what 1000 others of those score."""
        held = self.held_out()
        against, others = held[: HELD_OUT // 2], held[HELD_OUT // 2 :]
        scores = {f"score/{k}": v for k, v in distances(generate(HELD_OUT // 2, 0), against).items()}
        scores |= {f"score/{k}": v for k, v in warp_coherence(paths).scores().items()}
        return scores | {f"real/{k}": v for k, v in distances(others, against).items()}


def statistics(images: Images) -> dict[str, Float64[np.ndarray, " n"]]:
    """Three numbers an image, in grey levels: its mean, its standard deviation, its mean step between neighbours.

    Grey is the mean of the three channels; a step is |difference| to the right and to the lower neighbour, averaged.
    """
    grey = images.mean(axis=1, dtype=np.float64)
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    return {"brightness": grey.mean(axis=(1, 2)), "contrast": grey.std(axis=(1, 2)), "edges": (steps[0] + steps[1]) / 2}


def distances(a: Images, b: Images) -> dict[str, float]:
    """`gan.features.room_kid`, and the Wasserstein distances between the laws of the three `statistics`."""
    from gan.features import room_kid

    pairs = zip(statistics(a).items(), statistics(b).values(), strict=True)
    return {"room_kid": room_kid(a, b)} | {f"{k}_distance": float(wasserstein_distance(x, y)) for (k, x), y in pairs}


def make_data(config: GanConfig) -> Data:
    """The data a configuration names.

    Raises:
        UserError: LSUN is not where it says, or holds too few images; see `sandbox.data.lsun.open_images`.
    """
    return Shapes(config) if config.data == "shapes" else Scenes(config)
