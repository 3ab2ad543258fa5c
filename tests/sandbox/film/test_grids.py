"""Maps as pictures."""

import numpy as np

from sandbox.film.grids import shaded


def test_a_map_goes_from_white_to_black_and_shows_where_nothing_is() -> None:
    values = np.array([[0.0, 1.0], [2.0, np.nan]])
    picture = shaded(values, 2.0, zoom=3)
    assert picture.shape == (6, 6, 3)
    np.testing.assert_array_equal(picture[::3, ::3], [[[255] * 3, [127] * 3], [[0] * 3, [200, 215, 230]]])
    np.testing.assert_array_equal(shaded(9 * values, 2.0)[:, 0, 0], [255, 0])
