"""Position neurons: channels of a segmentation network that change when an image is mirrored, and what they are for."""
