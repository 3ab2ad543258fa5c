"""What the tests of several files want around them."""

from typing import Any

import pytest
from jaxtyping import config as jaxtyping_config


@pytest.fixture
def unchecked() -> Any:
    """Without the import hook's checks: compilers would trace through them, and they answer before ours do."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)
