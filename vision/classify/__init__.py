"""What the tasks that train a classifier of images share."""
