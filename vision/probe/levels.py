"""The levels of a network: which of its layers' outputs a probe reads, and how they are read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sandbox.base.errors import UserError, one_line
from sandbox.nn.padded import PaddedConv
from sandbox.train.encoder import Encoder
from vision.probe.config import PositionConfig, Resize

COLOURS = 3  # outputs of so few channels are pictures or logits, read only where a resolution has nothing else
_POOLS = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.Dropout, nn.Dropout2d,
    nn.Identity,
)  # fmt: skip
Hook = Callable[[str, nn.Module, Tensor], None]


class _Reached(Exception):
    """The last level is there: the rest of the network need not run."""


@contextmanager
def _watched(network: nn.Module, hook: Hook, names: Sequence[str] | None = None) -> Iterator[None]:
    handles = [
        module.register_forward_hook(lambda module, _, out, name=name: hook(name, module, out))
        for name, module in network.named_modules()
        if names is None or name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def find_levels(network: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the modules whose outputs are the levels of a network, in the order in which they are computed.

    One a resolution: of the outermost modules whose output has it the last, pools left out. Of VGG16's convolutions
    these are the paper's five; of networks made of stages (EfficientNet, ConvNeXt, DenseNet, Swin) the stages, not the
    layers inside the next one that have not halved the map yet. Layers of at most 3 channels count only where a
    resolution has no others, the network's own output only where nothing else does.

    Raises:
        UserError: no layer's output has places.
    """
    found: dict[tuple[int, ...], list[tuple[bool, int, int, str]]] = {}

    def keep(name: str, module: nn.Module, out: Any) -> None:
        whole = isinstance(out, Tensor) and out.dim() == 4 and len(out) == len(inputs)  # not windows, not a table
        if whole and not isinstance(module, _POOLS):
            out = channels_first(out, inputs)
            if min(out.shape[-2:]) > 1:
                order = sum(map(len, found.values()))
                entry = (out.shape[1] > COLOURS, -name.count("."), order, name)
                found.setdefault(tuple(out.shape[-2:]), []).append(entry)

    with _watched(network, keep):
        network(inputs)
    for column in found.values():
        column[:] = [entry for entry in column if entry[-1]]
    columns = [column for column in found.values() if column]
    if not columns and not found:
        raise UserError(f"{type(network).__name__} has no layer whose output has places: there is nothing to probe")
    return [entry[-1] for entry in sorted(map(max, columns), key=lambda entry: entry[2])] or [""]


def channels_first(out: Float[Tensor, "b ..."], inputs: Tensor) -> Float[Tensor, "b ..."]:
    """The output of a layer with its channels in the second place; Swin has them last.

    Of square images, or latents, the equal sizes tell where the places are. What has no places is left as it is.
    """
    if out.dim() != 4:
        return out
    square = inputs.dim() != 4 or inputs.shape[2] == inputs.shape[3]
    last = square and out.shape[1] == out.shape[2] and out.shape[2] != out.shape[3]
    return out.movedim(-1, 1) if last else out


class Levels:
    """Reads the levels of a frozen network.

    Args:
        network: in evaluation mode.
        names: of its modules, in the order in which they are computed.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self.network, self.names = network, tuple(names)

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> list[Tensor]:
        """The output of each level, float32. What comes behind the last level is not computed."""
        found: dict[str, Tensor] = {}

        def keep(name: str, module: nn.Module, out: Tensor) -> None:
            found[name] = out  # of a module that runs twice the second output
            if name == self.names[-1]:
                raise _Reached

        with _watched(self.network, keep, self.names), suppress(_Reached):
            self.network(inputs)
        return [channels_first(found[name], inputs).float() for name in self.names]

    def features(self, inputs: Tensor, grid: int, resize: Resize) -> Float[Tensor, "b c g g"]:
        """All levels at one size, side by side: ``(b, sum of their channels, grid, grid)``."""
        edges: dict[str, Any] = {"mode": resize, "align_corners": False} if resize == "bilinear" else {"mode": resize}
        return torch.cat([F.interpolate(level, size=(grid, grid), **edges) for level in self(inputs)], 1)


def strip_padding(network: nn.Module) -> None:
    """Removes the padding of every convolution, in place; the maps shrink.

    Raises:
        UserError: it has transposed convolutions, whose padding is no border, or no padding at all.
    """
    layers = list(network.modules())
    if any(isinstance(layer, nn.ConvTranspose2d) for layer in layers):
        raise UserError("--strip-padding is for networks without transposed convolutions")
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    if not any(_pads(layer) for layer in convolutions):
        raise UserError("--strip-padding: no convolution of the target has any padding")
    for layer in layers:
        if isinstance(layer, PaddedConv) and layer.kind == "partial":
            layer.kind = "valid"  # where nothing is missing there is nothing to rescale
    for layer in convolutions:
        layer.padding, layer.padding_mode = (0, 0), "zeros"
        layer._reversed_padding_repeated_twice = [0, 0, 0, 0]


def _pads(layer: nn.Conv2d) -> bool:
    return layer.padding == "same" if isinstance(layer.padding, str) else any(layer.padding)


def refuse_unrunnable(error: Exception, name: str, size: int, stripped: bool) -> UserError:
    """What to tell the user of a network that cannot run on images of this size."""
    what = f"on images of {size} pixels{' without its padding' if stripped else ''}"
    hint = "--size makes them larger; networks with shortcuts cannot at all" if stripped else "--size makes others"
    return UserError(f"{name} cannot run {what} ({hint}): {one_line(error, 100)}")


def make_levels(encoder: Encoder, config: PositionConfig, device: torch.device) -> Levels:
    """The levels that a configuration asks for; removes the padding first where it says so.

    Raises:
        UserError: a level that is not there, or a network that cannot run on these images or without its padding.
    """
    example = encoder.example().to(device)
    try:
        # Found with the padding: without it a dense layer behind the last level has no input that fits it.
        levels = Levels(encoder.network, encoder.names or find_levels(encoder.network, example))
        if config.strip_padding:
            if encoder.draw is not None:
                raise UserError("--strip-padding is for networks that see images")
            strip_padding(encoder.network)
        levels(example)
    except (RuntimeError, ValueError) as error:
        raise refuse_unrunnable(error, config.target, encoder.size, config.strip_padding) from None
    if config.stages == "all":
        return levels
    wanted = sorted({int(part) for part in config.stages.split(",")})
    if wanted[-1] > len(levels.names):
        raise UserError(f"--stages is {config.stages}: {config.target} has {len(levels.names)} levels, "
                        f"{', '.join(name or 'the output' for name in levels.names)}")  # fmt: skip
    return Levels(encoder.network, [levels.names[k - 1] for k in wanted])
