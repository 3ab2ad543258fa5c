"""Depth from a single image: is it read from where a thing stands, or from how large it looks?"""
