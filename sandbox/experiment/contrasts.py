"""Contrasts of arms in a YAML file: weighted sums of their primary scores."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.base.errors import UserError, in_words, listed, nearest
from sandbox.experiment.config import folder_name

_EXAMPLE = "such as interaction: {a: 1, b: -1, c: -1, d: 1}"


def read_contrasts(path: Path, value: Any, arms: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The contrasts of a file: name -> arm -> weight.

    Args:
        path: the file, for messages.
        value: what stands there under ``contrasts``.
        arms: the arms that it has.

    Raises:
        UserError: a name or an arm that cannot be, or weights that are no numbers other than 0, do not add up to 0, or
            shrink the difference, to which the score's margin would then not belong.
    """
    if not isinstance(value, dict):
        raise UserError(f"{path}: contrasts must be a mapping of names to weights of arms, {_EXAMPLE}, "
                        f"not {in_words(value)}")  # fmt: skip
    return {folder_name(name, f"a contrast of {path}"): _weights(path, name, part, arms)
            for name, part in value.items()}  # fmt: skip


def _weights(path: Path, name: str, value: Any, arms: Mapping[str, Any]) -> dict[str, float]:
    place = f"{path}: contrast {name}"
    if not isinstance(value, dict) or len(value) < 2:
        raise UserError(f"{place} must give two arms or more their weights, {_EXAMPLE}, not {in_words(value)}")
    for arm, weight in value.items():
        if arm not in arms:
            raise UserError(f"{place} names {in_words(arm)}, but the arms are {listed(arms)}{nearest(str(arm), arms)}")
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 < abs(weight) <= 1000:
            raise UserError(f"{place}: the weight of {arm} is {in_words(weight)}: allowed are numbers other than 0, "
                            "up to 1000 in size")  # fmt: skip
    if abs(total := math.fsum(value.values())) > 1e-9:
        raise UserError(f"{place}: the weights add up to {total:g}, not to 0: that would be no difference of arms")
    if (positive := math.fsum(weight for weight in value.values() if weight > 0)) < 1 - 1e-9:
        raise UserError(f"{place}: the positive weights add up to {positive:g}: at least 1 is needed, or differences "
                        "would look smaller than they are")  # fmt: skip
    return {arm: float(weight) for arm, weight in value.items()}
