"""The commands a user types: a smoke run, walks between images, a comparison."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shop import SmokeRun, Workshop

from sandbox.base.errors import UserError
from sandbox.cli.video import main
from sandbox.data.shapes import SortOfClevr
from sandbox.experiment.spec import study_spec
from sandbox.train.loading import load
from vae.spec import VaeConfig
from vae.study import VaeStudy

pytestmark = pytest.mark.slow

FLAGS = ("--smoke", "--device", "cpu", "--precision", "32")


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vae")
    command = workshop.module("sandbox.vae", "--coord", *FLAGS, "--root", root)
    assert command.wait() == 0, command.stderr
    assert "score/position_error" in command.stdout
    return root / "smoke/vae/sort_of_clevr/coord/seed-0"


def test_a_smoke_run_leaves_scores_curves_and_pictures(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    config = load(run, "cpu").config
    assert {score.tag for score in study_spec("vae").scores_of(config)} <= result["scores"].keys()
    assert isinstance(result["scores"]["score/position_error"], float)  # never undefined
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    tags = {tag for row in rows for tag in row}
    assert {"loss/recon", "loss/kl", "loss/elbo", "beta", "preview/position_error", "preview/active_units"} <= tags
    with Image.open(run / "samples/interpolation.gif") as film:
        assert getattr(film, "n_frames", 1) > 50
    with Image.open(run / "samples/step-00000006.png") as sheet:
        assert sheet.size == (530, 530)


def test_a_finished_run_is_loaded_for_a_notebook(run: Path) -> None:
    study = load(run, "cpu").study
    assert isinstance(study, VaeStudy)
    images = SortOfClevr().render(np.arange(3)).images
    assert study.encode(images).mean.shape == (3, 10)
    assert study.reconstruct(images).shape == images.shape


def test_a_film_walks_from_one_image_to_another(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = SortOfClevr().render(np.array([9])).images[0].transpose(1, 2, 0)
    Image.fromarray(picture).resize((128, 128), Image.Resampling.NEAREST).save(tmp_path / "nine.png")
    output = tmp_path / "walk.gif"
    ends = ["--from", "7", "--to", str(tmp_path / "nine.png")]
    main([str(run), *ends, "--frames", "6", "--device", "cpu", "--output", str(output)])
    assert "6 frames" in capsys.readouterr().out
    frames = []
    with Image.open(io.BytesIO(output.read_bytes())) as film:
        for t in range(getattr(film, "n_frames", 1)):
            film.seek(t)
            frames.append(np.asarray(film.convert("RGB"))[6:198:3, 6:])
    # Enlarged three times: a gap of 2 is 6 pixels, an image of 64 is 192.
    left = frames[0][:, 0:192:3]
    assert abs(left.astype(int) - SortOfClevr().render(np.array([7])).images[0].transpose(1, 2, 0)).mean() < 3
    assert (frames[0][:, :192] == frames[-1][:, :192]).all()  # the first image stands still


def test_a_run_that_encodes_nothing_is_refused_in_one_line(smoke_run: SmokeRun, tmp_path: Path) -> None:
    flags = ["--from", "1", "--to", "2", "--device", "cpu", "--output", str(tmp_path / "x.gif")]
    with pytest.raises(UserError, match="for networks that encode images") as refused:
        main([str(smoke_run.folder), *flags])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "x.gif").exists()


def test_a_comparison_of_the_two_arms(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run.parents[3], tmp_path / "smoke")  # one arm is there already
    flags = ("--smoke", "--device", "cpu", "--root", tmp_path, "--seeds", 1, "--precision=32")
    command = workshop.module("sandbox.compare", "vae/sort_of_clevr", *flags)
    assert command.wait() == 0, command.stderr
    folder = tmp_path / "smoke/vae/sort_of_clevr/comparison"
    assert (folder / "report.html").is_file()
    assert "position error" in (folder / "report.md").read_text()


def test_the_smoke_recipe_is_the_real_one_shrunk() -> None:
    small, real = VaeConfig().shrunk(), VaeConfig()
    changed = {name for name in VaeConfig.model_fields if getattr(small, name) != getattr(real, name)}
    assert changed <= {"steps", "batch", "log_every", "preview_every", "checkpoint_every", "width", "e_width", "images"}
