"""The VAE study: networks, likelihoods, training on two-object Sort-of-CLEVR. Command: `python -m sandbox.vae`."""
