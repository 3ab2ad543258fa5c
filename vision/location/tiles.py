"""Tiles on an empty canvas: what they show, and in which cell each lies."""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sandbox.data.cifar import read_cifar
from sandbox.data.held_out import first_test
from sandbox.data.images import resized
from sandbox.data.shapes import SortOfClevr
from vision.classify.study import Examples
from vision.location.spec import TILE, LocationConfig


class Canvases(Examples):
    """Tiles that lie in a cell of a canvas each; the canvas is 0, between a tile's black, -1, and white, 1.

    Args:
        tiles: bytes, ``(n, 3, 32, 32)``; several canvases may show the same one.
        shown: which tile each canvas shows, ``(m,)``.
        cells: where, counted row by row from the upper left, ``(m,)``.
        labels: of the canvases, ``(m,)``.
        grid: cells along the canvas's edge.
    """

    def __init__(
        self, tiles: UInt8[Tensor, "n 3 e e"], shown: Int64[Tensor, " m"], cells: Int64[Tensor, " m"],
        labels: Int64[Tensor, " m"], grid: int,
    ) -> None:  # fmt: skip
        super().__init__(tiles, labels)
        self.shown, self.cells, self.grid = shown, cells, grid

    def inputs(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """Some of the canvases, ``grid`` times as large as a tile."""
        tiles = super().inputs(self.shown[rows])
        there = torch.nn.functional.one_hot(self.cells[rows], self.grid**2).to(tiles)
        laid: Tensor = torch.einsum("bk,bchw->bckhw", there, tiles)
        laid = laid.unflatten(2, (self.grid, self.grid))  # row, column, h, w
        return laid.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3).contiguous()


def make_canvases(config: LocationConfig, device: torch.device) -> tuple[Canvases, Canvases]:
    """Training canvases, tile k in cell k modulo their number, and test canvases, each tile in every cell.

    Raises:
        UserError: CIFAR-10 is not in ``data_root``, or holds fewer images than asked for.
    """
    grid, cells = int(config.grid), config.cells
    made = []
    for train, repeats in ((True, 1), (False, cells)):
        if config.data == "shapes":
            tiles, kinds = _shapes(config, train)
        else:
            tiles, kinds = read_cifar(config.data_root, config.images if train else config.test_images, train)
        count = len(tiles) * repeats
        shown = np.arange(count) // repeats
        where = np.arange(count) % cells
        labels = where if config.asks == "location" else kinds[shown]
        images, which, places, classes = (torch.from_numpy(part).to(device) for part in (tiles, shown, where, labels))
        made.append(Canvases(images, which, places, classes, grid))
    return made[0], made[1]


def _shapes(config: LocationConfig, train: bool) -> tuple[UInt8[np.ndarray, "n 3 e e"], Int64[np.ndarray, " n"]]:
    """Sort-of-CLEVR at half its size, and 2 x (the red object is a disc) + (the blue one is), or the latter alone."""
    first, count = (0, config.images) if train else (first_test(config.images), config.test_images)
    shapes = SortOfClevr().render(first + np.arange(count))
    red, blue = shapes.kinds.T
    return resized(shapes.images, TILE), 2 * red + blue if config.objects == "2" else blue
