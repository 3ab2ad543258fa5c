"""MinAtar's games (Young and Tian 2019, arXiv 1903.03176). The library, which is GPL-3, is imported in here alone."""
