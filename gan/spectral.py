"""Spectral norm of a layer with coordinates: content and coordinate weights are one matrix, divided by its norm."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

from sandbox.nn.coordconv import CoordConv2d


def normed(layer: nn.Module) -> nn.Module:
    """A layer whose weight has the spectral norm 1 (Miyato et al. 2018, arXiv 1802.05957), in place.

    Of a coordinate layer the norm is that of the concatenated weight, as the paper's CoordConv would have it: torch's
    own function would leave the coordinates unbounded.
    """
    if not isinstance(layer, CoordConv2d):
        return spectral_norm(layer)
    norm = _Norm(layer)
    for name in ("weight", "coordinate_weight"):
        register_parametrization(layer, name, _Divided(norm, name == "weight"), unsafe=True)
    norm.of(layer)
    layer.add_module("norm", norm)
    return layer


class _Norm(nn.Module):
    """The largest singular value of a layer's concatenated weight, followed by power iteration as in torch's own."""

    u: Tensor
    v: Tensor

    def __init__(self, layer: CoordConv2d) -> None:
        super().__init__()
        self.layer: tuple[CoordConv2d, ...] = ()  # a tuple: as a child it would hold its own parent
        matrix = _matrix(layer.weight, layer.coordinate_weight)
        self.register_buffer("u", F.normalize(matrix.new_empty(matrix.shape[0]).normal_(), dim=0))
        self.register_buffer("v", F.normalize(matrix.new_empty(matrix.shape[1]).normal_(), dim=0))
        self._iterate(matrix, 15)

    def of(self, layer: CoordConv2d) -> None:
        """Whose norm it is, once its weights are parametrised."""
        self.layer = (layer,)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor, times: int) -> None:
        for _ in range(times):
            self.u = F.normalize(matrix @ self.v, dim=0)
            self.v = F.normalize(matrix.T @ self.u, dim=0)

    def forward(self, iterate: bool) -> Tensor:
        """The norm; ``iterate`` takes a step towards it first."""
        lists = cast(dict[str, ParametrizationList], self.layer[0].parametrizations)
        matrix = _matrix(*(lists[name].original for name in ("weight", "coordinate_weight")))
        if iterate:
            self._iterate(matrix.detach(), 1)
        return self.u.clone() @ (matrix @ self.v.clone())


def _matrix(content: Tensor, coordinate: Tensor) -> Tensor:
    return torch.cat([content.flatten(1), coordinate.flatten(1)], dim=1)


class _Divided(nn.Module):
    """A part of the weight over the norm of the whole. A forward pass asks for the content first: it iterates."""

    def __init__(self, norm: _Norm, first: bool) -> None:
        super().__init__()
        self.norm, self.first = (norm,), first  # a tuple: the layer holds the module

    def forward(self, weight: Tensor) -> Tensor:
        """The divided part."""
        norm = self.norm[0]
        if not norm.layer:  # while it is registered, nothing is divided
            return weight
        divided: Tensor = weight / norm(self.first and self.training)
        return divided
