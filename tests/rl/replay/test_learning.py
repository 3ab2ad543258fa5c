"""Actor, store and learner on a corridor whose values are known."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.replay.actor import Actor
from rl.replay.learner import Learner
from rl.replay.recorder import Chunk
from rl.replay.store import Size, Store
from rl.replay.values import QPolicy, actor_epsilons, epsilon_greedy, seed_values
from sandbox.nn.coordconv import CoordConv2d

sys.path.insert(0, str(Path(__file__).parents[1]))
from chain import LENGTH, Chain, cell, true_values

GAMMA = 0.9


def network(*, coord: bool = True, stack: int = 1) -> QPolicy:
    env = Chain(1, stack=stack)
    made = QPolicy(env.observation_space, env.action_space, 32, coord=coord, width=4, kernels=((3, 2),))
    seed_values(made, 0)
    return made


def learned(n_steps: int, stack: int, steps: int, *, own_priorities: bool, coord: bool) -> np.ndarray:
    """Values of the corridor's cells but the last, (LENGTH - 1, 2), learned from play by chance."""
    values = network(coord=coord, stack=stack)
    actor = Actor(Chain(4, stack=stack, most=30), values, stack=stack, n_steps=n_steps, gamma=GAMMA, seed=0)
    store = Store(Size(2000, 10**7), (1, 10, 10), alpha=0.6, beta=0.4)
    learner = Learner(values, 2, torch.optim.Adam(values.parameters(), 5e-3), gamma=GAMMA, target_every=15,
                      max_grad_norm=10.0)  # fmt: skip
    for step in range(steps):
        chunk = actor.play(step, 1 if step else 100, lambda step: torch.ones(4))
        store.add(chunk, None if own_priorities else np.ones(len(chunk.action)))
        batch = store.sample(32, 0, step)
        store.update(batch["index"], learner.learn(batch, step + 1)[1])
    assert {game["r"] for game in actor.games} == {0.0, 1.0}
    cells = np.arange(LENGTH - 1)
    seen = np.stack([cell(np.maximum(cells - age, 0)) for age in reversed(range(stack))], 1)
    with torch.no_grad():
        return values(torch.from_numpy(seen)).numpy()


@pytest.mark.parametrize(("own_priorities", "stack", "coord"), [(False, 2, False), (True, 1, True)])
def test_the_values_of_a_corridor_are_learned(own_priorities: bool, stack: int, coord: bool) -> None:
    found = learned(1, stack, 200, own_priorities=own_priorities, coord=coord)
    if stack == 1:
        np.testing.assert_allclose(found, true_values(GAMMA), atol=0.1)
    assert (found.argmax(1) == 1).all()


@pytest.mark.slow
def test_returns_over_three_steps_find_the_way_too() -> None:
    """They are those of play by chance, so that the best action's last value alone is the true one."""
    found = learned(3, 1, 500, own_priorities=True, coord=True)
    np.testing.assert_allclose(found[-1, 1], 1, atol=0.1)
    assert (found.argmax(1) == 1).all()


def test_the_loss_is_the_weighted_error_of_double_q_learning() -> None:
    """By hand: the network chooses, its older copy says what that is worth; the weights multiply; the root is told."""
    values = network()
    optimiser = torch.optim.SGD(values.parameters(), 0.0)
    learner = Learner(values, 2, optimiser, gamma=GAMMA, target_every=10**6, max_grad_norm=10.0, loss="l2")
    with torch.no_grad():
        for parameter in values.parameters():  # from now on the copy is another
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    store = Store(Size(200, 10**7), (1, 10, 10), alpha=0.6, beta=0.4)
    actor = Actor(Chain(4, most=30), values, stack=1, n_steps=3, gamma=GAMMA, seed=0)
    store.add(actor.play(0, 40, lambda step: torch.ones(4)))
    batch = store.sample(16, 0, 1)
    loss, errors = learner.learn(batch, 1)
    older = network()
    with torch.no_grad():
        chosen = values(batch["next", "observation"]).argmax(1, keepdim=True)
        after = older(batch["next", "observation"]).gather(1, chosen)[:, 0]
        discount = GAMMA ** batch["steps_to_next_obs"][:, 0] * ~batch["next", "terminated"][:, 0]
        now = values(batch["observation"]).gather(1, batch["action"][:, None])[:, 0]
        expected = batch["next", "reward"][:, 0] + discount * after - now
    torch.testing.assert_close(errors, expected.abs(), rtol=1e-4, atol=1e-6)
    weights = batch["priority_weight"]
    assert weights.min() < weights.max()
    torch.testing.assert_close(loss, (weights * expected.square()).sum() / weights.sum(), rtol=1e-4, atol=1e-6)


