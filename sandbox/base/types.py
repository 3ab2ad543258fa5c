"""Names for the kinds of values that travel between the rooms: choices of settings, and arrays. No torch here."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]  # torch's own
Padding = Literal["zeros", "circular", "reflect", "replicate", "partial", "none"]  # these keep an image's size
AnyPadding = Literal["zeros", "circular", "reflect", "replicate", "partial", "none", "valid", "full"]
Device = Literal["auto", "cpu", "cuda", "mps"]
CoordLayers = str  # which convolutions know coordinates: first, all, or names and patterns of layers, a comma between
Law = Literal["normal", "uniform"]  # of latents: standard normal, or uniform in (-1, 1)
PathKind = Literal["loop", "pair"]  # of walks between latents: closed, or from one to another

Picture = UInt8[np.ndarray, "_ _ 3"]
Images = UInt8[np.ndarray, "n 3 h w"]
Frames = UInt8[np.ndarray, "t h w 3"]
Sheet = UInt8[np.ndarray, "t height width 3"]  # a film that is larger than what it is made of
Walks = UInt8[np.ndarray, "t n 3 h w"]  # n films of t frames each
