"""Random streams that depend on a key alone."""

import hashlib

import torch


def keyed_generator(seed: int, *key: str | int) -> torch.Generator:
    """A CPU random stream that depends on the seed and the key alone, not on what was drawn before it."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
