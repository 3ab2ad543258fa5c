"""A page in headless Chromium: what it looks like, what it complains about, what it asks the network for."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--disable-default-apps", "--disable-dev-shm-usage", "--no-default-browser-check", "--hide-scrollbars"),
    *("--enable-logging=stderr", "--v=0"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # never out of this machine
]
PATIENCE = 120  # seconds


@dataclass(frozen=True)
class Page:
    """What came of a visit.

    Attributes:
        picture: screenshot, PNG.
        console: lines that the page or its errors wrote to the console.
        requests: addresses on the network (http, https, ws) that it asked for, its own address left out.
        dom: the document as HTML, after its scripts.
    """

    picture: Path
    console: list[str]
    requests: list[str]
    dom: str


def screenshot(url: str, folder: Path, size: tuple[int, int] = (1200, 3000), wait_ms: int = 2000) -> Page:
    """Opens a page in a profile of its own.

    Args:
        url: ``file:///...`` or ``http://...``.
        folder: where the picture and the logs go; it must exist.
        size: of the window, width and height in pixels.
        wait_ms: of the page's own (virtual) time before the picture is taken.

    Raises:
        AssertionError: Chromium failed.
    """
    picture, log = folder / "page.png", folder / "net.json"
    log.unlink(missing_ok=True)
    options = [f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}", f"--virtual-time-budget={wait_ms}",
               f"--log-net-log={log}", "--dump-dom"]  # fmt: skip
    done = _run([*options, url])
    assert picture.exists(), done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Page(picture, console, _requests(log), done.stdout)


def pdf(url: str, folder: Path) -> Path:
    """Prints a page."""
    file = folder / "page.pdf"
    done = _run([f"--print-to-pdf={file}", "--no-pdf-header-footer", url])
    assert file.exists(), done.stderr[-2000:]
    return file


def _run(options: list[str]) -> "subprocess.CompletedProcess[str]":
    assert CHROMIUM is not None, "no Chromium on this machine"
    # A profile of its own in a short path: Chromium's sockets lie there, and their names must not exceed 108 bytes.
    with tempfile.TemporaryDirectory(prefix="page", ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *options]
        surroundings = {**os.environ, "HOME": profile}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=surroundings, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def _requests(log: Path) -> list[str]:
    """The addresses that the page asked the network for, from Chromium's log.

    Chromium also asks for updates and the time of its own accord: such requests have no page as their initiator.
    """
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().rstrip(",")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # ended in the middle
        events = json.loads(f"{text}]}}")["events"]
    started = [event["params"] for event in events if "initiator" in event.get("params", {})]
    addresses = {str(item["url"]) for item in started if item["initiator"] != "not an origin"}
    return sorted(address for address in addresses if urlsplit(address).scheme in ("http", "https", "ws", "wss"))
