"""Coordinate planes: what the paper concatenates to an image, here kept for whoever asks again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

Radius = Literal["centred", "offset"]
_RADII = ("centred", "offset")
_T = TypeVar("_T", bound=Tensor | Iterable[Any])


def radius_of(with_r: bool, radius: Radius) -> Radius | None:
    """Which radius plane there is, None for none.

    Raises:
        ValueError: ``radius`` is neither ``centred`` nor ``offset``, or ``offset`` without a radius.
    """
    if radius not in _RADII:
        raise ValueError(f"radius {radius!r} is unknown: it is 'centred' or 'offset'")
    if radius != "centred" and not with_r:
        raise ValueError(f"radius={radius!r} needs with_r=True")
    return radius if with_r else None


def is_traced(*tensors: Tensor) -> bool:
    """Whether a graph is made (compile, export, trace, torch.func), or a tensor is of a special kind, fake or meta."""
    # Graphs get plain operations: a compiler fuses them, an exporter knows them; and nothing of theirs may be cached.
    # torch.func has no public question for this one; torch.autograd.Function.apply itself asks it.
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or any(type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta for tensor in tensors)
    )


# Asked once: a compiler that meets the question breaks its graph there (torch 2.11).
_AUTOCASTING = frozenset(
    kind
    for kind in ("cpu", "cuda", "mps", "xpu", "hpu", "xla", "mtia", "maia")
    if torch.amp.is_autocast_available(kind)
)


def autocasts(kind: str) -> bool:
    """Whether autocast is on for a kind of device."""
    return kind in _AUTOCASTING and torch.is_autocast_enabled(kind)


class _Uncast:
    """What ``torch.autocast(kind, enabled=False)`` does, in a tenth of its time; for eager mode."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        torch.set_autocast_enabled(self.kind, False)

    def __exit__(self, *_: object) -> None:
        torch.set_autocast_enabled(self.kind, True)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switches autocast off, if it is on."""
    if not autocasts(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False) if torch.compiler.is_compiling() else _Uncast(device.type)


def is_call_bound(device: torch.device) -> bool:
    """Whether the number of a layer's calls counts there, not their size: on a GPU, with networks as ours."""
    return device.type not in ("cpu", "meta")


_ENTRY = 1024  # bytes that a key and what is kept with it take beside their tensors, about


class Kept:
    """What depends on sizes alone, computed once: the newest of it, up to a number of bytes.

    Attributes:
        limit: bytes. What is larger by itself is not kept.
        size: bytes that are held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._found: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What belongs to ``key``, made if it is not there."""
        with self._lock:
            if (found := self._found.get(key)) is not None:
                self._found.move_to_end(key)
                value: _T = found[0]
                return value
        # A tensor born in inference mode could never take part in training again.
        with torch.inference_mode(False), torch.no_grad():
            made = make()
        tensors = list(_tensors(made))
        if all(type(tensor) is Tensor for tensor in tensors):  # not fake ones
            self._keep(key, made, _ENTRY + sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        return made

    def _keep(self, key: Hashable, made: object, size: int) -> None:
        if size > self.limit:
            return
        with self._lock:
            self.size += size - self._found.pop(key, (None, 0))[1]  # of another thread, meanwhile
            self._found[key] = (made, size)
            while self.size > self.limit:
                self.size -= self._found.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._found.clear()
            self.size = 0

    def __len__(self) -> int:
        return len(self._found)


def _tensors(made: object) -> Iterable[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, tuple):
        for part in made:
            yield from _tensors(part)


kept = Kept(64 * 2**20)


def ramp(length: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " length"]:
    """From -1 to 1 in steps of one size; 0 where there is one pixel."""
    # Not linspace: one pixel must give 0, and a traced length may be symbolic.
    steps = torch.arange(length, dtype=dtype, device=device)
    return (2 * steps - (length - 1)) / max(length - 1, 1)


def _is_symbolic(length: object) -> bool:
    return isinstance(length, torch.SymInt)


def make_planes(size: tuple[int, ...], radius: Radius | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``coordinate_planes`` without the cache."""
    # Built in float32 at least: bfloat16 cannot count the pixels of a row beyond 256.
    wide = dtype if dtype == torch.float64 else torch.float32
    planes: list[Tensor] = []
    for axis, length in enumerate(size):
        if _is_symbolic(length):
            # Counted without a broadcast, which would ask whether there is but one pixel, and forbid it or the rest.
            count = torch.ones(size, dtype=wide, device=device).cumsum(axis)
            planes.append((2 * count - (length + 1)) / max(length - 1, 1))
            continue
        shape = [length if other == axis else 1 for other in range(len(size))]
        planes.append(ramp(length, wide, device).view(shape).expand(size))
    if radius is not None:
        planes.append(distance(planes, radius))
    return torch.stack(planes).to(dtype)


def distance(coordinates: Iterable[Tensor], radius: Radius) -> Tensor:
    """The radius plane of coordinates of one shape."""
    centre = 0.5 if radius == "offset" else 0.0
    return torch.stack([(each - centre) ** 2 for each in coordinates]).sum(0).sqrt()


def coordinate_planes(
    *size: int,
    with_r: bool = False,
    radius: Radius = "centred",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "planes *size"]:
    """The coordinate planes of an image: rows i, columns j and, on request, the radius r.

    Args:
        size: pixels along each axis, at least 1: ``height, width`` of an image, ``length`` of a signal,
            ``depth, height, width`` of a volume.
        with_r: adds the distance to the image centre, ``sqrt(i^2 + j^2)``, from 0 to sqrt(2).
        radius: ``offset`` measures it from (1/2, 1/2) instead, as ports of the authors' first release do.
        dtype: a floating-point type.
        device: where the planes lie.

    Returns:
        ``(planes, *size)``: one for each axis, in their order, then the radius. Coordinates run from -1 (first pixel)
        to +1 (last pixel), 0 on an axis of one pixel. In eager mode the tensor is shared between calls: do not write
        into it.

    Raises:
        ValueError: see `radius_of`.

    Source: Liu et al. 2018, section 3.
    """
    device, kind = torch.device(device), radius_of(with_r, radius)
    if is_traced():
        return make_planes(size, kind, dtype, device)
    return kept.get((size, kind, dtype, device), lambda: make_planes(size, kind, dtype, device))
