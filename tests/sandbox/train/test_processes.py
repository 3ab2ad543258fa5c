"""One run over two processes on the CPU, as torchrun starts them."""

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from parallel import average_in_parallel
from shop import ENVIRONMENT, TORCHRUN, WORKSHOP, curves
from torch import nn

from sandbox.base.errors import UserError
from sandbox.base.world import World, announced
from sandbox.train import processes
from sandbox.train.checkpoints import newest_checkpoint

pytestmark = pytest.mark.slow

SMOKE = ("-m", "sandbox.gan", "--smoke", "--coord", "--precision", "32", "--device", "cpu")

# The GAN study's command with scores of 20 images instead of 1000, and short films: they are not what is tested here.
SMALL = """
import gan.study, sandbox.scores.samples
sandbox.scores.samples.LOCATED = 20
film, latents = gan.study.GanStudy.film, gan.study.GanStudy._latents
gan.study.GanStudy.film = lambda self, **asked: film(self, **{**asked, "frames": 3})
gan.study.GanStudy._latents = lambda self, count, *key: latents(self, 64 if key == ("preview",) else count, *key)
if __name__ == "__main__":
    import runpy
    runpy.run_module("sandbox.gan", run_name="__main__", alter_sys=True)
"""

# What both processes do together; an assertion that fails anywhere ends torchrun with another code than 0.
TOGETHER = f"""
import os, signal, sys
sys.path.insert(0, {str(WORKSHOP)!r})
import torch
import torch.distributed as dist
from shop import outcome
import small, gan.study
from gan.spec import GanConfig
from sandbox.cli.train import main
from sandbox.base.errors import Interrupted, RunError
from sandbox.train.processes import joined, rank, share
from sandbox.train.device import make_fabric

root = sys.argv[1]
CONFIG = GanConfig(width=2, d_width=2, images=64, batch=8, penalty_every=2, seed=3)
SMOKE = ["--smoke", "--precision", "32", "--device", "cpu", "--steps", "8",
         "--preview-every", "100"]
step = gan.study.GanStudy.step


def discriminator_step():
    study = gan.study.GanStudy(CONFIG, make_fabric("cpu", "32"))
    fake = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    losses = study._discriminator_step(2, study._batch(2), share(fake))
    network = study.modules["discriminator"]
    return losses, [p.grad for p in network.parameters()], [p.detach() for p in network.parameters()]


def run(name, before_step=lambda study, number: None):
    gan.study.GanStudy.step = lambda study, number: before_step(study, number) or step(study, number)
    return main("gan", [*SMOKE, "--root", f"{{root}}/{{name}}"])


def ctrl_c_in_one(study, number):
    if number == 5 and rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)


def nan_in_one(study, number):
    if number == 2 and rank() == 1:
        with torch.no_grad():
            next(study.modules["discriminator"].parameters()).fill_(float("nan"))


def gathered(tensor):
    parts = [torch.empty_like(tensor) for _ in range(2)]
    dist.all_gather(parts, tensor.contiguous())
    return parts


alone, alone_gradients, alone_weights = discriminator_step()
with joined():
    # The averaged gradient, penalty and all, is that of the whole batch; so is the step.
    losses, gradients, weights = discriminator_step()
    for ours, expected in zip([*gradients, *weights], [*alone_gradients, *alone_weights], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    for tag in ("loss/discriminator", "loss/penalty"):
        torch.testing.assert_close(sum(gathered(losses[tag])) / 2, alone[tag], rtol=1e-4, atol=1e-6)

    # Weights, averages and statistics stay the same in both, bit for bit; the shares are not the same.
    study = gan.study.GanStudy(CONFIG, make_fabric("cpu", "32"))
    for number in range(1, 5):
        study.step(number)
    for name, module in study.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(*gathered(value)), (name, key)
    assert not torch.equal(*gathered(study._batch(1)))

    # Ctrl-C in one process stops both after the step in hand, and what continues ends as if nothing had been.
    whole = run("whole")
    try:
        run("stopped", ctrl_c_in_one)
        raise AssertionError("nobody stopped")
    except Interrupted as stopped:
        assert str(stopped) == "stopped after step 5 of 8", stopped
    stopped = run("stopped")
    if rank() == 0:
        assert outcome(whole) == outcome(stopped)

    # What is not finite in one process stops both.
    try:
        run("nan", nan_in_one)
        raise AssertionError("nobody noticed")
    except RunError as error:
        assert "loss/discriminator" in str(error) and "not finite at step 2" in str(error), error
    print("all is well")
"""


