"""What the tasks that segment images share: images with masks, networks in two parts, intersection over union."""
