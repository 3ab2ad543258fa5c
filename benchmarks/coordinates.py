"""Coordinate classification: time to 100 % of the test positions with coordinates, and what the plain net gets to.

    python benchmarks/coordinates.py [--seeds 10] [--seconds 60] [--conv-seconds 300] [--json FILE] [settings]

Both arms of configs/vision/classification.yaml on both splits in one run: the published CoordConv network from every
seed until all test positions are right, or the seconds are over; the published transposed convolutions from the first
seed for their seconds, with the best test accuracy on the way and when it came. Looks at the test set count as time.
Goal: every seed of the CoordConv network within 20 s on two CPU cores, on both splits. Settings hold for both arms.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from sandbox.doors import guarded, parse
from sandbox.flags import Parser, positive, whole_number
from sandbox.training import make_fabric, resolve_device, resolve_precision
from vision.study import VisionStudy

SPLITS = ("uniform", "quadrant")


def make(arm: str, split: str, seed: int, settings: list[str]) -> VisionStudy:
    flags = ["--task", "classification", "--split", split, "--arm", arm, "--seed", str(seed), *settings]
    order = parse("vision", flags)
    device = resolve_device(order.device)  # type: ignore[arg-type]
    return VisionStudy(order.config, make_fabric(device, resolve_precision(order.config.precision, device)))


def until_perfect(study: VisionStudy, seconds: float) -> dict[str, Any]:
    """Trains until all of the test is right, the steps of the recipe are done or the seconds are over."""
    for step in range(1, study.config.steps + 1):
        study.step(step)
        if study.record.found or float(study.record.elapsed) > seconds:
            break
    found = study.record.found
    return {"steps": step, "seconds": float(study.record.seconds) if found else None, "perfect": found}


def best_within(study: VisionStudy, seconds: float, every: int) -> dict[str, Any]:
    """Trains for some seconds; the best test accuracy among those after every so many steps."""
    began, best = time.perf_counter(), {"accuracy": -1.0}
    step, now = 0, 0.0
    while now < seconds and step < study.config.steps:
        step += 1
        study.step(step)
        now = time.perf_counter() - began
        if step % every == 0 or now >= seconds or step == study.config.steps:
            accuracy = study._scores(study.test)["accuracy"]
            now = time.perf_counter() - began
            if accuracy > best["accuracy"]:
                best = {"accuracy": accuracy, "steps": step, "seconds": now}
    return {"best": best, "steps": step, "seconds": now}


def measure(options: argparse.Namespace, settings: list[str]) -> dict[str, Any]:
    """Both arms on both splits, and what they say while they run."""
    document: dict[str, Any] = {"threads": torch.get_num_threads(), "goal_seconds": 20.0, "coord": {}, "conv": {}}
    for split in SPLITS:
        runs = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            study = make("coord", split, seed, settings)
            runs.append({"seed": seed, **until_perfect(study, options.seconds)})
            said = f"100 % after {runs[-1]['seconds']:.1f} s" if runs[-1]["perfect"] else "not 100 %"
            print(f"{split}, coord, seed {seed}: {said}, {runs[-1]['steps']} steps", flush=True)
        document["coord"][split] = runs
        study = make("conv", split, options.first_seed, settings)
        document["conv"][split] = result = best_within(study, options.conv_seconds, options.every)
        best = result["best"]
        print(f"{split}, conv, seed {options.first_seed}: best test accuracy {100 * best['accuracy']:.1f} % after "
              f"{best['seconds']:.0f} s of {result['seconds']:.0f} s", flush=True)  # fmt: skip
    document["device"], document["precision"] = str(study.fabric.device), study.fabric._precision.precision
    return document


def main() -> None:
    parser = Parser("python benchmarks/coordinates.py", __doc__ or "")
    parser.add_argument(
        "--seeds", type=whole_number(1, 1000), default=10, help="of the CoordConv network (default: 10)"
    )
    parser.add_argument("--first-seed", type=whole_number(0, 2**30), default=0, help="the others follow (default: 0)")
    parser.add_argument("--seconds", type=positive, default=60.0, help="a CoordConv run at most (default: 60)")
    parser.add_argument("--conv-seconds", type=positive, default=300.0, help="of the plain network (default: 300)")
    parser.add_argument("--every", type=whole_number(1, 10**6), default=100, help="steps between the plain net's looks")
    parser.add_argument("--json", type=Path, help="writes all numbers there")
    options, settings = parser.parse_known_args()
    document = measure(options, settings)
    for split in SPLITS:
        runs = document["coord"][split]
        times = sorted(run["seconds"] for run in runs if run["perfect"])
        inside = sum(seconds <= document["goal_seconds"] for seconds in times)
        spread = f", {times[0]:.1f} to {times[-1]:.1f} s" if times else ""
        print(f"{split}: {len(times)} of {len(runs)} seeds reached 100 %{spread}; {inside} within 20 s")
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    guarded(main)
