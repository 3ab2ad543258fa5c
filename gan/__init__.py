"""The GAN study: networks, losses and training on two-object Sort-of-CLEVR. Its door is `python -m sandbox.gan`."""
