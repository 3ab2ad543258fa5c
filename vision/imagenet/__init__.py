"""Any classifier on folders of images, with coordinates in one convolution: the paper's ImageNet experiment."""
