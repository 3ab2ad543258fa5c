"""Types and shapes are checked at run time in the tests (jaxtyping + beartype), and nowhere else."""

from jaxtyping import install_import_hook

install_import_hook(("sandbox", "gan"), "beartype.beartype")
