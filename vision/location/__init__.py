"""Location classification: in which cell of a canvas does a tile lie, told from pooled features alone?"""
