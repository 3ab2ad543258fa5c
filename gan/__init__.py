"""The GAN study: networks, losses and training on two-object Sort-of-CLEVR. Its command is `python -m sandbox.gan`."""
