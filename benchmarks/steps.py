"""Whole training steps of a coordinate arm against its plain arm, in turn in one run.

    python benchmarks/steps.py [--only gan vae padding a2c] [--rounds 15] [--seconds 1.5] [--precision 32]
                               [--compile] [--layouts] [--json FILE]

The default GAN, the VAE, the padding classifier and A2C on Ms. Pac-Man: each as `python -m sandbox.compare` would train
it, with the settings of its configuration. A round times the same number of steps of both arms, in an order that
alternates; the ratio is the median over rounds of coord's time to conv's. Goal: at most 1.03 each. With ``--layouts``
each arm runs against itself: its weights in the layout that runs have against ``torch.contiguous_format``.
"""

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import machine, wait

from sandbox.base.guard import guarded
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


def make(config: str, arm: str, device: str, settings: dict[str, Any]) -> Study[Any]:
    experiment = load_experiment(config)
    resolved = experiment.resolve(arm, settings, task=next(iter(experiment.tasks), None))
    run = Run(Path("nowhere"), experiment.study, experiment.name, arm, settings["precision"], resolved)
    return build(run, device)


def timed(study: Study[Any], first: int, count: int) -> float:
    device = study.fabric.device.type
    wait(device)
    began = time.perf_counter()
    for step in range(first, first + count):
        study.step(step)
    wait(device)
    return (time.perf_counter() - began) / count


def contiguous(study: Study[Any]) -> Study[Any]:
    for module in study.modules.values():
        module.to(memory_format=torch.contiguous_format)
    return study


def measure(sides: list[Study[Any]], rounds: int, least: float) -> dict[str, Any]:
    """Milliseconds of a step of both sides, and the ratio of the second to the first in each round."""
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
    ratios = [second / first for first, second in times]
    medians = [1000 * statistics.median(column) for column in zip(*times, strict=True)]
    return {"ms": medians, "ratio": statistics.median(ratios), "rounds": ratios}


def pairs(
    name: str, device: str, settings: dict[str, Any], layouts: bool
) -> Iterator[tuple[str, list[str], list[Study[Any]]]]:
    """What is compared: its name, what each side is called, the sides."""
    config, *arms = PAIRS[name]
    made = {arm: make(config, arm, device, settings) for arm in arms}
    if not layouts:
        yield name, ["conv", "coord"], list(made.values())
        return
    for arm, study in made.items():
        yield f"{name} {arm}", ["contiguous", "as run"], [contiguous(make(config, arm, device, settings)), study]


def main() -> None:
    parser = Parser("python benchmarks/steps.py", __doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=15)
    parser.add_argument("--seconds", type=positive, default=1.5, help="that each side takes in a round, about")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "32", "bf16"], default="auto")
    parser.add_argument("--compile", action="store_true", help="both arms with compiled networks")
    parser.add_argument("--layouts", action="store_true", help="compare memory formats, not arms")
    parser.add_argument("--json", type=Path)
    options = parser.parse()
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    settings = {"precision": precision, "compile": options.compile}
    print(f"{machine(device)}, {precision}{', compiled' if options.compile else ''}")
    found = {}
    for only in options.only:
        for name, called, sides in pairs(only, device, settings, options.layouts):
            row = found[name] = measure(sides, options.rounds, options.seconds)
            low, high = min(row["rounds"]), max(row["rounds"])
            times = ", ".join(f"{call} {ms:.1f} ms" for call, ms in zip(called, row["ms"], strict=True))
            goal = "" if options.layouts else f", goal {GOAL}: {'reached' if row['ratio'] <= GOAL else 'missed'}"
            ratio = f"ratio {row['ratio']:.3f} (rounds {low:.2f} to {high:.2f})"
            print(f"{name}: {times} a step; {ratio}{goal}", flush=True)
    if options.json:
        document = {"machine": machine(device), **settings, "pairs": found}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    guarded(main)
