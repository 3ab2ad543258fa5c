"""Class activation maps of an image and of its crops: how far the region moves that says a class."""
