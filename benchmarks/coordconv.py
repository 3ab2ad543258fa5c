"""The coordinate layer against a plain convolution and against concatenation, forward and backward, in turn in one run.

    python benchmarks/coordconv.py [--device auto|cpu|cuda] [--threads N] [--compile] [--rounds 21] [--quick]
                                   [--json FILE]

The shapes are those of this repository's GAN, VAE and A2C networks and of the paper's GAN. First layers see images,
which need no gradient. Each round times the three layers one after the other, in an order that rotates; the ratios to
the plain convolution are medians over rounds of the ratio within a round. Both memory formats; float32, and bf16
autocast where the processor has instructions for it. `--compile` compiles all three; on a GPU it measures with and
without. Goal: at most 1.03 times a plain convolution (median over shapes), never above 1.15.

On Linux the C library is told to keep freed memory. Otherwise a layer's large tensors may come from fresh pages, or may
not, depending on the order in which others were freed: up to a factor of two, drawn by chance for each layer and run.
"""

import argparse
import ctypes
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import machine, wait
from torch import Tensor, nn

from sandbox.nn.coordconv import CoordConv2d, CoordConvTranspose2d
from sandbox.nn.planes import coordinate_planes
from sandbox.train.device import resolve_precision

MEDIAN_GOAL, MAXIMUM_GOAL = 1.03, 1.15
SECONDS_A_TIMING = 0.02  # how long each layer runs within a round, at least


class Shape(NamedTuple):
    """A layer of one of the networks: square images and kernels; ``image``: a first layer."""

    name: str
    batch: int
    inputs: int
    size: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    image: bool = False
    transposed: bool = False


SHAPES = [
    Shape("GAN, discriminator, first", 32, 3, 64, 64, 5, 2, 2, image=True),
    Shape("GAN, generator, 64x64", 32, 32, 64, 32, 3, 1, 1),
    Shape("GAN, generator, 8x8", 32, 128, 8, 128, 3, 1, 1),
    Shape("GAN, generator, last", 32, 32, 64, 3, 3, 1, 1),
    Shape("paper GAN, discriminator, last", 16, 256, 8, 512, 5, 2, 2),
    Shape("paper GAN, generator, transposed", 16, 256, 8, 128, 5, 2, 2, transposed=True),
    Shape("paper CoordConv GAN, generator, 1x1", 16, 256, 64, 128, 1),
    Shape("VAE, encoder, 32x32", 64, 32, 32, 64, 4, 2, 1),
    Shape("VAE, broadcast decoder, 1x1", 16, 34, 64, 32, 1),
    Shape("VAE, broadcast decoder, 3x3", 16, 34, 64, 32, 3, 1, 1),
    Shape("A2C, first, batch 80", 80, 4, 84, 32, 8, 4, image=True),
    Shape("A2C, first, batch 16", 16, 4, 84, 32, 8, 4, image=True),
    Shape("A2C, second, batch 80", 80, 32, 20, 64, 4, 2),
    Shape("A2C, third, batch 80", 80, 64, 9, 64, 3),
]
QUICK = [Shape("quick", 2, 3, 8, 4, 3, 1, 1, image=True), Shape("quick, transposed", 2, 4, 8, 4, 4, 2, transposed=True)]


class Concatenating(nn.Module):
    """CoordConv as it is commonly written, with the planes at hand."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if shape.transposed else nn.Conv2d
        self.conv = kind(shape.inputs + 2, shape.outputs, shape.kernel, shape.stride, shape.padding)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, in, h, w) -> (b, out, h', w')``."""
        planes = coordinate_planes(x.shape[2], x.shape[3], dtype=x.dtype, device=x.device)
        return self.conv(torch.cat([x, planes.expand(len(x), -1, -1, -1)], dim=1))


class Setting(NamedTuple):
    """What all three layers of a table have in common."""

    device: str
    channels_last: bool
    bf16: bool
    compiled: bool

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "contiguous"
        mode = ", compiled" if self.compiled else ""
        return f"{self.device}, {layout}, {'bf16 autocast' if self.bf16 else 'float32'}{mode}"


def make_steps(shape: Shape, setting: Setting) -> list[Callable[[], None]]:
    """Forward and backward pass of the plain, the coordinate and the concatenating layer."""
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    x = torch.randn(shape.batch, shape.inputs, shape.size, shape.size, device=setting.device)
    x = x.contiguous(memory_format=layout).requires_grad_(not shape.image)
    kinds = (nn.ConvTranspose2d, CoordConvTranspose2d) if shape.transposed else (nn.Conv2d, CoordConv2d)
    layers = [kind(shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.padding) for kind in kinds]
    layers = [layer.to(setting.device, memory_format=layout) for layer in [*layers, Concatenating(shape)]]
    if setting.compiled:
        layers = [torch.compile(layer) for layer in layers]

    def forward(layer: nn.Module) -> Tensor:
        with torch.autocast(setting.device, torch.bfloat16, enabled=setting.bf16):
            return layer(x)

    slope = torch.randn_like(forward(layers[0]))

    def step(layer: nn.Module) -> None:
        forward(layer).backward(slope)
        layer.zero_grad()
        x.grad = None

    return [lambda layer=layer: step(layer) for layer in layers]


