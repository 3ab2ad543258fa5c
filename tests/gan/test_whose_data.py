"""Runs that learn from a user's own pictures: stopped and continued, and compared, on these and on others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shop import Command, Workshop

FEW = "import gan.data; gan.data.HELD_OUT = 40"  # pictures to score against
KILL = """
old = gan.data.Scenes.images
def new(self, indices):
    new.count += 1
    if new.count > 4:
        import os
        os._exit(9)
    return old(self, indices)
new.count = 0
gan.data.Scenes.images = new
"""
FLAGS = ("--config", "gan/lsun_small", "--smoke", "--size", 16, "--device", "cpu", "--precision", "32")
PLACE = "smoke/gan/lsun_small"


def pictures(folder: Path, shade: int) -> Path:
    folder.mkdir(parents=True)
    for k in range(110):
        Image.fromarray(np.full((16, 16, 3), (k + shade) % 256, np.uint8)).save(folder / f"{k:03d}.png")
    return folder


def run(workshop: Workshop, root: Path, data: Path, *flags: object, before: str = FEW) -> Command:
    return workshop.module("sandbox.gan", *FLAGS, "--root", root, "--data-root", data, *flags, before=before)


def test_a_stopped_run_goes_on_with_a_copy_of_its_data_and_not_with_others(workshop: Workshop, tmp_path: Path) -> None:
    ours, others = pictures(tmp_path / "a/pictures", 0), pictures(tmp_path / "b/pictures", 100)
    assert run(workshop, tmp_path, ours, "--coord", "--checkpoint-every", 1, before=f"{FEW}\n{KILL}").wait() == 9
    folder = tmp_path / PLACE / "coord/seed-0"
    assert (folder / "config.yaml").is_file()
    assert not (folder / "result.json").exists()
    flags = ("--coord", "--checkpoint-every", 1)
    refused = run(workshop, tmp_path, others, *flags)
    assert refused.wait() == 2
    (line,) = [line for line in refused.complaints() if line.startswith("error: ")]
    assert line.startswith(f"error: {folder} has learned from folder of images pictures, 110 records, content ")
    assert ", but here is folder of images pictures, 110 records, content " in line
    renamed = tmp_path / "moved and renamed"
    shutil.copytree(ours, renamed, ignore=shutil.ignore_patterns("cache"))
    done = run(workshop, tmp_path, renamed, *flags)
    assert done.wait() == 0, done.stderr
    assert (folder / "result.json").is_file()


@pytest.mark.slow
def test_arms_that_learned_from_different_data_are_not_compared(workshop: Workshop, tmp_path: Path) -> None:
    ours, others = pictures(tmp_path / "a/pictures", 0), pictures(tmp_path / "b/pictures", 100)
    first = run(workshop, tmp_path, ours, "--no-coord")
    assert first.wait() == 0, first.stderr
    how = ("gan/lsun_small", *FLAGS[2:], "--root", tmp_path, "--data-root", others, "--seeds", 1)
    # The arm that is missing is made by a process of its own, which must have as few pictures to score against.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\nif 'sandbox.launcher.worker' in ' '.join(sys.orig_argv):\n    " + FEW.replace("; ", "\n    ")
    )
    path = f"import os; os.environ['PYTHONPATH'] = {str(site)!r} + os.pathsep + os.environ['PYTHONPATH']"
    compared = workshop.module("sandbox.compare", *how, before=path)
    assert compared.wait() == 1
    assert "1 of 2 runs failed" in compared.stderr
    assert "coord/seed-0 has learned from folder of images pictures" in compared.stderr.replace("\n", "")
    alone = run(workshop, tmp_path, others, "--coord")
    assert alone.wait() == 0, alone.stderr
    reported = workshop.module("sandbox.compare", "gan/lsun_small", "--smoke", "--root", tmp_path, "--report-only")
    assert reported.wait() == 2
    assert "runs of different data are not compared" in reported.stderr
