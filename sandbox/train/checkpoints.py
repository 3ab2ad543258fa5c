"""Checkpoints: one folder a step, that is whole or absent, and that loads without running anybody's code.

    checkpoints/step-00000500/
      generator.safetensors ...   the weights and buffers of each module; a study's other state, by part
      state.pt                    optimisers, random state, counters: loads with weights_only=True
      manifest.json               whose it is, step and SHA-256 of each file

A kill at any moment leaves the last whole one. A damaged one, or one of another run, is named, set aside, and the one
before it is used. Files that its manifest does not list are nobody's and left alone.
"""

import hashlib
import io
import pickle
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from sandbox.base.errors import UserError, one_line, warn
from sandbox.base.files import fsync, json_text, make_way, remove, set_aside, write_file
from sandbox.base.reading import ReadBack, Unreadable, read_json, sha256
from sandbox.experiment.written import Owned, differs

Parts = Mapping[str, Mapping[str, Tensor]]
KEPT = 2  # the newest, and the one before in case the newest is damaged


class Manifest(Owned):
    """What ``manifest.json`` holds: the step, and SHA-256 and bytes of each file by name; older ones no bytes."""

    step: int
    sha256: dict[str, str]
    sizes: dict[str, int] = Field(default_factory=dict)


class Counters(ReadBack):
    """What the training loop counts.

    Attributes:
        seconds: of training so far.
        curve: tag -> sum and number of values since the last point.
        mark: name of a file that grows -> its bytes and their CRC-32, see `sandbox.train.tracking`.
    """

    seconds: float = 0.0
    curve: dict[str, tuple[float, float]] = Field(default_factory=dict)
    mark: dict[str, int | tuple[int, int]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Whose checkpoints are looked for.

    Attributes:
        run: identity of the run, see `sandbox.experiment.run.Run.proof`.
        steps: how many it has.
        places: settings that tell nothing of an identity.
    """

    run: Mapping[str, Any]
    steps: int
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back and found whole.

    Attributes:
        step: steps completed when it was written.
        path: its folder.
        files: names of its files.
        counters: what the training loop counts, such as the seconds spent.
        state: optimisers and random state, for `restore` and `restore_random`.
    """

    step: int
    path: Path
    files: tuple[str, ...]
    counters: dict[str, Any]
    state: dict[str, Any]

    def weights(self, name: str) -> dict[str, Tensor]:
        """The state dict of a module, on the CPU."""
        return load_file(self.path / f"{name}.safetensors")

    def names(self) -> list[str]:
        """The modules it holds."""
        return [Path(name).stem for name in self.files if name.endswith(".safetensors")]

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
    run: Mapping[str, Any] | None = None,
) -> Path:
    """Writes ``folder/step-XXXXXXXX`` in one piece and keeps the newest `KEPT` up to it.

    Args:
        folder: the run's ``checkpoints``.
        step: steps completed.
        modules, optimisers: by name.
        counters: what the training loop counts.
        parts: what else there is, a file each: part -> tensors by name; see `sandbox.train.study.Study.state_dict`.
        run: whose it is, see `Wanted`.

    Raises:
        ValueError: a part has the name of a module.
        OSError: the disk is full, say; the checkpoints that stood are untouched.
    """
    parts = parts or {}
    if twice := parts.keys() & modules.keys():
        raise ValueError(f"a network and a part of the state are both called {min(twice)!r}")
    make_way(folder, folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    final, beside = folder / f"step-{step:08d}", folder / f".step-{step:08d}.part"
    remove(beside)
    try:
        beside.mkdir()
        hashes, sizes = {}, {}
        for name, content in _contents(modules, optimisers, counters, parts):
            write_file(beside / name, content)
            hashes[name], sizes[name] = hashlib.sha256(content).hexdigest(), len(content)
        head = {"step": step, **({} if run is None else {"run": dict(run)})}
        write_file(beside / "manifest.json", json_text({**head, "sha256": hashes, "sizes": sizes}).encode())
        fsync(beside)
        if final.exists() or final.is_symlink():
            set_aside(final, "stands where this run's next checkpoint goes")
        beside.rename(final)
    finally:
        remove(beside)
    fsync(folder)
    _prune(folder, step)
    return final


def _steps(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _number(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _prune(folder: Path, step: int) -> None:
    """Removes those before ``step``, which is whole, but for the last ones; and what a kill left half written."""
    for old in [path for path in _steps(folder) if _number(path) <= step][:-KEPT]:
        remove(old)
    for part in folder.glob(".step-*.part"):
        remove(part)


def read_checkpoint(path: Path, wanted: Wanted | None = None) -> Checkpoint:
    """A checkpoint found whole.

    Raises:
        Unreadable: it is not, or another run's.
    """
    manifest, step = read_json(path / "manifest.json", Manifest), _number(path)
    if manifest.step != step:
        raise Unreadable(path, f"says in its manifest that it is of step {manifest.step}")
    if "state.pt" not in manifest.sha256:
        raise Unreadable(path, "lists no state.pt in its manifest")
    # Only names that lie in this folder are opened, whatever the manifest says.
    if odd := [name for name in manifest.sha256 if Path(name).name != name or name == ".."]:
        raise Unreadable(path, f"lists {one_line(odd[0], 60)!r} in its manifest, which is no file of its own")
    for name, digest in manifest.sha256.items():
        if sha256(path / name, manifest.sizes.get(name)) != digest:
            raise Unreadable(path / name, "is not what was written: its checksum differs")
    if wanted is not None and (other := differs(manifest.run, wanted.run, wanted.places)):
        raise Unreadable(path, f"belongs to another run ({other})")
    if wanted is not None and step > wanted.steps:
        raise Unreadable(path, f"is of step {step}, and this run has {wanted.steps}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that is not torch's own: what it holds is refused or not
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        counters = Counters.model_validate(state.pop("counters")).model_dump()
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, AttributeError, TypeError, EOFError) as error:
        raise Unreadable(path / "state.pt", f"is of another kind ({one_line(error, 100)})") from None
    return Checkpoint(step, path, tuple(sorted(manifest.sha256)), counters, state)


def newest_checkpoint(folder: Path, wanted: Wanted | None = None, *, mend: bool = False) -> Checkpoint | None:
    """The newest whole checkpoint; None where there is none. A damaged or another run's is named in a warning.

    Args:
        folder: the run's ``checkpoints``.
        wanted: whose; None: anybody's.
        mend: the caller owns the run: what cannot be used is renamed, and what is older than needed, or was left half
            written by a kill, is removed, once a newer one is found whole.
    """
    passed = 0
    for path in reversed(_steps(folder)):
        try:
            found = read_checkpoint(path, wanted)
        except (Unreadable, OSError) as error:
            problem = f"{error.path.name} {error.problem}" if isinstance(error, Unreadable) else one_line(error)
            problem = problem.removeprefix(f"{path.name} ")
            passed += 1
            if mend:
                set_aside(path, f"cannot be used ({problem})")
            else:
                warn(f"checkpoint {path} cannot be used ({problem}): using the one before it")
            continue
        if mend:
            _prune(folder, found.step)
        return found
    if passed:
        warn(f"no whole checkpoint is left in {folder}")
    return None
