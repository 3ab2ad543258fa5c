"""Whatever a file of weights is, it fits or one line says why not, in little memory and time."""

import io
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sandbox.base.reading import Unreadable
from sandbox.nn.weights import read_weights


def small(seed: int = 0, channels: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.Linear(5, 2))


def bits(network: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def saved(state: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    torch.save(state, content, **options)
    return content.getvalue()


def refusal(path: Path, network: nn.Module | None = None) -> str:
    """What is said; the network must be as it was, and little memory may have been taken."""
    network = small(1) if network is None else network
    before, most = bits(network), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable) as caught:
        read_weights(path, network)
    line = str(caught.value)
    assert line.startswith(f"{path} ")
    assert "\n" not in line
    assert len(caught.value.problem) < 300
    assert bits(network) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 300 * 2**10  # KiB
    return caught.value.problem


# ---- what fits


@pytest.mark.parametrize(
    "write",
    [
        lambda state, path: torch.save(state, path),
        lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
        lambda state, path: torch.save(dict(state), path),
        lambda state, path: torch.save({name: nn.Parameter(value, value.is_floating_point())
                                        for name, value in state.items()}, path),
        lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path),
        lambda state, path: torch.save({"model": state, "optimizer": {"lr": 0.1, "state": {}}}, path),
        lambda state, path: save_file(state, path),
        lambda state, path: torch.save({name: value for name, value in state.items() if "tracked" not in name}, path),
    ],
    ids=["torch", "legacy", "dict", "parameters", "state_dict", "model", "safetensors", "old"],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["pth", "safetensors", "bin"])
