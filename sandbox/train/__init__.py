"""One run: the Study contract, the loop, its end, checkpoints, tracking, processes, loading."""
