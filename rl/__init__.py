"""The reinforcement learning study: Atari games, coordinate policies, A2C. Its door is `python -m sandbox.rl`."""

import os

# Between two products torch's threads (GNU OpenMP's) spin for milliseconds, on the cores that the emulators then need.
# So few turns of it bridge the gaps within a network's pass alone. Read when torch is loaded; after that it is in vain.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
