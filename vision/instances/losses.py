"""Losses of embeddings, from images with the number of the object that each pixel belongs to."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

_REGULAR = 0.001  # weight of the length of the means (De Brabandere et al. 2017)


def means_of(
    vectors: Float[Tensor, "b d p"], ids: Int64[Tensor, "b p"], most: int
) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k"]]:
    """The mean vector of each object's pixels, and their number; objects 1 to ``most``, zero where there is none."""
    b, d, _ = vectors.shape
    rows = (ids + (most + 1) * torch.arange(b, device=ids.device)[:, None]).flatten()
    sums = vectors.new_zeros(b * (most + 1), d).index_add(0, rows, vectors.transpose(1, 2).flatten(0, 1))
    counts = torch.bincount(rows, minlength=len(sums)).view(b, -1)[:, 1:].to(vectors)
    return sums.view(b, -1, d)[:, 1:] / counts.clamp_min(1)[:, :, None], counts


def _distances(
    vectors: Float[Tensor, "b d p"], means: Float[Tensor, "b k d"], ids: Int64[Tensor, "b p"]
) -> Float[Tensor, "b p"]:
    """Euclidean distance of each pixel to the mean of its own object; of the background to nothing that counts."""
    own = (ids - 1).clamp_min(0)
    centres = means.gather(1, own[:, :, None].expand(-1, -1, means.shape[2])).transpose(1, 2)
    distance: Tensor = torch.linalg.vector_norm(vectors - centres, dim=1)
    return distance


def _over_objects(
    values: Float[Tensor, "b p"], ids: Int64[Tensor, "b p"], counts: Float[Tensor, "b k"]
) -> Float[Tensor, " b"]:
    """Mean over each object's pixels, then over the objects of each image."""
    own = counts.gather(1, (ids - 1).clamp_min(0))
    shares = torch.where(ids > 0, values / own.clamp_min(1), 0.0)
    return shares.sum(1) / (counts > 0).sum(1).clamp_min(1)


def discriminative(
    vectors: Float[Tensor, "b d h w"], ids: UInt8[Tensor, "b h w"], pull_margin: float, push_margin: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """De Brabandere, Neven and Van Gool 2017 (arXiv 1708.02551), section 3: pull, push and regularisation.

    With d_v the first margin and d_d the second, m the mean of an object's pixels and [a]+ = max(a, 0): pull is the
    mean over objects of the mean over their pixels x of [|m - x| - d_v]+^2; push the mean over ordered pairs of
    different objects of [2 d_d - |m_A - m_B|]+^2, 0 where there is but one; regularisation the mean over objects of
    |m|. Each is the mean over images.
    """
    flat, labels = vectors.flatten(2), ids.flatten(1).long()
    most = max(1, int(labels.amax()))
    means, counts = means_of(flat, labels, most)
    there = counts > 0
    objects = there.sum(1).clamp_min(1)
    pull = _over_objects((_distances(flat, means, labels) - pull_margin).relu().square(), labels, counts)
    pairs = there[:, :, None] & there[:, None] & ~torch.eye(most, dtype=torch.bool, device=ids.device)
    gaps = torch.linalg.vector_norm(means[:, :, None] - means[:, None], dim=3)
    push = torch.where(pairs, (2 * push_margin - gaps).relu().square(), 0.0).sum((1, 2))
    lengths = torch.where(there, torch.linalg.vector_norm(means, dim=2), 0.0).sum(1) / objects
    return pull.mean(), (push / pairs.sum((1, 2)).clamp_min(1)).mean(), lengths.mean()


def distance(vectors: Float[Tensor, "b d h w"], ids: UInt8[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Novotny et al. 2018 (arXiv 1807.10712): distance, not squared, of an object's pixels to their mean.

    Mean over the pixels of each object, the objects of each image, the images.
    """
    flat, labels = vectors.flatten(2), ids.flatten(1).long()
    means, counts = means_of(flat, labels, max(1, int(labels.amax())))
    return _over_objects(_distances(flat, means, labels), labels, counts).mean()


def foreground(logits: Float[Tensor, "b h w"], ids: UInt8[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of whether a pixel belongs to an object, mean over pixels."""
    there: Bool[Tensor, "b h w"] = ids > 0
    return F.binary_cross_entropy_with_logits(logits, there.float())


def embedding_losses(
    out: Float[Tensor, "b d h w"], ids: UInt8[Tensor, "b h w"], kind: str, pull_margin: float, push_margin: float
) -> dict[str, Tensor]:
    """What an embedding head minimises, ``loss/train``, and its parts by tag."""
    vectors, cross_entropy = out[:, :-1], foreground(out[:, -1], ids)
    if kind == "distance":
        near = distance(vectors, ids)
        return {"loss/train": near + cross_entropy, "loss/distance": near, "loss/foreground": cross_entropy}
    pull, push, lengths = discriminative(vectors, ids, pull_margin, push_margin)
    whole = pull + push + _REGULAR * lengths + cross_entropy
    return {"loss/train": whole, "loss/pull": pull, "loss/push": push, "loss/foreground": cross_entropy}
