"""How a command ends, in this process."""

import pytest

from sandbox.base.guard import guarded


def exits(code: int, command: object, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that ends with ``code`` and one line on stderr, which it returns."""
    with pytest.raises(SystemExit) as end:
        guarded(command)  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert end.value.code == code
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert said.out == ""
    return said.err[:-1]