def test_an_actor_s_priorities_are_the_errors_of_its_own_values() -> None:
    values = network()
    actor = Actor(Chain(3, most=7), values, stack=1, n_steps=3, gamma=GAMMA, seed=0)
    chunk = actor.play(0, 60, lambda step: torch.full((3,), 0.5))
    with torch.no_grad():
        now = values(torch.from_numpy(chunk.pictures[chunk.start[:, 0]])).numpy()[
            np.arange(len(chunk.action)), chunk.action
        ]
        after = values(torch.from_numpy(chunk.pictures[chunk.end[:, 0]])).numpy().max(1)
    target = chunk.reward + np.where(chunk.terminated, 0, GAMMA**chunk.steps * after)
    np.testing.assert_allclose(chunk.priority, np.abs(target - now), atol=1e-5)
    assert {1, 2, 3} == set(chunk.steps.tolist())


def test_play_follows_from_seed_and_step_alone() -> None:
    def played(seed: int) -> Chunk:
        actor = Actor(Chain(3), network(), stack=1, n_steps=3, gamma=GAMMA, seed=seed)
        return actor.play(5, 20, lambda step: torch.ones(3))

    chunks = [played(seed) for seed in (0, 0, 1)]
    assert all(np.array_equal(one, two) for one, two in zip(chunks[0], chunks[1], strict=True))
    assert not np.array_equal(chunks[0].action, chunks[2].action)


def test_exploration_is_each_actor_s_own() -> None:
    assert actor_epsilons(1).tolist() == pytest.approx([0.4])
    assert actor_epsilons(3).tolist() == pytest.approx([0.4, 0.4**4.5, 0.4**8])
    values = torch.tensor([[0.0, 1.0, 0.0]]).repeat(30_000, 1)
    drawn = epsilon_greedy(values, torch.full((30_000,), 0.3), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(np.bincount(drawn) / 30_000, [0.1, 0.8, 0.1], atol=0.01)


def test_both_arms_start_from_the_same_content_weights() -> None:
    plain, coord = network(coord=False), network(coord=True)
    theirs = dict(plain.named_parameters())
    for name, parameter in coord.named_parameters():
        layer = coord.get_submodule(name.rpartition(".")[0])
        if not (isinstance(layer, CoordConv2d) and "coordinate" in name):
            assert torch.equal(parameter, theirs[name])


def test_the_target_is_copied_when_its_number_comes_and_survives_a_checkpoint() -> None:
    values, other = network(), network()
    store = Store(Size(200, 10**7), (1, 10, 10), alpha=0.6, beta=0.4)
    store.add(Actor(Chain(4), values, stack=1, n_steps=3, gamma=GAMMA, seed=0).play(0, 40, lambda step: torch.ones(4)))

    def made(policy: QPolicy) -> Learner:
        optimiser = torch.optim.SGD(policy.parameters(), 0.1)
        return Learner(policy, 2, optimiser, gamma=GAMMA, target_every=3, max_grad_norm=10.0)

    learner, states = made(values), []
    for number in range(1, 5):
        learner.learn(store.sample(16, 0, number), number)
        states.append({name: value.clone() for name, value in learner.state_dict().items()})
    same = [all(torch.equal(one[name], two[name]) for name in one) for one, two in itertools.pairwise(states)]
    assert same == [True, False, True]
    again = made(other)
    again.load_state_dict(states[-1])
    assert states[-1].keys() == again.state_dict().keys()
    assert all(torch.equal(value, states[-1][name]) for name, value in again.state_dict().items())
    assert not torch.equal(next(other.parameters()), next(values.parameters()))  # the network is another's to restore
