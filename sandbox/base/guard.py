"""The frame around every command: exit codes, and one line in place of a traceback."""

import errno
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sandbox.base.errors import Interrupted, RunError, UserError, one_line, say

WHOLE = "what was saved before is whole"
SAFE = f"{WHOLE}, the same command goes on from there"
LOG = "error.log"  # in a run's folder: the traceback of what nobody foresaw
# Troubles of the machine that pass by themselves, or once there is room; of others something must be put right first.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ESTALE,
            errno.ETIMEDOUT}  # fmt: skip

# What is wrong with a path that was given.
_WRONG = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EROFS}


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Marks what goes wrong inside as the trouble of a run that the same command continues.

    Args:
        folder: the run's; it takes the traceback of what nobody foresaw.
    """
    try:
        yield
    except BaseException as error:
        if not hasattr(error, "run_folder"):
            error.run_folder = folder  # type: ignore[attr-defined]
        raise


def guarded(main: Callable[[], object]) -> NoReturn:
    """Runs a command and ends the process.

    Exit codes: 0 done, 1 failed for a reason outside the program, 2 the user's mistake, 130 interrupted, 141 the reader
    of the output went away. Anything else is a defect of ours: its traceback goes into a file, one line names that.
    """
    # Outside the training loop, which has its own answer, SIGTERM is a Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    _open_streams()
    code = 0
    try:
        _refuse_nowhere()
        main()
        sys.stdout.flush()
    except UserError as error:
        code = _complain(str(error), 2)
    except RunError as error:
        code = _complain(str(error), 1)
    except Interrupted as error:
        code = _complain(f"{error}: everything is saved, the same command continues", 130, "interrupted")
    except KeyboardInterrupt as error:
        code = _complain(SAFE if _run(error) else WHOLE, 130, "interrupted")
    except BrokenPipeError:  # `| head` closed the pipe; Python would complain once more when it flushes at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        code = _complain(_of_the_system(error), 2 if error.errno in _WRONG and not _run(error) else 1)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or find_spec(missing):
            code = _complain(_unforeseen(error), 1)
        else:  # the Python of the system in place of the environment's
            code = _complain(f"the package {missing} is not installed in {sys.executable}: make demo sets up .venv, "
                             "then source .venv/bin/activate; or pip install -e .", 2)  # fmt: skip
    except Exception as error:
        if _out_of_memory(error):
            smaller = "a smaller --batch (of a film: --grid, --frames)"
            code = _complain(f"out of memory ({one_line(error, 100)}): {smaller} needs less; {WHOLE}", 1)
        else:
            code = _complain(_unforeseen(error), 1)
    sys.exit(code)


def command(module: str, *arguments: object) -> NoReturn:
    """Runs ``main(*arguments)`` of a module, loaded inside so that a Ctrl-C meanwhile is one line; ends the process."""
    guarded(lambda: import_module(module).main(*arguments))


def _open_streams() -> None:
    """Gives stdin, stdout and stderr something to stand for where the caller has closed them (``>&-``).

    A file that is opened later would get their number, and what is printed would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no ± gets a question mark, not a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _refuse_nowhere() -> None:
    try:
        os.getcwd()
    except OSError as error:  # torch's libraries would end the process in words of their own
        raise UserError(f"this working directory cannot be used ({error.strerror}): change into another") from None


def _run(error: BaseException) -> Path | None:
    folder: Path | None = getattr(error, "run_folder", None)
    return folder


def _of_the_system(error: OSError) -> str:
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes | Path) else ""
    end = ""
    if _run(error):
        end = SAFE if error.errno in _PASSING else f"{WHOLE}; put that right, and the same command goes on"
    return f"{error.strerror or one_line(error)}{where}{f'; {end}' if end else ''}"


def _unforeseen(error: Exception) -> str:
    """Keeps the traceback and says where."""
    text = "".join(traceback.format_exception(error))
    said = f"{type(error).__name__}: {one_line(error, 200)}" if str(error) else type(error).__name__
    folder = _run(error)
    # An empty folder stays empty: a run that has not begun is none.
    begun = folder is not None and folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    with suppress(OSError):
        if folder is not None and begun:
            path = folder / LOG
            path.write_text(text, encoding="utf-8", errors="replace")
        else:
            handle, name = tempfile.mkstemp(".log", "sandbox-error-")
            path = Path(name)
            with open(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
        return f"unforeseen, a defect of this program: {said}; {path} holds the traceback"
    return f"unforeseen, a defect of this program: {said}; its traceback could not be written: {one_line(text, 2000)}"


def _out_of_memory(error: Exception) -> bool:
    # torch's are RuntimeErrors; importing it here to ask for its class would slow every help page down.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _complain(message: str, code: int, kind: str = "error") -> int:
    with suppress(OSError):  # nobody listens: the code says it
        say(kind, message)
    return code
