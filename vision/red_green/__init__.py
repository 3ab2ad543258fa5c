"""The Red-Green control: does a classifier read the order of two squares, or the place where it saw that order?"""
