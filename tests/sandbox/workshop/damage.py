"""What can happen to a file or a folder that somebody reads back, and how a command that meets it is judged."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from shop import Command

from sandbox.base.guard import guarded

LARGE = 2**40  # bytes, of which the disk holds none
IGNORED = (".lock", "samples")  # made by whoever comes first, and empty
PATIENCE = 20  # seconds that a command may take
Damage = Callable[[Path], None]


class Hung(BaseException):
    """A command that waits for ever; no exception that any code of ours catches."""


# ---- kinds


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(target: str) -> Damage:
    def damage(path: Path) -> None:
        _remove(path)
        path.symlink_to(path if target == "itself" else target)

    return damage


def _content(change: Callable[[bytes], bytes]) -> Damage:
    """Other content, the same times: nothing but the content tells."""

    def damage(path: Path) -> None:
        status, content = path.stat(), path.read_bytes()
        path.write_bytes(change(content))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return damage


def _flipped(share: float) -> Damage:
    def change(content: bytes) -> bytes:
        place = min(int(share * len(content)), len(content) - 1)
        return content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]

    return _content(change)


def _text(text: str) -> Damage:
    return _content(lambda _: text.encode())


def _folder(path: Path) -> None:
    _remove(path)
    (path / "inside").mkdir(parents=True)


def _pipe(path: Path) -> None:
    _remove(path)
    os.mkfifo(path)


def _socket(path: Path) -> None:
    _remove(path)
    here = Path.cwd()
    os.chdir(path.parent)  # its name must not exceed 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


def _large(path: Path) -> None:
    os.truncate(path, LARGE)


def _unreadable(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path.chmod(0)


def _file(path: Path) -> None:
    _remove(path)
    path.write_bytes(b"a file")


def _emptied(path: Path) -> None:
    _remove(path)
    path.mkdir()


def _moved(path: Path) -> None:
    """A link to where it lies now: nothing is wrong with that."""
    elsewhere = path.with_name(f".moved-{path.name}")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


ANYTHING: dict[str, Damage] = {
    "missing": _remove, "dead link": _link("nowhere"), "link to itself": _link("itself"),
    "link to zeros": _link("/dev/zero"), "link to null": _link("/dev/null"), "pipe": _pipe, "socket": _socket,
    "unreadable": _unreadable,
}  # fmt: skip
FILES: dict[str, Damage] = ANYTHING | {
    "empty": _content(lambda _: b""), "truncated": _content(lambda content: content[: len(content) // 2]),
    "a byte short": _content(lambda content: content[:-1]), "zeroed": _content(lambda content: bytes(len(content))),
    "half zeroed": _content(lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2)),
    "longer": _content(lambda content: content + b"\0more"), "folder": _folder, "large": _large,
    **{f"flipped at {share}": _flipped(share) for share in (0, 0.37, 0.71, 1)},
}  # fmt: skip
FOLDERS: dict[str, Damage] = ANYTHING | {"emptied": _emptied, "file": _file, "moved": _moved}
SHAPES: dict[str, Damage] = {
    "a list": _text("[]"), "null": _text("null"), "no mapping": _text('"x"'), "a number": _text("7"),
    "empty mapping": _text("{}"), "no scores": _text('{"scores": {}}'), "scores are a list": _text('{"scores": []}'),
    "NaN": _text('{"scores": {"score/error": NaN}, "step": NaN}'),
    "infinity": _text('{"step": Infinity, "steps": 1e999}'),
    "400 digits": _text('{"step": 1' + "0" * 400 + ', "scores": {"score/error": 1' + "0" * 400 + "}}"),
    "5000 digits": _text('{"step": 1' + "0" * 5000 + "}"),
    "deep": _text('{"scores": ' + "[" * 50_000 + "]" * 50_000 + "}"),
    "deep mappings": _text('{"a": ' * 5000 + "1" + "}" * 5000),
    "a huge text": _text('{"scores": "' + "x" * 5_000_000 + '"}'),
    "no UTF-8": _content(lambda content: content.replace(b"s", b"\xff", 1)),
    "twice": _content(lambda content: content * 2), "a lone surrogate": _text('{"scores": {"\\ud800": 1}}'),
}  # fmt: skip


def other(source: Path) -> Damage:
    """Another run's file or folder in its place."""

    def damage(path: Path) -> None:
        _remove(path)
        if source.is_dir():
            shutil.copytree(source, path)
        else:
            shutil.copyfile(source, path)

    return damage


def marked(cases: Sequence[tuple[str, ...]], every: int) -> list[Any]:
    """The cases as pytest takes them: one in ``every`` is always tried, the others are slow."""
    return [pytest.param(*case, marks=() if k % every == 0 else pytest.mark.slow) for k, case in enumerate(cases)]


# ---- what a command did


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    Attributes:
        code: its exit code.
        stdout: what it printed.
        lines: what it complained about; progress bars are left out.
    """

    code: int
    stdout: str
    lines: list[str]

    @property
    def errors(self) -> list[str]:
        """The lines that say why it failed."""
        return [line for line in self.lines if line.startswith(("error:", "interrupted:"))]

    @property
    def warnings(self) -> list[str]:
        """What it said and went on."""
        return [line.removeprefix("warning: ") for line in self.lines if line.startswith("warning: ")]


@contextmanager
def bounded(seconds: int = PATIENCE) -> Iterator[None]:
    """Raises `Hung` inside, whatever is waited for, unless it ends in time; signal handlers are put back."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung(f"no end after {seconds} s")

    numbers = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def commanded(main: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> Answer:
    """Runs a command in this process as its own would: `guarded` says what it ends with.

    Not for what trains: the checks of types in this process draw from Python's random stream.
    """
    capsys.readouterr()
    with bounded(), pytest.raises(SystemExit) as end:
        guarded(main)
    said = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return _answer(end.value.code, said.out, said.err)


def commanded_apart(command: Command) -> Answer:
    """How a command of the workshop ends."""
    until = time.monotonic() + PATIENCE
    while command.is_running():
        if time.monotonic() > until:
            command.kill(signal.SIGKILL)
            raise Hung(f"no end after {PATIENCE} s")
        time.sleep(0.01)
    return _answer(command.wait(), command.stdout, command.stderr)


def _answer(code: int, out: str, err: str) -> Answer:
    lines = [line for part in err.split("\n") for line in part.split("\r") if line.strip()]
    lines = [line for line in lines if "step/s" not in line and "image/s" not in line]
    assert not any("Traceback" in line or "unforeseen" in line for line in lines), "\n".join(lines)
    return Answer(code, out, lines)


def snapshot(folder: Path) -> dict[str, object]:
    """Everything below a folder: files' content, what links lead to, the kind of the rest; huge files are emptied."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            if path.stat().st_size >= LARGE:  # of no more use, and nobody else here is to read it
                os.truncate(path, 0)
            found[name] = path.read_bytes()
        else:
            found[name] = oct(path.stat().st_mode)
    return {name: what for name, what in found.items() if name not in IGNORED}
