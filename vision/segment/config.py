"""What every task that segments images has: names of regions. No torch here."""

REGIONS = ("all", "left", "centre", "right")  # columns of the image that a score counts
