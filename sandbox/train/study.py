"""What a study owes the training loop, and what all studies share.

    class ToyStudy(Study[ToyConfig]):
        def __init__(self, config, fabric):
            super().__init__(config, fabric)
            self.add_network("net", make_network(config))
            self.add_optimiser("net", self.adam(self.modules["net"].parameters(), config.lr))

        def step(self, step):
            self.set_rates(step)
            loss = ...
            return {"loss/train": loss.detach(), **self.optimise("net", loss)}

`preview` and `evaluate` beside these make a whole study; docs/design.md shows one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from sandbox.base.errors import UserError, nearest
from sandbox.base.types import PathKind, Picture, Sheet, Walks
from sandbox.experiment.config import Config
from sandbox.experiment.content import Content
from sandbox.nn.blocks import channels_last
from sandbox.nn.counting import multiply_adds
from sandbox.train.encoder import Encoder
from sandbox.train.fabric import Fabric
from sandbox.train.processes import average_buffers, average_gradients

C = TypeVar("C", bound=Config)
N = TypeVar("N", bound=nn.Module)
State = Mapping[str, Mapping[str, Tensor]]  # part -> name -> tensor


class Study(ABC, Generic[C]):
    """A comparison's networks and how they learn. Step t must depend on the seed and t alone: a resumed run is exact.

    Several processes call ``step`` together (see processes.py), the first one alone all the rest.

    Attributes:
        config: the run's configuration.
        fabric: device, precision, processes.
        modules: networks by name; a checkpoint holds their weights.
        optimisers: by name; a checkpoint holds them.
    """

    def __init__(self, config: C, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.modules: dict[str, nn.Module] = {}
        self.optimisers: dict[str, Optimizer] = {}
        self._rates: dict[str, list[float]] = {}

    # ---- what a study must have

    @abstractmethod
    def step(self, step: int) -> dict[str, Tensor]:
        """Trains one step; returns its losses and gradient norms by tag, each a scalar that must be finite."""

    @abstractmethod
    def preview(self) -> tuple[Picture, dict[str, float]]:
        """A sample grid from latents that never change, and the cheap scores that make a learning curve."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """The scores of the trained networks, by tag. NaN where a score is undefined."""

    # ---- what it may have; see also `Filmed` and `Between`

    def rate(self, step: int) -> float:
        """The learning-rate schedule: the factor of every optimiser's rates at a step, counted from 1."""
        return 1.0

    def state_dict(self) -> State:
        """What a checkpoint must hold that is neither network nor optimiser: records of games, hashes of features.

        Each part becomes a file ``PART.safetensors`` beside the networks' weights; no network may have its name.
        """
        return {}

    def load_state_dict(self, state: State) -> None:
        """Puts back what `state_dict` gave.

        Raises:
            UserError: it belongs to other data or weights.
        """

    def status(self) -> dict[str, str]:
        """What the progress bar says beside the losses, such as ``{"waiting": "3 %"}``; asked where losses are read."""
        return {}

    def films(self) -> dict[str, tuple[Sheet, int]]:
        """Further films for the end of a run: name -> film, frames a second; `Captions.films` says what they show."""
        return {}

    def files(self) -> dict[str, bytes]:
        """Further files for the ``samples`` of a finished run, by name: tables, pictures; see `Captions.pictures`."""
        return {}

    def examples(self) -> dict[str, Tensor]:
        """Two inputs of each network whose multiply-adds are told, by the network's name."""
        return {}

    def costs(self) -> dict[str, Any]:
        """Parameters and multiply-adds an image of each network; ``note``, if any, stands at the head of a report.

        Counted as on a CPU, wherever the run computes: a GPU may take another way, and arms must be told alike.
        """
        inputs = self.examples()
        networks = {name: self.modules[name] for name in inputs} or self.modules
        return {
            "parameters": {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()},
            "multiply_adds_per_image": {
                name: multiply_adds(deepcopy(networks[name]).cpu(), x.cpu()) for name, x in inputs.items()
            },
        }

    def encoder(self, name: str = "") -> Encoder:
        """What a probe for position looks into: a network and how it is fed; by default images in [0, 1].

        Args:
            name: of a network; nothing: the first one.

        Raises:
            UserError: there is no such network, or nothing to look into.
        """
        return Encoder(self.find_network(name))

    @property
    def content(self) -> Content | None:
        """What it learns from, where that is a user's own data; None: all is drawn, or checked against a known sum."""
        return None

    # ---- what all share

    def find_network(self, name: str = "", default: str = "") -> Any:
        """A network by its name; without a name the ``default``, else the first one.

        Raises:
            UserError: there is none of that name.
        """
        name = name or default or next(iter(self.modules))
        if name not in self.modules:
            there = ", ".join(self.modules)
            raise UserError(f"no network {name!r}: there are {there}{nearest(name, self.modules)}")
        return self.modules[name]

    def add_network(self, name: str, network: N, *, compiled: bool = True) -> N:
        """Takes a network in: onto the device, in the layout that is faster there, compiled if the run asks for it.

        Args:
            name: names it in checkpoints and costs.
            network: its weights are drawn already.
            compiled: whether ``compile`` is for this one.
        """
        self.fabric.to_device(network)
        if channels_last(self.fabric.device.type, self.bf16):
            network.to(memory_format=torch.channels_last)
        if compiled and self.config.compile:
            network.compile()  # in place: the class and the names stay
        self.modules[name] = network
        return network

    @property
    def bf16(self) -> bool:
        """Whether the run computes under autocast to bfloat16."""
        return bool(self.fabric._precision.precision == "bf16-mixed")

    def add_optimiser(self, name: str, optimiser: Optimizer) -> Optimizer:
        """Takes an optimiser in; the rates it has now are those that `rate` scales."""
        self.optimisers[name] = optimiser
        self._rates[name] = [float(group["lr"]) for group in optimiser.param_groups]
        return optimiser

    def adam(self, parameters: Iterable[Any], lr: float, **options: Any) -> Optimizer:
        """Adam (Kingma and Ba 2015, arXiv 1412.6980), fused where the device has it; options of `torch.optim.Adam`."""
        return torch.optim.Adam(parameters, lr, fused=self.fabric.device.type in ("cpu", "cuda"), **options)

    def set_rates(self, step: int) -> None:
        """Gives every optimiser the learning rates of a step, counted from 1."""
        factor = self.rate(step)
        for name, rates in self._rates.items():
            for group, base in zip(self.optimisers[name].param_groups, rates, strict=True):
                group["lr"] = base * factor

    def optimise(self, name: str, loss: Tensor, *networks: str) -> dict[str, Tensor]:
        """One update: gradients of the loss, averaged over the processes, and a step of the optimiser.

        Args:
            name: of the optimiser.
            loss: a scalar with a graph.
            networks: whose gradient norms are told; none: that of the network called like the optimiser.

        Returns:
            ``grad/<network>`` -> Euclidean norm of its gradient.
        """
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()
        return {f"grad/{network}": self._norm(self.modules[network]) for network in networks or (name,)}

    @staticmethod
    def _norm(network: nn.Module) -> Tensor:
        return get_total_norm([p.grad for p in network.parameters() if p.grad is not None])

    def average_buffers(self, *names: str) -> None:
        """Puts the mean over all processes into the buffers of some networks, such as batch norm's statistics."""
        average_buffers(*(self.modules[name] for name in names))


