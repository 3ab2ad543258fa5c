"""The reinforcement learning study: Atari games, coordinate policies, A2C. Its door is `python -m sandbox.rl`."""