def torchrun(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [*TORCHRUN, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


# ---- alone


def test_alone_nothing_is_copied_and_nothing_changes() -> None:
    assert announced() == World(0, 1, 1)
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    rows, network = torch.rand(5, 2), nn.BatchNorm1d(2)
    assert processes.share(rows) is rows
    assert processes.mean(rows) is rows
    network(rows).sum().backward()
    before = [tensor.clone() for tensor in (*network.buffers(), *(p.grad for p in network.parameters()))]
    processes.average_gradients(network.parameters())
    processes.average_buffers(network)
    after = [*network.buffers(), *(p.grad for p in network.parameters())]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [processes.agreed(flag) for flag in (True, False)] == [True, False]
    assert processes.from_first(lambda: 7) == 7
    assert processes.fabric_arguments("cpu")["devices"] == 1


def test_a_gradient_that_one_process_lacks_shifts_no_other(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(average_in_parallel, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        both, second, neither, frozen = torch.load(tmp_path / f"means-{rank}.pt")
        assert torch.equal(both, torch.full((2, 3), 2.0))
        assert torch.equal(second, torch.arange(6.0).view(2, 3) / 2)
        assert neither is frozen is None


def test_devices_that_several_processes_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "announced", lambda: World(0, 2, 1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes on a machine with 1 GPUs"):
        processes.fabric_arguments("cuda")
    with pytest.raises(UserError, match="not on mps"):
        processes.fabric_arguments("mps")
    with pytest.raises(UserError, match="--batch 5 cannot be shared equally by 2 processes"):
        processes.share(torch.zeros(5, 3))


# ---- two


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "together.py").write_text(TOGETHER)
    done = torchrun(tmp_path / "together.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    refused = torchrun(*SMOKE, "--batch", 5, "--root", tmp_path / "runs", cwd=tmp_path)
    assert refused.returncode == 1
    lines = [line for line in refused.stderr.splitlines() if line.startswith(("error:", "interrupted:"))]
    assert lines == ["error: --batch 5 cannot be shared equally by 2 processes: it must be a multiple"]
    assert "sandbox/cli/train.py" not in refused.stderr, "no traceback of ours"
    assert not (tmp_path / "runs").exists()


def test_torchrun_stopped_in_the_middle_continues_with_the_same_command(tmp_path: Path) -> None:
    paces = ("--steps", 120, "--checkpoint-every", 20, "--preview-every", 1000, "--log-every", 10)
    command = [*TORCHRUN, *map(str, (*SMOKE, *paces, "--root", tmp_path))]
    folder = tmp_path / "smoke/gan/sort_of_clevr/coord/seed-0"
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as started:
        while started.poll() is None and not list(folder.glob("checkpoints/step-*")):
            time.sleep(0.02)
        started.send_signal(signal.SIGTERM)
        _, complaints = started.communicate(timeout=120)
    assert started.returncode not in (0, None)
    (line,) = (line for line in complaints.replace("\r", "\n").split("\n") if line.startswith(("error", "interrupted")))
    found = newest_checkpoint(folder / "checkpoints")
    assert found is not None
    assert 20 <= found.step < 120
    assert line.startswith(f"interrupted: stopped after step {found.step} of 120: everything is saved, ")

    (tmp_path / "small.py").write_text(SMALL)  # the same run, scored faster
    done = torchrun(tmp_path / "small.py", *SMOKE[2:], *paces, "--root", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("interrupted, cpu, 32") == 1
    assert [path.parent for path in tmp_path.rglob("config.yaml")] == [folder]
    assert (folder / "result.json").exists()
    assert json.loads((folder / "environment.json").read_text())["processes"] == 2
    points = [line["images"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
              if "loss/generator" in line]  # fmt: skip
    assert points == [4 * step for step in range(10, 121, 10)]
    doubled = [point for point, times in Counter((tag, at) for tag, at, _ in curves(folder)).items() if times > 1]
    assert doubled == []
