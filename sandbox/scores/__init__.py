"""Scores of images: the objects of Sort-of-CLEVR, and how scenes move along a path."""
