"""Whole training steps of a coordinate arm against its plain arm, in turn in one run.

    python benchmarks/steps.py [--only gan vae padding a2c] [--rounds 15] [--seconds 1.5] [--precision 32] [--json FILE]

The default GAN, the VAE, the padding classifier and A2C on Ms. Pac-Man: each as `python -m sandbox.compare` would train
it, with the settings of its configuration. A round times the same number of steps of both arms, in an order that
alternates; the ratio is the median over rounds of coord's time to conv's. Goal: at most 1.03 each.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from machine import machine

from sandbox.base.guard import guarded
from sandbox.base.memory import keep_freed_memory
from sandbox.cli.flags import Parser, positive, whole_number
from sandbox.experiment.file import load_experiment
from sandbox.experiment.run import Run
from sandbox.train.device import resolve_device, resolve_precision
from sandbox.train.make import build
from sandbox.train.study import Study

GOAL = 1.03
PAIRS = {  # config, plain arm, coordinate arm
    "gan": ("gan/sort_of_clevr", "conv", "coord"),
    "vae": ("vae/sort_of_clevr", "conv", "coord"),
    "padding": ("vision/padding", "zeros", "zeros_coord"),
    "a2c": ("rl/mspacman", "conv", "coord"),
}


def make(config: str, arm: str, device: str, precision: str) -> Study[Any]:
    experiment = load_experiment(config)
    settings = experiment.resolve(arm, {"precision": precision}, task=next(iter(experiment.tasks), None))
    run = Run(Path("nowhere"), experiment.study, experiment.name, arm, precision, settings)
    return build(run, device)


def timed(study: Study[Any], first: int, count: int) -> float:
    began = time.perf_counter()
    for step in range(first, first + count):
        study.step(step)
    return (time.perf_counter() - began) / count


def measure(name: str, device: str, precision: str, rounds: int, least: float) -> dict[str, Any]:
    """Milliseconds of a step of both arms, and the ratio of each round."""
    config, *arms = PAIRS[name]
    sides = [make(config, arm, device, precision) for arm in arms]
    stretch = getattr(sides[0].config, "penalty_every", 1) or 1
    warm = [timed(side, 1, 2 * stretch) for side in sides]
    count = stretch * max(1, round(least / stretch / max(warm)))
    step, times = 1 + 2 * stretch, []
    for number in range(rounds):
        row = [0.0, 0.0]
        for place in (number % 2, 1 - number % 2):
            row[place] = timed(sides[place], step, count)
        step += count
        times.append(row)
    ratios = [coord / conv for conv, coord in times]
    conv, coord = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {"conv_ms": conv, "coord_ms": coord, "ratio": statistics.median(ratios), "rounds": ratios}


def main() -> None:
    parser = Parser("python benchmarks/steps.py", __doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=15)
    parser.add_argument("--seconds", type=positive, default=1.5, help="that each side takes in a round, about")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "32", "bf16"], default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    keep_freed_memory()
    print(f"{machine(device)}, {precision}")
    found = {}
    for name in options.only:
        row = found[name] = measure(name, device, precision, options.rounds, options.seconds)
        low, high = min(row["rounds"]), max(row["rounds"])
        reached = "reached" if row["ratio"] <= GOAL else "missed"
        times = f"conv {row['conv_ms']:8.1f} ms, coord {row['coord_ms']:8.1f} ms a step"
        print(f"{name:8} {times}; ratio {row['ratio']:.3f} (rounds {low:.2f} to {high:.2f}), "
              f"goal {GOAL}: {reached}", flush=True)  # fmt: skip
    if options.json:
        document = {"machine": machine(device), "precision": precision, "pairs": found}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    guarded(main)
