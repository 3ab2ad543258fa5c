"""The way to a Ray cluster, or to one on this machine; Ray is imported here alone, when it is asked for."""

import os
import socket
from importlib import import_module
from typing import Any

from sandbox.base.errors import UserError, one_line


def connect(address: str | None, cpus: int, flag: str = "--ray") -> Any:
    """Joins a Ray cluster and returns the module ``ray``.

    Args:
        address: of a running cluster (``auto``, ``HOST:PORT``, ``ray://HOST:PORT``); None starts one on this machine,
            which ends with this process.
        cpus: with no address: cores that it says it has.
        flag: what the user asked for it by, for messages.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # a cluster that is not there is one line, ours
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise UserError(f"{flag} needs Ray: pip install 'coordconv-sandbox[cluster]'") from None
    if address is not None:
        _knock(address, flag)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init(address="local", num_cpus=max(1, cpus), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"{flag}: no Ray cluster at {address or 'this machine'} ({one_line(error)})") from None
    return ray


def _knock(address: str, flag: str) -> None:
    """Ray itself would try for minutes to reach a machine that is not there."""
    place = address.removeprefix("ray://")
    if place == "auto":
        return
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"{flag} is {address!r}: allowed are auto, HOST:PORT and ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"{flag}: no Ray cluster at {address} ({error.strerror or one_line(error)})") from None
