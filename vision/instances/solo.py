"""SOLO's targets, losses and inference, on the logits of `vision.instances.networks.Solo`.

Wang et al. 2020 (arXiv 1912.04488), of one class: an object belongs to the cells around its centre of mass; each cell
has a mask of its own for the whole image. Figures are those of the released code.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vision.instances.found import Found

_CENTRE = 0.2  # of an object's box: the region around its centre whose cells answer for it
_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss (Lin et al. 2017, arXiv 1708.02002)
_DICE = 3.0  # weight of the masks
_SCORE, _MASK, _KEPT = 0.1, 0.5, 0.05  # of a cell, of a pixel, and of an object after the suppression
_SIGMA = 2.0  # of the Gaussian in it
_MOST = 100  # objects of an image


def cells_of(ids: UInt8[np.ndarray, "h w"], cells: int) -> Int64[np.ndarray, "s s"]:
    """The object that each cell answers for, 0 for none; of two the later."""
    found, size = np.zeros((cells, cells), np.int64), ids.shape[0]
    for number in range(1, int(ids.max()) + 1):
        places = np.argwhere(ids == number)
        centre, half = places.mean(0) + 0.5, (np.ptp(places, axis=0) + 1) * _CENTRE / 2
        low, middle, high = (np.floor(at / size * cells).astype(int) for at in (centre - half, centre, centre + half))
        low, high = np.maximum(low, middle - 1).clip(0), np.minimum(high, middle + 1).clip(max=cells - 1)
        found[low[0] : high[0] + 1, low[1] : high[1] + 1] = number
    return found


def solo_losses(
    category: Float[Tensor, "b s s"], masks: Float[Tensor, "b k h2 w2"], ids: UInt8[Tensor, "b h w"]
) -> dict[str, Tensor]:
    """``loss/train`` and its parts: a focal loss of the cells, over the number of those that have an object, and 3 x a
    Dice loss of their masks, 1 - 2 sum(p q) / (sum(p^2) + sum(q^2)), mean over them."""
    numbers = ids.cpu().numpy()
    wanted = torch.from_numpy(np.stack([cells_of(each, category.shape[1]) for each in numbers])).to(ids.device)
    image, cell = wanted.flatten(1).nonzero(as_tuple=True)
    focal = focal_loss(category, (wanted > 0).float()) / (len(image) + 1)
    said = enlarged(masks[image, cell], ids.shape[1]).sigmoid().flatten(1)
    true = (ids[image] == wanted.flatten(1)[image, cell][:, None, None]).flatten(1).to(said)
    dice = 1 - 2 * (said * true).sum(1) / (said.square().sum(1) + true.square().sum(1)).clamp_min(1e-6)
    part = dice.sum() / max(1, len(image))
    return {"loss/train": focal + _DICE * part, "loss/category": focal, "loss/dice": part}


def focal_loss(logits: Float[Tensor, "*s"], there: Float[Tensor, "*s"]) -> Float[Tensor, ""]:
    """Sum over cells of - alpha_t (1 - p_t)^gamma log p_t, p_t the probability of what is the case."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, there, reduction="none")
    alpha = _ALPHA * there + (1 - _ALPHA) * (1 - there)
    return (alpha * (1 - (-cross_entropy).exp()) ** _GAMMA * cross_entropy).sum()


def enlarged(masks: Float[Tensor, "n h w"], size: int) -> Float[Tensor, "n size size"]:
    """Logits at the images' size, bilinear."""
    return F.interpolate(masks[:, None], size=(size, size), mode="bilinear")[:, 0]


def find_objects(category: Float[Tensor, "s s"], masks: Float[Tensor, "k h w"], size: int) -> Found:
    """The objects of an image, the surest first: cells above .1, their masks above .5, matrix NMS, those of .05 left.

    An object's score is that of its cell, times the mean probability of its mask's pixels, times its decay.
    """
    scores = category.sigmoid().flatten()
    chosen = (scores > _SCORE).nonzero()[:, 0]
    chosen = chosen[scores[chosen].argsort(descending=True, stable=True)][: 5 * _MOST]
    soft = enlarged(masks[chosen], size).sigmoid()
    hard = soft > _MASK
    sizes = hard.sum((1, 2))
    sure = scores[chosen] * (soft * hard).sum((1, 2)) / sizes.clamp_min(1)
    order = sure.masked_fill(sizes == 0, 0).argsort(descending=True, stable=True)
    order = order[sizes[order] > 0]
    decayed = sure[order] * matrix_nms(hard[order].flatten(1).float())
    kept = decayed >= _KEPT
    final = decayed[kept].argsort(descending=True, stable=True)[:_MOST]
    return Found(hard[order][kept][final].cpu().numpy(), decayed[kept][final].double().cpu().numpy())


def matrix_nms(masks: Float[Tensor, "k p"]) -> Float[Tensor, " k"]:
    """How much each mask's score falls, in the order of scores: the least over the surer ones i of f(iou_ij) over f of
    the largest IoU of i with one that is surer still, f(x) = exp(- sigma x^2)."""
    both = masks @ masks.T
    sizes = masks.sum(1)
    iou = (both / (sizes[:, None] + sizes[None] - both).clamp_min(1)).triu(1)  # i surer than j
    if not len(masks):
        return masks.new_ones(0)
    above = iou.amax(0)[:, None]  # of i with a surer one
    decay: Tensor = torch.exp(-_SIGMA * (iou.square() - above.square()))
    # Only surer ones count: all others are where the matrix is cut off, where the quotient would be above 1.
    surer = torch.ones_like(iou, dtype=torch.bool).triu(1)
    return decay.masked_fill(~surer, 1.0).amin(0).clamp(max=1.0)
