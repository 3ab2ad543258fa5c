"""Random streams that depend on a key alone."""

import hashlib

import torch


def keyed_generator(seed: int, *key: str | int) -> torch.Generator:
    """A CPU random stream that depends on the seed and the key alone, not on what was drawn before it."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def keyed_seed(seed: int, *key: str | int) -> int:
    """A seed, 0 to 2^31 - 2, for what has a random stream of its own, that depends on the seed and the key alone."""
    return int(torch.randint(2**31 - 1, (), generator=keyed_generator(seed, *key)))
