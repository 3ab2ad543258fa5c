"""The reinforcement learning study: agents that may know where they are, on Atari's and MinAtar's games."""
