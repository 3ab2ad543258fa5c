"""Coordinate classification: time to 100 % of the test positions, and time to equal accuracy of each pair of arms.

    python benchmarks/coordinates.py [--seeds 10] [--seconds 60] [--pair-seconds 300] [--json FILE] [settings]

In one run, on both splits, arms of configs/vision/classification.yaml: first the published CoordConv network (`coord`)
from every seed until all test positions are right. Goal: every seed within 20 s on two CPU cores. Then, for the first
seed, `conv` against `coord` (two different networks) and `matched` against `matched_coord` (one network, with and
without coordinates): when each first had the best test accuracy that the plain one got to within its seconds. Looks at
the test set count as time in the first part and not in the second, where there are many. Settings hold for all arms.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine, wait

from sandbox.base.guard import guarded
from sandbox.cli.flags import Parser, positive, whole_number
from sandbox.cli.train import parse
from sandbox.train.device import make_fabric, resolve_device, resolve_precision
from vision.coordinates.study import VisionStudy

SPLITS = ("uniform", "quadrant")
PAIRS = (("conv", "coord"), ("matched", "matched_coord"))


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


def curve(study: VisionStudy, seconds: float, every: int, enough: float = 2.0) -> list[tuple[float, float]]:
    """(seconds of training, test accuracy) every so many steps, until the seconds are over or it is ``enough``."""
    points, spent = [], 0.0
    for step in range(1, study.config.steps + 1):
        began = time.perf_counter()
        study.step(step)
        wait(study.fabric.device.type)
        spent += time.perf_counter() - began
        if step % every == 0 or spent >= seconds or step == study.config.steps:
            points.append((spent, study._scores(study.test)["accuracy"]))
            if spent >= seconds or points[-1][1] >= enough:
                break
    return points


def pair(plain: str, coord: str, split: str, options: argparse.Namespace, settings: list[str]) -> dict[str, Any]:
    """What the plain arm gets to, and when each has it."""
    studies = {
        arm: make(arm, split, options.first_seed, [*settings, "--score-every", str(10**9)]) for arm in (plain, coord)
    }
    ours = curve(studies[plain], options.pair_seconds, options.every)
    level = max(accuracy for _, accuracy in ours)
    theirs = curve(studies[coord], options.pair_seconds, min(10, options.every), level)
    times = [next((seconds for seconds, accuracy in part if accuracy >= level), None) for part in (ours, theirs)]
    return {"accuracy": level, plain: times[0], coord: times[1], "curves": {plain: ours, coord: theirs}}


def measure(options: argparse.Namespace, settings: list[str]) -> dict[str, Any]:
    """Both parts on both splits, and what they say while they run."""
    document: dict[str, Any] = {"threads": torch.get_num_threads(), "goal_seconds": 20.0, "coord": {}, "pairs": {}}
    for split in SPLITS:
        runs = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            study = make("coord", split, seed, settings)
            runs.append({"seed": seed, **until_perfect(study, options.seconds)})
            said = f"100 % after {runs[-1]['seconds']:.1f} s" if runs[-1]["perfect"] else "not 100 %"
            print(f"{split}, coord, seed {seed}: {said}, {runs[-1]['steps']} steps", flush=True)
        document["coord"][split] = runs
        document["pairs"][split] = [compare(plain, coord, split, options, settings) for plain, coord in PAIRS]
        document["device"], document["precision"] = str(study.fabric.device), study.fabric._precision.precision
    return document


def compare(plain: str, coord: str, split: str, options: argparse.Namespace, settings: list[str]) -> dict[str, Any]:
    """A pair, and the line that says it."""
    found = pair(plain, coord, split, options, settings)
    head = f"{split}, {plain}: {100 * found['accuracy']:.1f} % at best, after {found[plain]:.1f} s"
    if not found["accuracy"]:
        print(f"{split}, {plain}: never right in {options.pair_seconds:.0f} s, nothing to be equal to", flush=True)
    elif found[coord] is None:
        print(f"{head}; {coord}: not that good in {options.pair_seconds:.0f} s", flush=True)
    else:
        print(f"{head}; {coord}: after {found[coord]:.1f} s, ratio {found[plain] / found[coord]:.2f}", flush=True)
    return found


def main() -> None:
    parser = Parser("python benchmarks/coordinates.py", __doc__ or "")
    parser.add_argument(
        "--seeds", type=whole_number(1, 1000), default=10, help="of the CoordConv network (default: 10)"
    )
    parser.add_argument("--first-seed", type=whole_number(0, 2**30), default=0, help="the others follow (default: 0)")
    parser.add_argument("--seconds", type=positive, default=60.0, help="a CoordConv run at most (default: 60)")
    parser.add_argument("--pair-seconds", type=positive, default=300.0, help="of each arm of a pair (default: 300)")
    parser.add_argument("--every", type=whole_number(1, 10**6), default=100,
                        help="steps between looks at a plain arm (default: 100), ten at its partner")  # fmt: skip
    parser.add_argument("--json", type=Path, help="writes all numbers there")
    options, settings = parser.parse_known_args()
    order = parse("vision", ["--task", "classification", *settings])
    print(machine(resolve_device(order.device)), flush=True)  # type: ignore[arg-type]
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
