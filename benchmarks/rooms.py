"""How many rooms a second one core renders.

    python benchmarks/rooms.py [--size 64] [--batch 64] [--rounds 10] [--json FILE]

A round renders 256 rooms in batches; told are the median and the range over rounds, by the processor time of this
process (what the core gives alone, other work on it left out) and by the clock. Goal: 500 a second at 64x64.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
from machine import machine

from sandbox.base.guard import guarded
from sandbox.cli.flags import Parser, whole_number
from sandbox.data.rooms.rooms import SIZES, Rooms

ROOMS = 256


def measure(size: int, batch: int, rounds: int) -> dict[str, list[float]]:
    rooms = Rooms(0, size)
    rooms.render(np.arange(batch))
    rates: dict[str, list[float]] = {"processor": [], "clock": []}
    for turn in range(rounds):
        began = time.process_time(), time.perf_counter()
        for start in range(turn * ROOMS, (turn + 1) * ROOMS, batch):
            rooms.render(np.arange(start, start + batch))
        ended = time.process_time(), time.perf_counter()
        done = -(-ROOMS // batch) * batch
        for name, before, after in zip(rates, began, ended, strict=True):
            rates[name].append(done / (after - before))
    return rates


def main() -> None:
    parser = Parser("python benchmarks/rooms.py", "Rooms a second on one core.")
    parser.add_argument("--size", type=whole_number(*SIZES), default=64, help="pixels along an edge (default: 64)")
    parser.add_argument("--batch", type=whole_number(1, ROOMS), default=64, help="rooms at a time (default: 64)")
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=10, help="default: 10")
    parser.add_argument("--json", type=Path, help="writes the rates of every round there")
    options = parser.parse()
    print(machine())
    rates = measure(options.size, options.batch, options.rounds)
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.0f} rooms/s ({min(values):.0f} to {max(values):.0f})")
    if options.json:
        options.json.write_text(json.dumps({"size": options.size, "batch": options.batch, **rates}, indent=2) + "\n")


if __name__ == "__main__":
    guarded(main)
