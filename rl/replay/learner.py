"""Double Q-learning over several steps from prioritised transitions, by TorchRL's loss.

Mnih et al. 2015 (doi 10.1038/nature14236), van Hasselt et al. 2016 (arXiv 1509.06461), Schaul et al. 2016 (arXiv
1511.05952); the parts together: Horgan et al. 2018 (arXiv 1803.00933, section 3).
"""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Categorical
from torchrl.modules import QValueActor
from torchrl.objectives import DQNLoss, HardUpdate

_TARGET = "target_value_network"


class Learner:
    """Learns values of actions from samples of a store.

    Args:
        network: `rl.replay.values.QNetwork`; it is changed in place.
        actions: how many.
        optimiser: of the network's parameters.
        gamma: discount of a step.
        target_every: updates between two copies of the network as its own target.
        max_grad_norm: gradients are cut to this length.
        loss: ``l2``, or ``smooth_l1`` (Huber).
    """

    def __init__(
        self, network: nn.Module, actions: int, optimiser: torch.optim.Optimizer, *, gamma: float, target_every: int,
        max_grad_norm: float, loss: str = "smooth_l1",
    ) -> None:  # fmt: skip
        self.network, self.optimiser, self._norm = network, optimiser, max_grad_norm
        values = TensorDictModule(network, in_keys=["observation"], out_keys=["action_value"])
        self.loss = DQNLoss(
            QValueActor(values, spec=Categorical(actions), action_space="categorical"),
            loss_function=loss, double_dqn=True, delay_value=True, reduction="mean",
        )  # fmt: skip
        self.loss.make_value_estimator(gamma=gamma)
        # Its own interval lasts a step longer than it says, and its count is in no checkpoint: 0 copies at every step.
        self._target, self._every = HardUpdate(self.loss, value_network_update_interval=0), target_every

    def learn(self, batch: TensorDict, number: int) -> tuple[Float[Tensor, ""], Float[Tensor, " b"]]:
        """One update.

        The loss is TorchRL's: importance weights average the errors, sum(w l) / sum(w). Schaul et al. take the mean of
        w l over weights of at most 1, a gradient that is smaller by the weights' mean.

        Args:
            batch: as `rl.replay.store.Store.sample` gives it, on the network's device.
            number: of the update, from 1 on; multiples of ``target_every`` end with a copy of the network.

        Returns:
            The loss, and the new priorities: absolute temporal-difference errors before the update.
        """
        loss = cast(Tensor, self.loss(batch)["loss"])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self._norm)
        self.optimiser.step()
        if number % self._every == 0:
            self._target.step()
        # TorchRL writes the square of the error.
        return loss.detach(), cast(Tensor, batch["td_error"]).reshape(-1).sqrt().cpu()

    def state_dict(self) -> dict[str, Tensor]:
        """The target's weights."""
        return {name: value for name, value in self.loss.state_dict().items() if name.startswith(_TARGET)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts them back."""
        self.loss.load_state_dict(state, strict=False)
