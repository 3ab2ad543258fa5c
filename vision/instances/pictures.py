"""What a run shows: an image, its objects, what is found in the colours of these, and the embedding."""

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sandbox.base.types import Picture
from sandbox.film.cells import in_a_row, shown
from vision.instances.found import Found
from vision.instances.matching import ious, masks_of

_GOLDEN = 0.618034  # of the circle of hues, from one object to the next: neighbours in number differ most
_EDGE = 240  # pixels of a panel, at most: a whole multiple of the canvas, whose pixels stay squares
_NOBODYS = 0.55  # grey of what overlaps no object, from white 1


def palette(count: int) -> Float[np.ndarray, "count 3"]:
    """Colours of the objects 1, 2 ..., in [0, 1]; that of a number is always the same."""
    colours = [
        colorsys.hsv_to_rgb(k * _GOLDEN % 1, 0.9 - 0.4 * (k // 3 % 2), 0.95 - 0.3 * (k // 6 % 2)) for k in range(count)
    ]
    return np.array(colours, np.float32).reshape(count, 3)


def objects(ids: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "3 h w"]:
    """The true objects in their colours on white."""
    colours = np.concatenate([np.ones((1, 3), np.float32), palette(int(ids.max()))])
    painted: Float[np.ndarray, "3 h w"] = colours[ids].transpose(2, 0, 1)
    return painted


def claims(found: Found, ids: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "3 h w"]:
    """What is found, each in the colour of the object that it overlaps most; a second one of an object is paler.

    What overlaps none is grey; a surer mask lies on a less sure one.
    """
    true = masks_of(ids)
    canvas = np.ones((*ids.shape, 3), np.float32)
    overlap = ious(found.masks, true) if len(true) else np.zeros((len(found.masks), 1))
    colours = _colours(overlap, palette(max(1, len(true))))
    for k in np.argsort(found.scores, kind="stable"):
        canvas[found.masks[k]] = colours[k]
    return canvas.transpose(2, 0, 1)


def _colours(overlap: Float[np.ndarray, "k m"], hues: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "k 3"]:
    colours = np.full((len(overlap), 3), _NOBODYS, np.float32)
    taken: dict[int, int] = {}
    for k in np.argsort(-overlap.max(1, initial=0), kind="stable"):
        if overlap[k].max(initial=0) > 0:
            own = int(overlap[k].argmax())
            colours[k] = 1 - (1 - hues[own]) * 0.6 ** taken.get(own, 0)
            taken[own] = taken.get(own, 0) + 1
    return colours


def as_colours(
    vectors: Float[Tensor, "d h w"], foreground: Float[np.ndarray, "h w"]
) -> Float[Tensor, "3 h w"]:  # fmt: skip
    """The first two numbers of the foreground's embeddings as red and blue, white elsewhere; scaled to their range."""
    there = torch.from_numpy(foreground >= 0.5)
    canvas = torch.ones(3, *there.shape)
    if there.any():
        two = vectors[:2].cpu()[:, there]
        low, high = two.amin(1, keepdim=True), two.amax(1, keepdim=True)
        red, blue = (two - low) / (high - low).clamp_min(1e-3)
        canvas[:, there] = torch.stack([red, 0.45 - 0.25 * (red + blue - 1).abs(), blue])
    return canvas


def panels(parts: Sequence[Float[np.ndarray, "3 h w"] | Tensor]) -> Picture:
    """Pictures of one size in [0, 1] side by side."""
    size = parts[0].shape[-1]
    return in_a_row([shown(torch.as_tensor(part), size * max(1, _EDGE // size)) for part in parts])
