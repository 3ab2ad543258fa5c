"""Objects in a quadrant that training left empty: how far off their reconstructions are, and a map of it.

The split is that of Liu et al. 2018 (arXiv 1807.03247), section 2, for images of two objects; nobody published it.
"""

import numpy as np
from jaxtyping import Float64, UInt8

from sandbox.data.shapes import Factors, SortOfClevr
from sandbox.film.encode import png
from sandbox.film.grids import shaded
from vae.scores import PositionError, position_error
from vae.spec import VaeConfig

_CELL = 2  # pixels along a cell of the map
_ZOOM = 10  # of its picture
_BLACK = 10.0  # pixels of error: half an object


def unseen_data(config: VaeConfig) -> SortOfClevr:
    """Images with an object in the quadrant, which no training image has."""
    return SortOfClevr(separation=config.separation, quadrant="occupied")


def unseen_error(images: UInt8[np.ndarray, "n 3 h w"], factors: Factors) -> PositionError:
    """`vae.scores.position_error` of those objects alone whose centre lies in the quadrant."""
    return position_error(images, factors).of(SortOfClevr.in_quadrant(factors.centres))


def errors_by_place(images: UInt8[np.ndarray, "n 3 h w"], factors: Factors) -> Float64[np.ndarray, "cells cells"]:
    """Mean position error in pixels of the objects whose centre lies in each cell of 2x2; NaN where none does.

    Rows and columns from 10 to 53, where centres can be: 22 cells each.
    """
    low, cells = SortOfClevr.radius, (SortOfClevr.size - 2 * SortOfClevr.radius) // _CELL
    placed = position_error(images, factors)
    places = ((factors.centres - low) // _CELL).reshape(-1, 2)
    flat = places[:, 0] * cells + places[:, 1]
    counts = np.bincount(flat, minlength=cells * cells)
    sums = np.bincount(flat, weights=placed.errors.ravel(), minlength=cells * cells)
    return (sums / np.where(counts > 0, counts, np.nan)).reshape(cells, cells)


def map_of_errors(images: UInt8[np.ndarray, "n 3 h w"], factors: Factors) -> bytes:
    """`errors_by_place` as a PNG: white none, black ten pixels and more, blue where nothing is; the quadrant framed."""
    picture = shaded(errors_by_place(images, factors), _BLACK, _ZOOM)
    edge = (SortOfClevr.size // 2 - SortOfClevr.radius) // _CELL * _ZOOM
    picture[edge : edge + 2, edge:] = picture[edge:, edge : edge + 2] = (213, 94, 0)
    return png(picture)
