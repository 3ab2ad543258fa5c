"""What all studies share: rates by step, one update, costs, state beside the networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sandbox.base.errors import UserError
from sandbox.base.types import Picture
from sandbox.experiment.config import Config
from sandbox.train.checkpoints import newest_checkpoint, save_checkpoint
from sandbox.train.device import make_fabric
from sandbox.train.make import restore
from sandbox.train.schedule import cosine_decay
from sandbox.train.study import State, Study


class Line(Study[Config]):
    """A line through a point, and a count of its steps."""

    def __init__(self) -> None:
        super().__init__(Config(steps=10), make_fabric("cpu", "32"))
        torch.manual_seed(0)
        self.slope = self.add_network("slope", nn.Linear(1, 1))
        self.shift = self.add_network("shift", nn.Linear(1, 1))
        groups = [{"params": [*self.slope.parameters()]}, {"params": [*self.shift.parameters()], "lr": 0.5}]
        self.add_optimiser("line", self.adam(groups, 0.1))
        self.steps = 0

    def rate(self, step: int) -> float:
        """Falls over the second half."""
        return cosine_decay(step, 10, 0.5)

    def step(self, step: int) -> dict[str, Tensor]:
        """One update."""
        self.steps += 1
        self.set_rates(step)
        loss = (self.shift(self.slope(torch.ones(1, 1))) - 3).square().sum()
        return {"loss/line": loss.detach()} | self.optimise("line", loss, "slope", "shift")

    def preview(self) -> tuple[Picture, dict[str, float]]:
        """Nothing to see."""
        return np.zeros((1, 1, 3), np.uint8), {}

    def evaluate(self) -> dict[str, float]:
        """Nothing to score."""
        return {}

    def examples(self) -> dict[str, Tensor]:
        """Two numbers."""
        return {"slope": torch.ones(2, 1)}

    def state_dict(self) -> State:
        """The count."""
        return {"count": {"steps": torch.tensor(self.steps)}}

    def load_state_dict(self, state: State) -> None:
        """Puts it back."""
        self.steps = int(state["count"]["steps"])


def test_every_group_follows_the_schedule_from_its_own_rate() -> None:
    study = Line()
    for step, factor in ((1, 1.0), (5, 1.0), (10, 0.0)):
        study.set_rates(step)
        assert [group["lr"] for group in study.optimisers["line"].param_groups] == [0.1 * factor, 0.5 * factor]


def test_an_update_is_torch_s_own() -> None:
    study, other = Line(), Line()
    found = study.step(1)
    adam = torch.optim.Adam(
        [{"params": [*other.slope.parameters()]}, {"params": [*other.shift.parameters()], "lr": 0.5}], 0.1
    )
    loss = (other.shift(other.slope(torch.ones(1, 1))) - 3).square().sum()
    loss.backward()
    adam.step()
    for mine, theirs in zip(study.modules.values(), other.modules.values(), strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)
    assert float(found["loss/line"]) == pytest.approx(float(loss.detach()))
    for name, network in other.modules.items():
        norm = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm()
        assert float(found[f"grad/{name}"]) == pytest.approx(float(norm))


def test_costs_are_those_of_the_networks_that_have_an_example() -> None:
    assert Line().costs() == {"parameters": {"slope": 2}, "multiply_adds_per_image": {"slope": 1}}


def test_state_beside_the_networks_travels_in_a_checkpoint(tmp_path: Path) -> None:
    study = Line()
    study.step(1)
    study.step(2)
    save_checkpoint(tmp_path, 2, study.modules, study.optimisers, {}, study.state_dict())
    again, found = Line(), newest_checkpoint(tmp_path)
    assert found is not None
    assert found.names() == ["count", "shift", "slope"]
    restore(again, found)
    assert again.steps == 2
    assert torch.equal(again.slope.weight, study.slope.weight)
    save_checkpoint(tmp_path, 3, study.modules, study.optimisers, {})
    older = newest_checkpoint(tmp_path)
    assert older is not None
    with pytest.raises(UserError, match="has no count; did other code write it"):
        restore(again, older)
    with pytest.raises(ValueError, match="both called 'slope'"):
        save_checkpoint(tmp_path, 4, study.modules, study.optimisers, {}, {"slope": {}})


def test_a_network_is_found_by_its_name() -> None:
    study = Line()
    assert study.encoder().network is study.slope
    assert study.encoder("shift").network is study.shift
    with pytest.raises(UserError, match="no network 'shfit': there are slope, shift; did you mean 'shift'"):
        study.encoder("shfit")
