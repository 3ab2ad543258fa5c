"""The VAE study: networks, likelihoods, training on two-object Sort-of-CLEVR. Its door is `python -m sandbox.vae`."""
