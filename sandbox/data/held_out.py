"""Which drawn images are held out: what is a function of an index needs no split, only indices that nobody takes."""

TEST_FROM = 1_000_000  # index of the first held-out image, unless there are more training images than that


def first_test(images: int) -> int:
    """Index of the first held-out image beside so many training images, which are 0 to ``images - 1``."""
    return max(TEST_FROM, images)