def milliseconds(step: Callable[[], None], count: int, device: str) -> float:
    wait(device)
    began = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return 1000 * (time.perf_counter() - began) / count


def measure(shape: Shape, setting: Setting, rounds: int) -> dict[str, Any]:
    """Medians over ``rounds``: the plain layer's milliseconds, and the other two layers' ratios to it."""
    torch._dynamo.reset()  # or the shapes of one cell would make those of the next dynamic
    steps = make_steps(shape, setting)
    for step in steps:
        milliseconds(step, 2, setting.device)
    once = min(milliseconds(steps[0], 1, setting.device) for _ in range(3)) / 1000
    count = max(1, round(SECONDS_A_TIMING / once))
    times: list[list[float]] = []
    for number in range(rounds):
        row = [0.0] * len(steps)
        for place in range(len(steps)):
            which = (place + number) % len(steps)
            row[which] = milliseconds(steps[which], count, setting.device)
        times.append(row)
    ours, concatenating = (statistics.median(row[place] / row[0] for row in times) for place in (1, 2))
    plain = statistics.median(row[0] for row in times)
    return {"shape": shape.name, "plain_ms": plain, "ratio": ours, "concatenating": concatenating}


def keep_freed_memory() -> None:
    # More than `sandbox.base.memory` keeps for runs: layers alone are timed, some with tensors above its 32 MiB.
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        mmap_max, trim_threshold = -4, -1  # the names of these numbers in malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD
        ctypes.CDLL(None).mallopt(mmap_max, 0)
        ctypes.CDLL(None).mallopt(trim_threshold, 2**31 - 1)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's choice)")
    parser.add_argument("--compile", action="store_true", help="measure compiled layers (on a GPU: too)")
    parser.add_argument("--rounds", type=positive, default=21)
    parser.add_argument("--quick", action="store_true", help="two tiny shapes, three rounds: a test that it runs")
    parser.add_argument("--json", type=Path, help="writes every ratio")
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: there is no cuda device here")
    return options


def verdict(name: str, ratios: list[float]) -> str:
    median, maximum = statistics.median(ratios), max(ratios)
    reached = "reached" if median <= MEDIAN_GOAL and maximum <= MAXIMUM_GOAL else "missed"
    return f"{name:40} median {median:.3f} (goal {MEDIAN_GOAL}), maximum {maximum:.3f} (goal {MAXIMUM_GOAL}): {reached}"


def settings(device: str, compiled: bool) -> list[Setting]:
    """Every table of the run."""
    precisions = [False, True] if resolve_precision("auto", device) == "bf16" else [False]
    modes = ([False, True] if device == "cuda" else [True]) if compiled else [False]
    kinds = itertools.product(modes, (False, True), precisions)
    return [Setting(device, channels_last, bf16, mode) for mode, channels_last, bf16 in kinds]


def table(setting: Setting, shapes: list[Shape], rounds: int) -> list[dict[str, Any]]:
    """Measures and prints a table."""
    print(f"\n{setting}, {torch.get_num_threads()} threads\n{'':40}{'plain ms':>10}{'ours':>8}{'concat.':>9}")
    cells = []
    for shape in shapes:
        cells.append(cell := measure(shape, setting, rounds))
        mark = "  above the goal" if cell["ratio"] > MAXIMUM_GOAL else ""
        numbers = f"{cell['plain_ms']:10.3f}{cell['ratio']:8.3f}{cell['concatenating']:9.3f}"
        print(f"{shape.name:40}{numbers}{mark}", flush=True)
    return cells


def main() -> None:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    print(machine(options.device))
    shapes, rounds = (QUICK, 3) if options.quick else (SHAPES, options.rounds)
    results = {str(each): table(each, shapes, rounds) for each in settings(options.device, options.compile)}
    print()
    everything = [cell for cells in results.values() for cell in cells]
    for name, judged in {**results, "all": everything}.items():
        print(verdict(name, [cell["ratio"] for cell in judged]))
    if options.quick:
        print("Layers as small as these measure the cost of a call; the goal is meant for those of real networks.")
    if options.json:
        document = {"machine": machine(options.device),
                    "threads": torch.get_num_threads(), "rounds": rounds, "torch": torch.__version__,
                    "goal": {"median": MEDIAN_GOAL, "maximum": MAXIMUM_GOAL}, "settings": results}  # fmt: skip
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
