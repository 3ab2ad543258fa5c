"""Class activation maps: Grad-CAM at a network's last convolutional level, by captum.

Selvaraju et al. 2017 (arXiv 1610.02391): each channel of a level is weighted by the mean, over its places, of the
gradient of a class's logit; the weighted channels are summed, and what is positive speaks for the class. Of a network
that ends in a mean over places and a dense layer this is, up to one factor, the map of Zhou et al. 2016 (CAM, arXiv
1512.04150).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sandbox.base.errors import UserError
from vision.cam.fields import Receptive


def grad_cam() -> Any:
    """captum's ``LayerGradCam``.

    Raises:
        UserError: captum is not installed.
    """
    try:
        from captum.attr import LayerGradCam  # here: it brings half of matplotlib along
    except ModuleNotFoundError as error:
        missing = (error.name or "captum").partition(".")[0]
        raise UserError(f"class activation maps need {missing}: pip install {missing}") from None
    return LayerGradCam


@dataclass(frozen=True)
class Classifier:
    """A network of which maps are made.

    Attributes:
        network: frozen or not, in evaluation mode; inputs to ``(b, classes)`` logits.
        level: name of the module whose outputs, ``(b, c, rows, columns)``, the maps weigh: the last convolutional one.
        prepare: images in [0, 1], ``(b, 3, h, w)``, to inputs.
        field: which pixels the cells of a map see.
        note: one line that a reader must know; empty where there is nothing to say.
    """

    network: nn.Module
    level: str
    prepare: Callable[[Tensor], Tensor]
    field: Receptive
    note: str = ""

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        """What the network says of images in [0, 1]."""
        out: Tensor = self.network(self.prepare(images)).float()
        return out

    def maps(self, images: Float[Tensor, "b 3 h w"], classes: Int64[Tensor, " b"]) -> Float[Tensor, "b rows columns"]:
        """Grad-CAM of one class an image: the positive part, 0 and up, a cell each ``field.stride`` pixels.

        Args:
            images: in [0, 1].
            classes: of each the class that is asked about.

        Raises:
            UserError: captum is not installed.
        """
        # The forward method, not the module: a compiled one would pass captum's hooks by.
        made = grad_cam()(self.network.forward, self.network.get_submodule(self.level))
        inputs = self.prepare(images).detach().requires_grad_()  # else a frozen network has nothing to derive
        found: Tensor = made.attribute(inputs, target=classes, relu_attributions=True)
        return found.detach().float().squeeze(1)
