"""Weights from a file that somebody else has written: looked at before they are read, and read without running code.

A checkpoint of torch is a zip of a pickle and of numbers as they are; an older one is the pickle, the numbers behind
it. Both name in the pickle what is to be called and how much memory is wanted, so that a file of a few megabytes may
ask for gigabytes. Safetensors files hold a header and numbers; the library checks the one against the other.
"""

import io
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from sandbox.base.errors import nearest, one_line
from sandbox.base.reading import Unreadable, read_file, size_of

_FACTOR, _BESIDE = 4, 16 * 2**20  # times a network's own bytes, and bytes beside them, that a file may have
_WORDS, _WORDS_EACH = 2**20, 2**12  # bytes of names and shapes: of a file, and of each tensor
_WRAPPERS = ("state_dict", "model")  # keys of checkpoints that hold more than weights
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "ComplexFloat",
             "ComplexDouble", "Untyped", "Typed")  # fmt: skip
_NAMES = {
    "collections OrderedDict",
    *(f"torch._utils _rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter", "parameter_with_state")),
    *(f"{module} {kind}Storage" for module in ("torch", "torch.storage") for kind in _STORAGES),
}
# What torch's readers raise at a file that is damaged, or that is none of theirs.
_DAMAGE = (RuntimeError, pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, AssertionError,
           ArithmeticError, EOFError)  # fmt: skip


def read_weights(path: Path, network: nn.Module, needed: Collection[str] | None = None) -> None:
    """Puts the weights of a file into a network: safetensors or a checkpoint of torch, whatever its name says.

    They may lie under the key ``state_dict`` or ``model``. Floats of any precision become those of the network;
    whole numbers in place of floats, and numbers that are not finite, are refused.

    Args:
        path: of the file. A regular one, of at most four times the network's size and 16 MB.
        network: whose weights they are; it is left as it is unless all fit.
        needed: names that the file must hold; what else it lacks stays as it is. None: all.

    Raises:
        Unreadable: the file is not there, damaged, too large or packed, wants code to be run, or holds the weights of
            another network: the first key that is missing, unexpected or of another shape is named.
    """
    wanted: dict[str, Tensor] = network.state_dict()
    limit = _FACTOR * sum(tensor.numel() * tensor.element_size() for tensor in wanted.values()) + _BESIDE
    words = _WORDS + _WORDS_EACH * len(wanted)
    if (size := size_of(path)) > limit:
        raise Unreadable(path, f"has {size / 1e6:.0f} MB, too many for the weights of {_name(network)}: "
                         f"at most {limit / 1e6:.0f} MB are read")  # fmt: skip
    content = read_file(path, limit)
    state = _unwrapped(path, _parsed(path, content, words, limit))
    _compare(path, network, wanted, state, wanted if needed is None else needed)
    try:
        network.load_state_dict(state, strict=needed is None)
    except RuntimeError as error:  # a network that checks more than names and shapes
        raise Unreadable(path, f"does not fit {_name(network)} ({one_line(error, 120)})") from None


def _name(network: nn.Module) -> str:
    return type(network).__name__


