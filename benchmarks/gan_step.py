"""One GAN training step, ours against the plain recipe, in turn in one run.

    python benchmarks/gan_step.py [--rounds 15] [--json FILE] [any flag of `python -m sandbox.gan`]

Ours: the precision and layout that `--precision auto` resolves to, coordinates as a map, upsampling folded into the
convolution, `--compile` on request. Plain: float32, default layout, eager, coordinates concatenated to each layer's
input, images upsampled before they are convolved. Same networks, weights, batch and data; that both compute the same
images is checked first. A round times the same stretch of steps on each side (penalty steps at the rate of the recipe);
the ratio is the median over rounds. Goal: on two CPU cores 3.5 with bf16 instructions, 1.8 without.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from machine import machine, wait
from torch import Tensor, nn

from gan.study import GanStudy
from sandbox.base.errors import RunError
from sandbox.base.guard import guarded
from sandbox.cli.train import parse
from sandbox.nn.blocks import UpBlock
from sandbox.nn.coordconv import CoordConv2d, to_concatenated
from sandbox.nn.planes import coordinate_planes
from sandbox.train.device import make_fabric, resolve_device, resolve_precision


class Concatenating(nn.Conv2d):
    """A coordinate layer as it is commonly written, with the weights of one of ours."""

    def __init__(self, layer: CoordConv2d) -> None:
        weight = to_concatenated(layer)
        super().__init__(weight.shape[1], layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                         padding_mode=layer.padding_mode, bias=layer.bias is not None)  # fmt: skip
        self.weight, self.bias, self.with_r = nn.Parameter(weight), layer.bias, layer.with_r

    def forward(self, x: Tensor) -> Tensor:
        planes = coordinate_planes(x.shape[2], x.shape[3], with_r=self.with_r, dtype=x.dtype, device=x.device)
        return super().forward(torch.cat([x, planes.expand(len(x), -1, -1, -1)], dim=1))


class Upsampling(nn.Module):
    """An upsampling block as it is commonly written, on the weights of one of ours."""

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        self.conv, self.norm = block.conv, block.norm

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return nn.functional.leaky_relu(self.norm(self.conv(x)), 0.2)


def write_plainly(network: nn.Module) -> None:
    """Replaces the layers that compute by an identity; the function stays the same."""
    plain = {CoordConv2d: Concatenating, UpBlock: Upsampling}
    for kind, substitute in plain.items():
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if type(child) is kind:
                    parent._modules[name] = substitute(child)


def make_sides(arguments: list[str]) -> tuple[GanStudy, GanStudy]:
    order = parse("gan", ["--arm", "coord", *arguments])
    device = resolve_device(order.device)  # type: ignore[arg-type]
    precision = resolve_precision(order.config.precision, device)
    print(f"{machine(device)}; ours {precision}, plain float32, batch {order.config.batch}")
    ours = GanStudy(order.config, make_fabric(device, precision))
    plain = GanStudy(order.config.model_copy(update={"compile": False}), make_fabric(device, "32"))
    for name, network in plain.modules.items():
        write_plainly(network)
        network.to(memory_format=torch.contiguous_format)
        if name in plain.optimisers:  # of the weights that are there now
            plain.optimisers[name].param_groups[0]["params"] = list(network.parameters())
    return ours, plain


def check_equal(ours: GanStudy, plain: GanStudy) -> None:
    """Both sides must compute the same thing: the generators' images from the same weights agree."""
    z = ours._latents(4, "benchmark")
    # Without cuDNN, whose convolutions of float32 round to TF32.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        difference = (ours.modules["generator"](z) - plain.modules["generator"](z)).abs().max().item()
    if difference > 1e-3:
        raise RunError(f"the two sides differ by {difference}")


def seconds(study: GanStudy, first: int, count: int) -> float:
    device = study.fabric.device.type
    wait(device)
    began = time.perf_counter()
    for step in range(first, first + count):
        study.step(step)
    wait(device)
    return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options, arguments = parser.parse_known_args()
    ours, plain = make_sides(arguments)
    check_equal(ours, plain)
    stretch = ours.config.penalty_every
    ratios, times = [], []
    for number in range(options.rounds + 1):
        pair = [seconds(side, 1 + number * stretch, stretch) for side in (plain, ours)]
        if number:  # the first round warms up
            ratios.append(pair[0] / pair[1])
            times.append(pair)
    plain_ms, ours_ms = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    ratio, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"plain {plain_ms:.1f} ms, ours {ours_ms:.1f} ms a step; ratio {ratio:.2f} (rounds {low:.2f} to {high:.2f})")
    if options.json:
        document = {"machine": machine(ours.fabric.device.type),
                    "ratio": ratio, "rounds": ratios, "plain_ms": plain_ms, "ours_ms": ours_ms,
                    "threads": torch.get_num_threads(), "device": str(ours.fabric.device)}  # fmt: skip
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    guarded(main)
