"""Two arms over the same seeds, and what the rule concludes from them, for tests."""

import numpy as np

from sandbox.report.stats import Better, Paired, conclusion, paired, t_test
from sandbox.report.verdicts import verdict


def seeded(values: list[float]) -> dict[int, float | None]:
    return {seed: float(value) for seed, value in enumerate(values)}


def compare(reference: list[float], arm: list[float], better: Better = "higher") -> Paired:
    return paired(seeded(reference), seeded(arm), better)


def outcome(result: Paired, better: Better = "higher") -> str:
    return verdict(result, better, result.p_t, 1).outcome


def judge(both: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From (b, n, 2) arms: each experiment's conclusion, its p, and whether its interval leaves zero out."""
    d = both[..., 0] - both[..., 1]
    test = t_test(d, 16 * np.finfo(float).eps * np.abs(both).max(axis=-1))
    return conclusion(d.shape[1], test.low, test.high, test.p), test.p, (test.low > 0) | (test.high < 0)
