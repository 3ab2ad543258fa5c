"""Checkpoints: one folder a step, that is whole or absent, and that loads without running anybody's code.

    checkpoints/step-00000500/
      generator.safetensors ...   the weights and buffers of each module; a study's other state, by part
      state.pt                    optimisers, random state, counters: loads with weights_only=True
      manifest.json               step and SHA-256 of each file

A kill at any moment leaves the last whole one. A truncated or corrupted one is named, set aside, and the one before it
is used.
"""

import hashlib
import io
import json
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from sandbox.base.errors import UserError, one_line, warn
from sandbox.base.files import fsync, json_text, sha256, write_file

Parts = Mapping[str, Mapping[str, Tensor]]
KEPT = 2  # the newest, and the one before in case the newest is damaged


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back and found whole.

    Attributes:
        step: steps completed when it was written.
        path: its folder.
        counters: what the training loop counts, such as the seconds spent.
        state: optimisers and random state, for `restore` and `restore_random`.
    """

    step: int
    path: Path
    counters: dict[str, Any]
    state: dict[str, Any]

    def weights(self, name: str) -> dict[str, Tensor]:
        """The state dict of a module, on the CPU."""
        return load_file(self.path / f"{name}.safetensors")

    def names(self) -> list[str]:
        """The modules it holds."""
        return sorted(path.stem for path in self.path.glob("*.safetensors"))

    def restore(self, modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]) -> None:
        """Puts the weights and the optimisers back as they were.

        Raises:
            UserError: it holds other modules, or tensors of other shapes: another version of the code wrote it.
        """
        try:
            for name, module in modules.items():
                module.load_state_dict(self.weights(name))
            for name, optimiser in optimisers.items():
                optimiser.load_state_dict(self.state["optimisers"][name])
        except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"checkpoint {self.path} does not fit these networks; did other code write it? ({one_line(error)})"
            ) from None

    def parts(self, names: Iterable[str]) -> dict[str, dict[str, Tensor]]:
        """What it holds beside networks and optimisers: part -> tensors by name; see `Study.state_dict`.

        Raises:
            UserError: a part is missing: another version of the code wrote it.
        """
        if missing := [name for name in names if name not in self.names()]:
            raise UserError(f"checkpoint {self.path} has no {missing[0]}; did other code write it?")
        return {name: self.weights(name) for name in names}

    def restore_random(self) -> None:
        """Puts torch's and Python's random state back as they were."""
        torch.set_rng_state(self.state["random"]["torch"])
        random.setstate(self.state["random"]["python"])
        if torch.cuda.is_available() and self.state["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(self.state["random"]["cuda"])


def _random_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        # Asked only of a GPU in use: asking would start one.
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def _contents(
    modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer], counters: Mapping[str, Any], parts: Parts
) -> Iterator[tuple[str, bytes]]:
    # Through memory: on a full disk the writers of safetensors and torch raise errors of their own, or abort.
    for name, values in {**{name: module.state_dict() for name, module in modules.items()}, **parts}.items():
        tensors = {  # contiguous copies, because safetensors refuses tied and strided tensors
            key: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for key, value in values.items()
        }
        yield f"{name}.safetensors", safetensors_bytes(tensors)
    state = {
        "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
        "random": _random_state(),
        "counters": dict(counters),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    yield "state.pt", buffer.getvalue()


def save_checkpoint(
    folder: Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    counters: Mapping[str, Any],
    parts: Parts | None = None,
) -> Path:
    """Writes ``folder/step-XXXXXXXX`` in one piece and keeps the newest `KEPT`.

    Args:
        folder: the run's ``checkpoints``.
        step: steps completed.
        modules, optimisers: by name.
        counters: what the training loop counts.
        parts: what else there is, a file each: part -> tensors by name; see `sandbox.train.study.Study.state_dict`.

    Raises:
        ValueError: a part has the name of a module.
        OSError: the disk is full, say; the checkpoints that stood are untouched.
    """
    parts = parts or {}
    if twice := parts.keys() & modules.keys():
        raise ValueError(f"a network and a part of the state are both called {min(twice)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    final, beside = folder / f"step-{step:08d}", folder / f".step-{step:08d}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        hashes = {}
        for name, content in _contents(modules, optimisers, counters, parts):
            write_file(beside / name, content)
            hashes[name] = hashlib.sha256(content).hexdigest()
        write_file(beside / "manifest.json", json_text({"step": step, "sha256": hashes}).encode())
        fsync(beside)
        if final.exists():
            _set_aside(final)
        beside.rename(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    fsync(folder)
    _prune(folder)
    return final


def _steps(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _prune(folder: Path) -> None:
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(old)
    for part in folder.glob(".step-*.part"):
        shutil.rmtree(part)


def _set_aside(path: Path) -> None:
    target = path.with_name(f"damaged-{path.name}")
    shutil.rmtree(target, ignore_errors=True)
    path.rename(target)


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    hashes, step = dict(manifest["sha256"]), int(path.name.removeprefix("step-"))
    # Only names that lie in this folder are opened, whatever the manifest says.
    present = {file.name for file in path.iterdir()} - {"manifest.json"}
    if odd := sorted(hashes.keys() ^ present):
        raise ValueError(f"missing, or not in its manifest: {', '.join(odd)}")
    if manifest["step"] != step:
        raise ValueError(f"its manifest says step {manifest['step']}")
    for name in present:
        if sha256(path / name) != hashes[name]:
            raise ValueError(f"{name} is not what was written")
    state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    return Checkpoint(step, path, state.pop("counters"), state)


def newest_checkpoint(folder: Path, *, mend: bool = False) -> Checkpoint | None:
    """The newest whole checkpoint; None where there is none. A damaged one is named in a warning.

    Args:
        folder: the run's ``checkpoints``.
        mend: the caller owns the run: damaged checkpoints are renamed and what a kill left half written is removed.
    """
    if mend:
        _prune(folder)
    damaged = 0
    for path in reversed(_steps(folder)):
        try:
            return _read(path)
        except Exception as error:  # whatever a damaged file makes JSON, torch or the disk raise
            warn(f"checkpoint {path} is damaged ({one_line(error)}): using the one before it")
            damaged += 1
            if mend:
                _set_aside(path)
    if damaged:
        warn(f"no whole checkpoint is left in {folder}")
    return None
