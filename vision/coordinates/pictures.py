"""What a run shows: test predictions beside their targets, and targets that walk over the canvas."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from sandbox.base.seeding import keyed_generator
from sandbox.data.shapes import NotSoClevr
from vision.coordinates.networks import SIZE

Sheet = UInt8[np.ndarray, "h w 3"]
FIRST, LAST = NotSoClevr.radius, NotSoClevr.radius + NotSoClevr.positions - 1  # centres, on each axis
ZOOM = 2  # of a film's pixels
_INK, _TARGET = np.array([31, 60, 136]), np.array([222, 110, 20])  # blue what the network says, orange what is asked


def _shaded(share: Float[np.ndarray, "*n h w"], ink: Any = _INK) -> UInt8[np.ndarray, "*n h w 3"]:
    """White where the share is 0, ink where it is 1."""
    mixed = 255 + share.clip(0, 1)[..., None] * (ink - 255)
    return np.asarray(mixed.round(), dtype=np.uint8)


def sums(predicted: Float[Tensor, "64 64"], target: Float[Tensor, "64 64"], zoom: int = 4) -> Sheet:
    """Predictions summed over the test set, and beside them the sum of the targets, on one scale.

    The view of the paper's Figure 5. Full ink is the largest target sum.
    """
    scale = float(target.max())
    parts = [_shaded(image.float().cpu().numpy().astype(np.float32) / scale) for image in (predicted, target)]
    return beside(*(part.repeat(zoom, axis=0).repeat(zoom, axis=1) for part in parts))


def zoomed(logits: Float[Tensor, "64 64"], centre: tuple[int, int], radius: int) -> Sheet:
    """Logits of the 17x17 pixels around one target: white the least of them, full ink the greatest.

    Args:
        logits: before softmax or sigmoid.
        centre: (row, column) of the target, pixels. What lies off the canvas is grey.
        radius: of the target's orange frame: 0 around the one pixel, 4 around the 9x9 square.
    """
    zoom, reach = 15, 8
    padded = np.pad(logits.float().cpu().numpy(), reach, constant_values=np.nan)
    window = padded[centre[0] : centre[0] + 2 * reach + 1, centre[1] : centre[1] + 2 * reach + 1]
    low, high = np.nanmin(window), np.nanmax(window)
    sheet = _shaded(np.nan_to_num((window - low) / max(high - low, 1e-12)).astype(np.float32))
    sheet[np.isnan(window)] = 200
    sheet = sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
    inner = np.zeros(sheet.shape[:2], bool)
    a, b = (reach - radius) * zoom, (reach + radius + 1) * zoom
    outer = inner.copy()
    outer[a:b, a:b], inner[a + 2 : b - 2, a + 2 : b - 2] = True, True
    sheet[outer & ~inner] = _TARGET
    return sheet


def beside(*sheets: Any) -> Sheet:  # of different sizes
    """Sheets next to each other, a grey line between them; lower ones get white below."""
    height = max(len(sheet) for sheet in sheets)
    line = np.full((height, 8, 3), 200, np.uint8)
    padded = [np.pad(sheet, ((0, height - len(sheet)), (0, 0), (0, 0)), constant_values=255) for sheet in sheets]
    return np.concatenate([part for sheet in padded for part in (line, sheet)][1:], axis=1)


def arrows(true: Float[Tensor, "n 2"], predicted: Float[Tensor, "n 2"], zoom: int = 8) -> Sheet:
    """A line from each true centre (orange dot) to the predicted one; (row, column), pixels. The canvas cuts it off."""
    sheet = Image.new("RGB", (SIZE * zoom, SIZE * zoom), "white")
    draw = ImageDraw.Draw(sheet)
    reach = 4.0 * SIZE  # far beyond the edge in any case, and a number that Pillow can draw
    ends = predicted.nan_to_num(reach, reach, -reach).clamp(-reach, reach)
    for (y, x), (y2, x2) in zip(((true + 0.5) * zoom).tolist(), ((ends + 0.5) * zoom).tolist(), strict=True):
        draw.line((x, y, x2, y2), fill=tuple(_INK.tolist()))
        draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=tuple(_TARGET.tolist()))
    return np.asarray(sheet).copy()


def walks(frames: int, count: int, kind: str, seed: int) -> Int64[Tensor, "frames count"]:
    """Indices of Not-so-Clevr along ``count`` walks over the canvas.

    Args:
        frames: positions of a walk.
        count: walks.
        kind: ``loop`` closes, a Lissajous curve over the whole canvas; ``pair`` is the way from one place to another.
        seed: the same walks for every arm.
    """
    draw = torch.rand(count, 4, generator=keyed_generator(seed, "walks", kind))
    if kind == "loop":
        time = 2 * torch.pi * torch.arange(frames)[:, None] / frames
        waves = 1 + torch.arange(count)[:, None] % 2, 1 + torch.arange(count)[:, None] // 2 % 2  # per turn, 1 or 2
        places = [0.5 + 0.5 * torch.sin(time * n.T + 2 * torch.pi * draw[:, axis]) for axis, n in enumerate(waves)]
    else:
        time = torch.linspace(0, 1, frames)[:, None]
        places = [(1 - time) * draw[:, axis] + time * draw[:, axis + 2] for axis in (0, 1)]
    rows, columns = ((place * (LAST - FIRST)).round().long() for place in places)
    return rows * NotSoClevr.positions + columns


def scene(
    said: Float[Tensor, "n 64 64"], centres: Int64[Tensor, "n 2"], outlined: bool
) -> UInt8[np.ndarray, "n 3 h w"]:
    """Frames of a film: what the network says in blue ink, what is asked for as an orange frame around it.

    Args:
        said: in [0, 1]; shown by its square root, so that a probability spread over several pixels is still seen.
        centres: (row, column), pixels.
        outlined: the frame runs around the whole 9x9 square, else around the 3x3 pixels at the centre.
    """
    images = _shaded(said.float().clamp(0, 1).sqrt().cpu().numpy())
    distance = (torch.arange(SIZE) - centres.cpu()[:, :, None]).abs()  # (n, 2, 64)
    ring = torch.maximum(distance[:, 0, :, None], distance[:, 1, None, :]) == (NotSoClevr.radius + 1 if outlined else 3)
    images[ring.numpy()] = _TARGET
    frames: UInt8[np.ndarray, "n 3 h w"] = images.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2).transpose(0, 3, 1, 2)
    return frames