class Filmed(ABC):
    """A study whose runs end with a film: walks through latent space, games at play, images that roll around.

    Attributes:
        film_frames: length of the film that ends a run.
        film_grid: rows and columns of its pictures.
        film_fps: frames a second.
        film_mp4: whether it is kept as an MP4 beside the GIF.
    """

    film_frames: ClassVar[int] = 120
    film_grid: ClassVar[tuple[int, int]] = (4, 4)
    film_fps: ClassVar[int] = 30
    film_mp4: ClassVar[bool] = False

    @abstractmethod
    def film(self, *, frames: int, count: int, path: PathKind, seed: int) -> Walks:
        """``count`` walks of ``frames`` frames each, ``(t, n, 3, h, w)``; seeded, the same ones in every arm.

        Args:
            frames: at least 2.
            count: of walks.
            path: ``loop``, closed, or ``pair``, from one end to another, where that means something.
            seed: of what is walked through.
        """


class Between(ABC):
    """A study that can walk from one image to another, because it encodes images."""

    @abstractmethod
    def between(self, ends: tuple[int | Image.Image, int | Image.Image], *, frames: int) -> Walks:
        """A walk from one image to another, ``(t, 3, 3, h, w)``: the first image, the walk, the second image.

        Args:
            ends: an index of the data or an RGB picture of any size, each.
            frames: at least 2.
        """
