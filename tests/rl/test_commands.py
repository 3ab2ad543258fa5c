"""The real command, stopped, continued and mistyped, and what a finished run leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest
import torch

from rl.spec import RlConfig
from sandbox.cli.compare_parser import parse as parse_plan
from sandbox.cli.train import parse
from sandbox.cli.video import main as video

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--env", "ms_pacman", "--coord"], ("MsPacman", "mspacman")),
        (["--env=ale/pong-v5"], ("Pong", "pong")),
        (["--env", "pong", "--env", "breakout"], ("Breakout", "breakout")),
        (["--env", "pong", "--name", "mine"], ("Pong", "mine")),
        (["--config", "rl/mspacman", "--env", "pong"], ("Pong", "pong")),
        (["--config", "rl/breakout", "--env", "pong"], ("Pong", "breakout_pong")),
        (["--config", "rl/nine_games", "--env", "ms_pacman"], ("MsPacman", "nine_games")),
        (["--smoke"], ("MsPacman", "mspacman")),
    ],
)  # fmt: skip
def test_a_game_by_any_name_gets_its_folder(given: list[str], read: tuple[str, str]) -> None:
    order = parse("rl", given)
    assert (cast(RlConfig, order.config).env, order.name) == read
    if "nine_games" not in order.name and "mine" not in order.name:  # the comparison's plan names it alike
        config = given[given.index("--config") + 1] if "--config" in given else "rl/mspacman"
        assert parse_plan([config, "--env", read[0]]).name == read[1]


def command(*flags: object) -> list[str]:
    return [sys.executable, "-m", "sandbox.rl", "--device", "cpu", "--precision", "32", *map(str, flags)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A smoke run of the real command that was stopped half-way and continued."""
    root = tmp_path_factory.mktemp("atari")
    flags = ("--env", "breakout", "--coord", "--smoke", "--steps", 120, "--checkpoint-every", 5, "--log-every", 5,
             "--preview-every", 120, "--root", root)  # fmt: skip
    folder = root / "smoke/rl/breakout/coord/seed-0"
    with subprocess.Popen(command(*flags), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(folder.glob("checkpoints/step-*")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        assert "stopped after step" in process.stderr.read()
    assert not (folder / "result.json").exists()
    done = subprocess.run(command(*flags), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def test_the_command_stopped_and_repeated_ends_as_it_should(finished: tuple[Path, str]) -> None:
    folder, said = finished
    assert "interrupted, cpu, 32" in said
    assert "restart: native" in said  # the protocol is printed
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == 120
    assert result["images"] == 480
    assert result["protocol"]["frameskip"] == 4
    assert result["scores"]["score/games"] == 2
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    agent_steps = [point["images"] for point in points if "train/value_loss" in point]
    assert agent_steps == list(range(20, 481, 20))  # none missing, none twice
    assert "rollout/ep_rew_mean" in points[-2]


def test_the_run_ends_with_a_film_as_gif_and_mp4(finished: tuple[Path, str]) -> None:
    import av
    from PIL import Image

    samples = finished[0] / "samples"
    with Image.open(samples / "play.gif") as gif:
        assert (gif.size, gif.format) == ((164, 214), "GIF")  # a grey line around 160x210
    with av.open(str(samples / "play.mp4")) as film:
        assert film.streams.video[0].average_rate == 15


def test_the_run_ends_with_what_the_agent_looks_at(finished: tuple[Path, str]) -> None:
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = finished[0] / "samples/saliency.gif"
    with Image.open(path) as gif:
        assert gif.size == (12 + 2 * 172, 22 + 210 + 12)  # two panels under their labels
        assert getattr(gif, "n_frames", 0) == 4
    assert path.stat().st_size < 5_000_000
    events = EventAccumulator(str(finished[0]))
    events.Reload()
    assert "saliency" in events.Tags()["images"]
    scores = json.loads((finished[0] / "result.json").read_text())["scores"]
    assert isinstance(scores["score/return_without_coordinates"], float)


def test_the_bar_shows_the_running_return(finished: tuple[Path, str]) -> None:
    assert "ep_rew_mean=" in finished[1]


def test_a_video_of_an_agent_is_one_game_at_its_own_speed(finished: tuple[Path, str], tmp_path: Path) -> None:
    from PIL import Image

    for flags, size, milliseconds in (([], (164, 214), 70), (["--grid", "1x2", "--fps", "30"], (326, 214), 30)):
        output = tmp_path / "play.gif"
        video([str(finished[0]), "--frames", "40", "--device", "cpu", "--output", str(output), *flags])
        with Image.open(output) as gif:
            assert (gif.size, gif.info["duration"]) == (size, milliseconds)


def test_nothing_in_a_checkpoint_is_unpickled(finished: tuple[Path, str]) -> None:
    last = sorted((finished[0] / "checkpoints").glob("step-*"))[-1]
    assert {path.suffix for path in last.iterdir()} == {".safetensors", ".pt", ".json"}
    state = torch.load(last / "state.pt", weights_only=True)
    assert state["optimisers"]["policy"]["state"]


def test_a_finished_run_plays_in_a_notebook(finished: tuple[Path, str]) -> None:
    from sandbox.train.loading import load

    loaded = load(finished[0], "cpu")
    assert loaded.networks.keys() == {"policy"}
    assert loaded.study.film(frames=2, count=1, path="loop", seed=0).shape == (2, 1, 3, 210, 160)


def test_a_misspelt_game_is_one_line() -> None:
    done = subprocess.run(command("--env", "brekout"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --env is 'brekout': no game 'brekout' among the 108 of ale-py; did you mean 'Breakout'?"
    ]
