"""The rate by step: where it rises, stays and falls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.train.schedule import cosine_decay


def test_a_schedule_by_hand() -> None:
    rates = [cosine_decay(step, 100, 0.5, 0.1) for step in (1, 5, 10, 30, 50, 75, 100)]
    assert rates == pytest.approx([0.1, 0.5, 1, 1, 1, 0.5, 0])
    assert cosine_decay(1, 100, 0.0) == cosine_decay(100, 100, 0.0) == 1


@given(st.integers(1, 1000), st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1))
def test_a_rate_is_a_share(step: int, steps: int, share: float, rise: float) -> None:
    assert 0 <= cosine_decay(min(step, steps), steps, share, rise) <= 1
