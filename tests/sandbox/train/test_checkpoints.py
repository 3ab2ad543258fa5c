import errno
import hashlib
import json
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sandbox.base.errors import UserError
from sandbox.base.files import SEAL, write_json
from sandbox.nn.coordconv import CoordConv2d, to_concatenated
from sandbox.train import checkpoints
from sandbox.train.checkpoints import KEPT, newest_checkpoint, save_checkpoint

SHARED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Networks:
    """Tied, strided, low-precision and integer tensors, and an optimiser with a state."""

    def __init__(self, width: int = 3) -> None:
        convolution = nn.Conv2d(2, width, 3).to(memory_format=torch.channels_last)
        norm = nn.BatchNorm2d(width)
        low = nn.Linear(2, 2).to(torch.bfloat16)
        self.modules = {"net": nn.Sequential(convolution, norm), "tied": nn.Sequential(convolution, low)}
        self.optimisers = {"adam": torch.optim.Adam(self.modules["net"].parameters(), 0.1)}

    def train(self) -> None:
        loss = self.modules["net"](torch.randn(2, 2, 5, 5)).square().mean()
        self.optimisers["adam"].zero_grad()
        loss.backward()
        self.optimisers["adam"].step()

    def save(self, folder: Path, step: int) -> Path:
        return save_checkpoint(folder, step, self.modules, self.optimisers, {"seconds": 1.5, "curve": {"a": [1.0, 2]}})

    def tensors(self) -> list[torch.Tensor]:
        state = self.optimisers["adam"].state_dict()["state"]
        return [t.clone() for m in self.modules.values() for t in m.state_dict().values()] + [
            t.clone() for slot in state.values() for t in slot.values()
        ]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return len(one) == len(two) and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, two, strict=True)
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with the checkpoints of steps 5 and 10."""
    networks = Networks()
    for step in (5, 10):
        networks.train()
        networks.save(tmp_path, step)
    return tmp_path


def test_what_was_saved_comes_back_and_trains_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    first, second = Networks(), Networks()
    first.train()
    chance = random.getstate()  # compared as it is: beartype draws from it
    path = first.save(tmp_path, 7)
    saved = first.tensors()
    first.train()
    noise = torch.rand(3)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    counters = {"seconds": 1.5, "curve": {"a": (1.0, 2)}, "mark": {}}
    assert (found.path, found.step, found.counters) == (path, 7, counters)
    assert found.names() == ["net", "tied"]
    found.restore(second.modules, second.optimisers)
    assert same(second.tensors(), saved)
    found.restore_random()
    assert random.getstate() == chance
    second.train()
    assert same(second.tensors(), first.tensors())
    assert torch.equal(torch.rand(3), noise)


def test_it_is_safetensors_a_file_that_loads_as_weights_only_and_a_manifest(written: Path) -> None:
    folder = written / "step-00000010"
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "net.safetensors", "state.pt", "tied.safetensors",
    ]  # fmt: skip
    assert set(torch.load(folder / "state.pt", weights_only=True)) == {"optimisers", "random", "counters"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["step"] == 10
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_newest_are_kept_by_number_not_by_name(tmp_path: Path) -> None:
    networks, steps = Networks(), [99_999_998, 99_999_999, 100_000_000, 100_000_001]
    for step in steps:
        networks.save(tmp_path, step)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100_000_001
    assert {path.name for path in tmp_path.iterdir()} == {f"step-{step}" for step in steps[-KEPT:]}


def test_nothing_is_found_where_nothing_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert newest_checkpoint(tmp_path / "none") is None
    (tmp_path / "step-x").mkdir()
    assert newest_checkpoint(tmp_path) is None
    assert capsys.readouterr().err == ""


# ---- damage


@SHARED
@given(st.sampled_from(["net.safetensors", "state.pt", "tied.safetensors", "manifest.json"]), st.data())
def test_any_damage_to_the_newest_is_named_and_the_one_before_is_used(
    written: Path, capsys: pytest.CaptureFixture[str], name: str, data: st.DataObject
) -> None:
    newest, file = written / "step-00000010", written / "step-00000010" / name
    content = file.read_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "gone", "grown"]))
    if kind == "gone":
        file.unlink()
    elif kind == "grown":
        file.write_bytes(content + b"}")
    else:
        at = data.draw(st.integers(0, len(content) - 2 if name == "manifest.json" else len(content) - 1))
        file.write_bytes(content[:at] + (b"" if kind == "cut" else bytes([content[at] ^ 1]) + content[at + 1 :]))
    capsys.readouterr()
    found = newest_checkpoint(written)
    lines = capsys.readouterr().err.splitlines()
    file.write_bytes(content)
    assert found is not None
    # White space in the manifest may change; nothing else may.
    if not (found.step == 10 and name == "manifest.json" and not lines):
        assert found.step == 5
        assert len(lines) == 1
        assert lines[0].startswith(f"warning: checkpoint {newest} cannot be used (")
        assert lines[0].endswith("): using the one before it")


@pytest.mark.parametrize(
    "names",
    [{"../outside": "net.safetensors"}, {"/etc/hostname": None}, {"sub/file": None}, {"..": None}, {"state.pt": None}],
)
def test_a_manifest_that_names_other_files_is_damaged_and_nothing_outside_is_opened(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: dict[str, str | None]
) -> None:
    folder = written / "step-00000010"
    (written / "outside").write_bytes((folder / "net.safetensors").read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, instead_of in names.items():
        digest = manifest["sha256"].pop(instead_of or name, "0" * 64)
        if name != "state.pt":
            manifest["sha256"][name] = digest
    write_manifest(folder, manifest)
    opened: list[Path] = []
    digest_of = checkpoints.sha256
    monkeypatch.setattr(checkpoints, "sha256", lambda path, size: opened.append(path) or digest_of(path, size))
    found = newest_checkpoint(written)
    assert found is not None
    assert found.step == 5
    assert "cannot be used" in capsys.readouterr().err
    assert {path.parent for path in opened} == {written / "step-00000005"}


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """One that its checksum does not betray."""
    write_json(folder / "manifest.json", {name: value for name, value in manifest.items() if name != SEAL})


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_pickle_that_runs_code_is_damaged_even_with_the_right_hash(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    folder = written / "step-00000010"
    manifest = json.loads((folder / "manifest.json").read_text())
    torch.save({"counters": Bomb()}, folder / "state.pt")
    bombs = (folder / "state.pt").read_bytes(), pickle.dumps(Bomb())
    for bomb in bombs:
        (folder / "state.pt").write_bytes(bomb)
        manifest["sha256"]["state.pt"], manifest["sizes"]["state.pt"] = hashlib.sha256(bomb).hexdigest(), len(bomb)
        write_manifest(folder, manifest)
        found = newest_checkpoint(written)
        assert found is not None
        assert found.step == 5
        assert "cannot be used (state.pt is of another kind (" in capsys.readouterr().err
        assert not (tmp_path / "exploded").exists()
        pickle.loads(pickle.dumps(Bomb()))
        (tmp_path / "exploded").rmdir()  # it is there: the bomb is a real one


def test_only_the_owner_of_the_run_sets_damaged_checkpoints_aside(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (written / "step-00000010" / "state.pt").write_bytes(b"torn")
    (written / ".step-00000011.part").mkdir()
    before = sorted(path.name for path in written.iterdir())
    assert newest_checkpoint(written).step == 5  # type: ignore[union-attr]
    assert sorted(path.name for path in written.iterdir()) == before
    assert newest_checkpoint(written, mend=True).step == 5  # type: ignore[union-attr]
    assert sorted(path.name for path in written.iterdir()) == ["damaged-step-00000010", "step-00000005"]
    capsys.readouterr()
    newest_checkpoint(written)
    assert capsys.readouterr().err == "", "one warning is enough"


def test_when_none_is_whole_that_is_said(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in written.iterdir():
        (path / "manifest.json").unlink()
    assert newest_checkpoint(written) is None
    assert capsys.readouterr().err.splitlines()[-1] == f"warning: no whole checkpoint is left in {written}"


def test_a_checkpoint_renamed_to_another_step_is_damaged(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (written / "step-00000010").rename(written / "step-00000012")
    assert newest_checkpoint(written).step == 5  # type: ignore[union-attr]
    assert "says in its manifest that it is of step 10" in capsys.readouterr().err


@pytest.mark.parametrize("modules", ["wider", "more"])
def test_networks_of_other_code_are_refused_in_one_line(written: Path, modules: str) -> None:
    found, other = newest_checkpoint(written), Networks(width=4 if modules == "wider" else 3)
    assert found is not None
    if modules == "more":
        other.modules["extra"] = nn.Sequential(nn.Linear(1, 1))
    with pytest.raises(UserError) as caught:
        found.restore(other.modules, other.optimisers)
    assert str(caught.value).startswith(f"checkpoint {written / 'step-00000010'} does not fit")
    assert str(caught.value).isprintable()


def test_coordinate_weights_of_older_code_are_read_and_their_optimiser_is_not(tmp_path: Path) -> None:
    """It kept content and coordinates in one tensor: what only looks goes on with them, training cannot."""
    older = nn.Sequential(nn.Conv2d(2 + 2, 3, 3))  # concatenating, as a coordinate layer of the older code was
    save_checkpoint(tmp_path, 5, {"net": older}, {"adam": torch.optim.Adam(older.parameters(), 0.1)}, {})
    found, layer = newest_checkpoint(tmp_path), CoordConv2d(2, 3, 3)
    assert found is not None
    now = nn.Sequential(layer)
    found.restore({"net": now}, {})
    assert torch.equal(to_concatenated(layer), older[0].weight)
    with pytest.raises(UserError, match="did other code write it"):
        found.restore({"net": now}, {"adam": torch.optim.Adam(now.parameters(), 0.1)})


# ---- a full disk


@pytest.mark.parametrize("file", range(4))
def test_a_write_that_fails_names_its_file_and_leaves_what_stood(
    written: Path, monkeypatch: pytest.MonkeyPatch, file: int
) -> None:
    before = {path.relative_to(written): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    written_files: list[Path] = []

    def full(path: Path, content: bytes) -> None:
        written_files.append(path)
        path.write_bytes(content[: len(content) // 2] if len(written_files) > file else content)
        if len(written_files) > file:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints, "write_file", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        Networks().save(written, 15)
    assert caught.value.filename == str(written_files[-1])
    assert {path.relative_to(written): path.read_bytes() for path in written.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in written.iterdir()) == ["step-00000005", "step-00000010"]


def test_what_a_kill_left_half_written_is_in_nobodys_way(written: Path) -> None:
    shutil.copytree(written / "step-00000010", written / ".step-00000015.part")
    (written / ".step-00000015.part" / "net.safetensors").write_bytes(b"half")
    networks = Networks()
    networks.save(written, 15)
    second, found = Networks(), newest_checkpoint(written)
    assert found is not None
    found.restore(second.modules, second.optimisers)
    assert same(second.tensors(), networks.tensors())
    assert not list(written.glob(".*"))
