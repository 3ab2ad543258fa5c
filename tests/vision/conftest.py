"""Data that the tests of several tasks want."""

import pickle
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds CIFAR-10 as it is unpacked, ten images a file: those of file k are grey of value k."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: (Path(self.root) / self.base_folder).is_dir())
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for k, (name, _) in enumerate([*CIFAR10.train_list, *CIFAR10.test_list]):
        content = {"data": np.full((10, 3072), k, np.uint8), "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
    return tmp_path
