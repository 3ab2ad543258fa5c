"""The reinforcement learning study: Atari games, coordinate policies, A2C. Its command is `python -m sandbox.rl`."""
