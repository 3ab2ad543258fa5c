"""Checkpoints: one folder a step, that is whole or absent, and that loads without running anybody's code.

    checkpoints/step-00000500/
      generator.safetensors ...   the weights and buffers of each module
      state.pt                    optimisers, random state, counters: loads with weights_only=True
      manifest.json               step and SHA-256 of each file

A kill at any moment leaves the last whole one. A truncated or corrupted one is named, set aside, and the one before it
is used.
"""

import json
import random
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sandbox.files import fsync, sha256, write_json

KEPT = 2  # the newest, and the one before in case the newest is damaged


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back and found whole.

    Attributes:
        step: steps completed when it was written.
        path: its folder.
        counters: what the training loop counts, such as the seconds spent.
        state: optimisers and random state, for `restore`.
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
        """Puts the weights, the optimisers and the random state back as they were."""
        for name, module in modules.items():
            module.load_state_dict(self.weights(name))
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(self.state["optimisers"][name])
        torch.set_rng_state(self.state["random"]["torch"])
        random.setstate(self.state["random"]["python"])
        if torch.cuda.is_available() and self.state["random"]["cuda"]:
            torch.cuda.set_rng_state_all(self.state["random"]["cuda"])


def _random_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def save_checkpoint(
    folder: Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    counters: Mapping[str, Any],
) -> Path:
    """Writes ``folder/step-XXXXXXXX`` in one piece and keeps the newest `KEPT`.

    Raises:
        OSError: the disk is full, say; the checkpoints that stood are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final, beside = folder / f"step-{step:08d}", folder / f".step-{step:08d}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        for name, module in modules.items():
            tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
            save_file(tensors, beside / f"{name}.safetensors")
        state = {
            "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
            "random": _random_state(),
            "counters": dict(counters),
        }
        torch.save(state, beside / "state.pt")
        files = sorted(beside.iterdir())
        write_json(beside / "manifest.json", {"step": step, "sha256": {path.name: sha256(path) for path in files}})
        for path in [*files, beside]:
            fsync(path)
        if final.exists():
            _set_aside(final)
        beside.rename(final)
        fsync(folder)
    except SafetensorError as error:  # safetensors wraps the system's error, "No space left on device" among them
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _prune(folder)
    return final


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


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
    for name, digest in manifest["sha256"].items():
        if sha256(path / name) != digest:
            raise ValueError(f"{name} is not what was written")
    state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    return Checkpoint(int(manifest["step"]), path, state.pop("counters"), state)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint; a damaged one is named in a warning and set aside. None where there is none."""
    for path in reversed(_steps(folder)):
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
            warnings.warn(f"checkpoint {path} is damaged ({error}): using the one before it", stacklevel=2)
            _set_aside(path)
    return None
