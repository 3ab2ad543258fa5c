"""FID and KID of scenes, by torchmetrics (the extra ``fid``), with the Inception weights that the user has.

FID: Heusel et al. 2017 (arXiv 1706.08500); KID: Binkowski et al. 2018 (arXiv 1801.01401). The network is
torch-fidelity's port of the one that FID was defined with; nothing is downloaded behind the user's back. Offline there
is `gan.features.room_kid`, an own network's distance under a name of its own.
"""

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn
from tqdm import tqdm

from sandbox.base.errors import UserError
from sandbox.base.reading import required
from sandbox.nn.weights import read_weights

if TYPE_CHECKING:
    from torchmetrics.image.fid import NoTrainInceptionV3

Images = UInt8[np.ndarray, "n 3 h w"]
IMAGES = 50_000  # generated, and as many training images; fewer where the training set is smaller
CHUNK = 1000  # images asked for at a time
SUBSET = 1000  # images of a KID subset, as published
_AT_ONCE = 50  # images in a pass of the Inception network: at 299x299 they are large
_FILE = "weights-inception-2015-12-05-6726825d.pth"
_FETCH = f"curl -LO https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_FILE} (95 MB)"


def inception(weights: str) -> "NoTrainInceptionV3":
    """The Inception network of FID, in evaluation mode on the CPU.

    Args:
        weights: path of torch-fidelity's file.

    Raises:
        UserError: the extra ``fid`` is not installed, or there are no such weights at that path.
    """
    try:
        import torch_fidelity  # noqa: F401  torchmetrics would download without it, or say so late
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ModuleNotFoundError as error:
        raise UserError(f"FID needs {error.name}: pip install 'coordconv-sandbox[fid]'") from None

    class Inception(NoTrainInceptionV3):
        """The network, which begins without weights: torch-fidelity would unpickle whatever the file holds."""

        def load_state_dict(self, state_dict: Any, *rest: Any, **options: Any) -> Any:
            """As every network's; of no weights nothing."""
            return super().load_state_dict(state_dict, *rest, **options) if state_dict else None

    nothing: Any = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    network = Inception("inception-v3-compat", ["2048"], nothing)
    with required(f"torch-fidelity's Inception weights are wanted: {_FETCH}", flag="--fid-weights"):
        read_weights(Path(weights), network)
    return network


@torch.no_grad()
def fid_and_kid(
    network: nn.Module,
    real: Callable[[int], Images],
    fake: Callable[[int], Images],
    count: int,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """FID and KID of ``count`` generated images against as many real ones, lower is closer.

    KID: the mean over 100 subsets of 1000 (of all, where there are fewer) of the unbiased estimate, cubic kernel.

    Args:
        network: `inception`; or any other that makes (n, d) features of (n, 3, h, w) uint8.
        real: chunk 0, 1, ... -> `CHUNK` images; the last may hold fewer.
        fake: the same of generated ones.
        count: images of each side, 2 or more.
        device: where the network looks.

    Returns:
        ``fid`` and ``kid``.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    network, chunks = network.to(device), -(-count // CHUNK)
    features = nn.Identity()  # computed once, for both
    features.num_features = network(torch.zeros(1, *real(0).shape[1:], dtype=torch.uint8, device=device)).shape[1]
    fid = FrechetInceptionDistance(features)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")  # 0.8 GB at most
        kid = KernelInceptionDistance(features, subset_size=min(SUBSET, count))
    pace = 0.2 if sys.stderr.isatty() else 10.0  # seconds; a log file needs few lines
    with tqdm(total=2 * count, desc="FID and KID", unit="image", mininterval=pace, dynamic_ncols=True) as bar:
        for is_real, images in ((True, real), (False, fake)):
            for chunk in range(chunks):
                part = images(chunk)[: count - chunk * CHUNK]
                for some in torch.from_numpy(part).split(_AT_ONCE):
                    found = network(some.to(device)).float().cpu()
                    fid.update(found, real=is_real)
                    kid.update(found, real=is_real)
                    bar.update(len(some))
    with torch.random.fork_rng():  # which images a subset holds must not change what is drawn next
        torch.manual_seed(0)
        return {"fid": float(fid.compute()), "kid": float(kid.compute()[0])}
