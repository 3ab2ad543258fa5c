"""Segmentation under eight paddings, with and without coordinates: what a border is worth, and where it is missed."""