def _parsed(path: Path, content: bytes, words: int, limit: int) -> Any:
    """What the file holds. What is in it decides how it is read, not its name."""
    if not content.strip(b"\0"):
        raise Unreadable(path, "holds zeros alone" if content else "is empty")
    if content[8:9] == b"{":
        header = int.from_bytes(content[:8], "little")
        if header > min(words, len(content)):
            raise Unreadable(path, f"is damaged or no file of weights: its header would have {header} bytes")
    elif content.startswith(b"PK"):
        _check_zip(path, content, words, limit)
    elif content.startswith(b"\x80"):
        _check_pickles(path, content[: words + 1], 5, limit)  # number of torch's format, version, system, tree, keys
    else:
        raise Unreadable(path, "is no file of weights: neither torch's nor safetensors")
    try:
        if content[8:9] == b"{":
            return load_safetensors(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of another protocol of pickles, which may do
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (*_DAMAGE, SafetensorError) as error:
        raise Unreadable(path, f"is damaged or no file of weights ({one_line(error, 100)})") from None


def _check_zip(path: Path, content: bytes, words: int, limit: int) -> None:
    """Raises `Unreadable` where unpacking would take more than the file has, or what unpacks it would be code."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            records = archive.infolist()
            if packed := next((record for record in records if record.compress_type != zipfile.ZIP_STORED), None):
                raise Unreadable(path, f"is no file of torch: its record {_quoted(packed.filename)} is compressed")
            if (total := sum(record.file_size for record in records)) > len(content):
                raise Unreadable(path, f"has {len(content) / 1e6:.0f} MB and would unpack to {total / 1e6:.0f} MB")
            trees = [record for record in records if record.filename.endswith("data.pkl")]
            if len(trees) != 1:
                raise Unreadable(path, f"is a zip, but no file of torch: it has {len(trees)} records data.pkl, not one")
            if trees[0].file_size > words:
                raise Unreadable(path, f"has {trees[0].file_size} bytes of names and shapes, and {words} are read")
            tree = archive.read(trees[0])
    except (zipfile.BadZipFile, *_DAMAGE, NotImplementedError) as error:
        raise Unreadable(path, f"is damaged ({one_line(error, 100)})") from None
    _check_pickles(path, tree, 1, limit)


def _check_pickles(path: Path, content: bytes, count: int, limit: int) -> None:
    """Raises `Unreadable` where one of the first ``count`` pickles names more than tensors, or larger ones than fit."""
    stream = io.BytesIO(content)
    try:
        for number in range(count):
            for name, integer in _wishes(stream):
                if name is not None and name not in _NAMES:
                    raise Unreadable(path, f"wants {_quoted(name.replace(' ', '.'))} to be called or made: "
                                     "weights need tensors alone")  # fmt: skip
                # The first of several is the number that marks torch's older format, larger than any size.
                if integer > limit and (count == 1 or number):
                    raise Unreadable(path, f"wants a tensor of {integer} numbers: it is damaged or no file of weights")
    except _DAMAGE as error:
        raise Unreadable(path, f"is damaged or no file of weights ({one_line(error, 100)})") from None


def _wishes(stream: io.BytesIO) -> Iterator[tuple[str | None, int]]:
    """What the next pickle names, ``module name``, and the whole numbers in it; nothing is run."""
    texts: list[str] = []
    for code, argument, _ in pickletools.genops(stream):
        if code.name in ("GLOBAL", "INST"):
            yield str(argument), 0
        elif code.name == "STACK_GLOBAL":
            yield " ".join(texts[-2:]), 0
        elif code.name.startswith("EXT"):
            yield f"extension {argument}", 0
        elif isinstance(argument, str):
            texts.append(argument)
        elif isinstance(argument, int) and ("INT" in code.name or "LONG" in code.name):
            yield None, abs(argument)


def _quoted(text: str) -> str:
    return one_line(repr(text), 60)


def _unwrapped(path: Path, found: Any) -> dict[str, Tensor]:
    """Tensors by name, out of what may hold them among other things."""
    if isinstance(found, Mapping):
        found = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping):
        raise Unreadable(path, f"holds no weights by name but one object ({type(found).__name__})")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise Unreadable(path, f"holds more than weights: {_quoted(str(name))} is no tensor "
                             f"but of type {type(value).__name__}")  # fmt: skip
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise Unreadable(path, f"holds {_quoted(name)}, which is no dense tensor")
    return dict(found)


def _compare(
    path: Path, network: nn.Module, wanted: Mapping[str, Tensor], state: dict[str, Tensor], needed: Collection[str]
) -> None:
    """Raises `Unreadable` at the first weight that differs in name, shape or kind, or is not finite."""
    own = _name(network)
    for name, expected in wanted.items():
        if name not in state:
            if name.endswith("num_batches_tracked") or name not in needed:  # not in older files; torch begins to count
                continue
            raise Unreadable(path, f"is not of {own}: it has no {_quoted(name)}{nearest(name, state)}")
        value = state[name]
        if value.shape != expected.shape:
            raise Unreadable(path, f"is not of {own}: {_quoted(name)} has the shape {tuple(value.shape)}, "
                             f"and {tuple(expected.shape)} is wanted")  # fmt: skip
        kinds = [(tensor.is_floating_point(), tensor.is_complex()) for tensor in (value, expected)]
        if kinds[0] != kinds[1]:
            raise Unreadable(path, f"is not of {own}: {_quoted(name)} is of {value.dtype}, and "
                             f"{expected.dtype} is wanted")  # fmt: skip
        # In the network's own precision: a large float64 is no float32.
        state[name] = value.to(expected.dtype)
        if not torch.isfinite(state[name]).all():
            raise Unreadable(path, f"holds numbers that are not finite: in {_quoted(name)}")
    for name in state:
        if name not in wanted:
            raise Unreadable(path, f"is not of {own}, which has no {_quoted(name)}{nearest(name, wanted)}")
