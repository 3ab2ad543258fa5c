"""Data sets, each a function of (seed, index)."""
