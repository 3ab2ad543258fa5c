"""beartype for every function whose annotations it understands."""

from collections.abc import Callable
from typing import Any

from beartype import beartype
from beartype.roar import BeartypeDecorHintNonpepNumpyException, BeartypeDecorHintPep673Exception

# jaxtyping hands over methods one by one, and outside its class beartype cannot tell what ``Self`` is; nor does it know
# ``np.ndarray[Any, Any]``. Nothing else may go unchecked.
UNKNOWN = (BeartypeDecorHintPep673Exception, BeartypeDecorHintNonpepNumpyException)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its types checked; itself where its annotations are beyond beartype."""
    try:
        return beartype(function)
    except UNKNOWN:
        return function
