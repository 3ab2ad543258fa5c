"""The frame around every command: exit codes, and one line in place of a traceback."""

import io
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import NoReturn

from sandbox.base.errors import Interrupted, RunError, UserError, one_line

SAFE = "what was saved before is whole, the same command goes on from there"


def guarded(main: Callable[[], object]) -> NoReturn:
    """Runs a command and ends the process.

    Exit codes: 0 done, 1 failed for a reason outside the program, 2 the user's mistake, 130 interrupted, 141 the reader
    of the output went away. Anything else is a defect of ours and keeps its traceback.
    """
    # Outside the training loop, which has its own answer, SIGTERM is a Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no ± gets a question mark, not a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = 0
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        code = _complain(str(error), 2)
    except RunError as error:
        code = _complain(str(error), 1)
    except Interrupted as error:
        code = _complain(f"{error}: everything is saved, the same command continues", 130, "interrupted")
    except KeyboardInterrupt:
        code = _complain(SAFE, 130, "interrupted")
    except BrokenPipeError:  # `| head` closed the pipe; Python would complain once more when it flushes at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        code = _complain(f"out of memory ({one_line(error, 100)}): a smaller --batch needs less; {SAFE}", 1)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code = _complain(f"{error.strerror or one_line(error)}{where}; {SAFE}", 1)
    sys.exit(code)


def command(module: str, *arguments: object) -> NoReturn:
    """Runs ``main(*arguments)`` of a module, loaded inside so that a Ctrl-C meanwhile is one line; ends the process."""
    guarded(lambda: import_module(module).main(*arguments))


def _out_of_memory(error: Exception) -> bool:
    # torch's are RuntimeErrors; importing it here to ask for its class would slow every help page down.
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _complain(message: str, code: int, kind: str = "error") -> int:
    print(f"{kind}: {message}", file=sys.stderr)
    return code