def test_weights_are_read_whatever_their_format_and_name(
    tmp_path: Path, write: Callable[[Any, Path], None], ending: str
) -> None:
    write(small().state_dict(), tmp_path / f"weights.{ending}")
    network = small(1)
    read_weights(tmp_path / f"weights.{ending}", network)
    assert bits(network) == bits(small())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_precision_become_the_network_s(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save(small().to(dtype).state_dict(), tmp_path / "weights.pth")
    network = small(1)
    read_weights(tmp_path / "weights.pth", network)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    torch.testing.assert_close(network[0].weight, small()[0].weight, rtol=1e-2, atol=1e-2)  # type: ignore[index]


# ---- what is no file, or a damaged one


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, problem in {
        "none": "is not there", "folder": "is a folder", "pipe": "is a pipe", "device": "is a device",
        "dead": "is a link to what is not there", "loop": "is a link that leads to itself",
    }.items():  # fmt: skip
        assert refusal(tmp_path / name) == problem


def test_a_file_that_must_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(saved(small().state_dict()))

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read everything
    assert "permission denied" in refusal(tmp_path / "weights").lower()


CONTENTS: dict[str, bytes] = {
    "torch": saved(small().state_dict()),
    "legacy": saved(small().state_dict(), _use_new_zipfile_serialization=False),
}


@pytest.fixture(params=["torch", "legacy", "safetensors"])
def content(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    if request.param == "safetensors":
        save_file(small().state_dict(), tmp_path / "whole")
        return (tmp_path / "whole").read_bytes()
    return CONTENTS[request.param]


def test_damage_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights"
    for part in (b"", b"\0", b"\0" * len(content), b"PK", b"\x80\x02", b"text", b"\xff" * 5000, b"12345678{", b"[1]\n"):
        path.write_bytes(part)
        refusal(path)
    for share in np.linspace(0.001, 0.999, 40):
        path.write_bytes(content[: int(len(content) * share)])
        refusal(path)
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    refusal(path)


def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path, content: bytes) -> None:
    """Where a format has no checksum a weight may differ; nothing else may happen than that it is said."""
    rng, path, said = np.random.default_rng(0), tmp_path / "weights", list[str]()
    for place in rng.integers(0, len(content), 300):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            read_weights(path, small(1))
        except Unreadable as error:
            said.append(str(error))
    assert len(said) > 20
    assert not any("\n" in line for line in said)


# ---- what would do harm


class Harm:
    """An object whose pickle runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, protocol: int, zipped: bool) -> None:
    harm = {"weight": Harm(tmp_path / "harm")}
    path = tmp_path / "weights.pth"
    path.write_bytes(saved(harm, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped))
    assert "wants '" in refusal(path)
    assert "mkdir" in refusal(path)
    path.write_bytes(pickle.dumps(harm, protocol))
    assert "mkdir" in refusal(path)
    assert not (tmp_path / "harm").exists()


def zipped(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return content.getvalue()


def test_bombs_do_not_go_off(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"")
        with archive.open("archive/data/0", "w") as record:
            for _ in range(256):
                record.write(bytes(2**22))  # 1 GiB, in a file of one MB
    assert path.stat().st_size < 2e6
    assert "is compressed" in refusal(path)
    # One that says it is stored, and of which the directory says that it is larger than the file.
    bomb = bytearray(zipped({"archive/data.pkl": pickle.dumps({}, 2), "archive/data/0": b"x" * 1000}))
    at = bomb.rindex(b"PK\x01\x02")
    bomb[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(bomb)
    assert "would unpack to 2147 MB" in refusal(path)
    # A tree of names and shapes without end, in either format.
    tree = pickle.dumps([f"{k}" for k in range(300_000)], 2)
    path.write_bytes(zipped({"archive/data.pkl": tree}))
    assert "bytes of names and shapes" in refusal(path)
    path.write_bytes(tree)
    refusal(path)
    path.write_bytes(zipped({"a/data.pkl": b"", "b/data.pkl": b""}))
    assert "has 2 records data.pkl, not one" in refusal(path)
    path.write_bytes(zipped({"a/other": b""}))
    assert "has 0 records data.pkl" in refusal(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        file.truncate(10**12)  # takes no place on the disk
    assert refusal(path).startswith("has 1000000 MB, too many for the weights of Sequential: at most 17 MB are read")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_larger_than_the_file_is_not_made(tmp_path: Path, zipped: bool) -> None:
    content = saved({"0.weight": torch.zeros(70_000)}, _use_new_zipfile_serialization=zipped)
    place, count = content.index(struct.pack("<BI", ord("J"), 70_000)), 0
    changed = bytearray(content)
    while place >= 0:  # the storage's size, and the tensor's
        changed[place : place + 5] = struct.pack("<Bi", ord("J"), 2**31 - 1)
        place, count = changed.find(struct.pack("<BI", ord("J"), 70_000)), count + 1
    path = tmp_path / "weights.pth"
    path.write_bytes(changed)
    assert count >= 2
    assert "wants a tensor of 2147483647 numbers" in refusal(path) or zipped  # the zip's checksum may be first


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for bomb in (b"\x80\x02" + b"]" * 900_000 + b".", b"\x80\x02" + b"(" * 900_000 + b"t" * 900_000 + b".",
                 b"\x80\x02" + b"]" * 400_000 + b"a" * 399_999 + b"."):  # fmt: skip
        path.write_bytes(bomb)
        refusal(path)
        path.write_bytes(zipped({"archive/data.pkl": bomb, "archive/version": b"3\n"}))
        refusal(path)


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for header in (2**63, 2**40, 10**7):
        path.write_bytes(struct.pack("<Q", header) + b"{" + b" " * 100)
        assert f"its header would have {header} bytes" in refusal(path)


# ---- another network's


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({}, "is not of Sequential: it has no '0.weight'"),
        (small(channels=5).state_dict(),
         "is not of Sequential: '0.weight' has the shape (5, 3, 3, 3), and (4, 3, 3, 3) is wanted"),
        ({("1" if name[0] == "2" else name[0]) + name[1:]: value for name, value in small().state_dict().items()},
         "is not of Sequential: "),
        ({name: value for name, value in small().state_dict().items() if name != "2.bias"},
         "is not of Sequential: it has no '2.bias'; did you mean"),
        ({**small().state_dict(), "2.biass": torch.zeros(2)},
         "is not of Sequential, which has no '2.biass'; did you mean '2.bias'?"),
        ({f"module.{name}": value for name, value in small().state_dict().items()},
         "it has no '0.weight'; did you mean 'module.0.weight'?"),
        ({**small().state_dict(), "2.bias": torch.tensor([1, 2])},
         "'2.bias' is of torch.int64, and torch.float32 is wanted"),
        ({**small().state_dict(), "2.bias": torch.tensor([True, False])}, "'2.bias' is of torch.bool, and"),
        ({**small().state_dict(), "2.bias": torch.zeros(2, dtype=torch.complex64)}, "'2.bias' is of torch.complex64"),
        ({**small().state_dict(), "1.num_batches_tracked": torch.tensor(0.5)}, "is of torch.float32, and torch.int64"),
        ({**small().state_dict(), "2.bias": torch.tensor([0.0, float("nan")])}, "that are not finite: in '2.bias'"),
        ({**small().state_dict(), "2.bias": torch.tensor([0.0, float("inf")])}, "that are not finite: in '2.bias'"),
        ({**small().state_dict(), "2.bias": torch.tensor([0.0, 1e30]).double() ** 9}, "not finite: in '2.bias'"),
        ({**small().state_dict(), "2.bias": torch.zeros(2).to_sparse()}, ""),
        ({**small().state_dict(), "2.bias": "zeros"}, "holds more than weights: '2.bias' is no tensor but of type str"),
        ({**small().state_dict(), 5: torch.zeros(2)}, "holds more than weights: '5' is no tensor"),
        ({"nested": {"deep": small().state_dict()}}, "holds more than weights: 'nested' is no tensor but of type"),
        ({"state_dict": {}}, "it has no '0.weight'"),
        ({"state_dict": 3}, "'state_dict' is no tensor but of type int"),
        ([torch.zeros(3)], "holds no weights by name but one object (list)"),
        (torch.zeros(3), "holds no weights by name but one object (Tensor)"),
        (None, "holds no weights by name but one object (NoneType)"),
        (3, "(int)"),
        (OrderedDict(a=np.zeros(3)), "wants 'numpy"),
        (small(), "wants 'torch.nn.modules.container.Sequential'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path: Path, state: Any, problem: str) -> None:
    path = tmp_path / "weights.pth"
    for new in (True, False):
        torch.save(state, path, _use_new_zipfile_serialization=new)
        assert problem in refusal(path)
