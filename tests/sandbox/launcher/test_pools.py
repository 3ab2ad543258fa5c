"""What a run of this machine gets of it: cores and devices."""

import pytest
from shop import WORKSHOP

from sandbox.base.cores import cores
from sandbox.cli.compare_parser import parse
from sandbox.launcher.pools import Local
from sandbox.launcher.runner import _pool

TOY = str(WORKSHOP / "toy.yaml")


@pytest.mark.parametrize(
    ("told", "pool", "slots"),
    [
        ({}, Local(1), [{}]),
        ({}, Local(2, 3), [{"OMP_NUM_THREADS": "3"}] * 2),
        ({}, Local(3, 1, 2), [{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": str(k)} for k in (0, 1, 0)]),
        ({"CUDA_VISIBLE_DEVICES": "4,7"}, Local(2, None, 2), [{"CUDA_VISIBLE_DEVICES": k} for k in ("4", "7")]),
    ],
)
def test_runs_at_a_time_share_cores_and_devices(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], pool: Local, slots: list[dict[str, str]]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert [pool._surroundings(slot) for slot in range(len(slots))] == slots


@pytest.mark.parametrize(
    ("flags", "environment", "threads"),
    [((), {}, None), (("--jobs", "2"), {}, max(1, cores() // 2)), (("--cpus", "3"), {}, 3),
     (("--jobs", "2"), {"OMP_NUM_THREADS": "5"}, None), (("--jobs", "2", "--cpus", "1"), {"OMP_NUM_THREADS": "5"}, 1)],
)  # fmt: skip
def test_threads_are_a_share_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], environment: dict[str, str], threads: int | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    pool = _pool(parse([TOY, "--device", "cpu", *flags]))
    assert isinstance(pool, Local)
    assert pool._threads == threads
