"""What ends a gateway together with the session that it is one unit with: a connection to the session's server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_launcher_kernels.holds import end_gateway

__all__ = ["watch_session"]

_FILE = Path("/run/jupyter-launcher/session")
_PORT = 8888
_LOOK_SECONDS = 0.5
_PATIENCE = 5.0  # seconds until nothing listens for good
_PAUSE = 0.2
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


def watch_session(
    file: Path = _FILE, port: int = _PORT, patience: float = _PATIENCE, end: Callable[[str], object] = end_gateway
) -> None:
    """Wait, in a thread of its own, until the launcher writes a session's IP into a file; end the gateway with it.

    Args:
        file: that the launcher writes once that session's server listens. One unit has one session.
        port: of the session's server.
        patience: seconds in which a server that has closed the connection must take another one.
        end: the gateway.
    """
    threading.Thread(target=_watch, args=(file, port, patience, end), name="lifeline", daemon=True).start()


def _watch(file: Path, port: int, patience: float, end: Callable[[str], object]) -> None:
    while not (ip := _read(file)):
        time.sleep(_LOOK_SECONDS)
    connection = _connect(ip, port, patience)
    while connection is not None:
        begun = time.monotonic()
        with connection, contextlib.suppress(OSError):
            while connection.recv(4096):
                pass
        if time.monotonic() - begun < _PAUSE:
            time.sleep(_PAUSE)
        connection = _connect(ip, port, patience, is_first=False)
    end(f"the session at {ip} is gone")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _connect(ip: str, port: int, patience: float, *, is_first: bool = True) -> socket.socket | None:
    """A connection; None where nothing listens.

    A server closes a connection on which nothing is said, and takes the next one. Where one refuses that, it has ended,
    and an engine may soon give its IP to another session's container, so nobody asks there again.
    """
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = socket.create_connection((ip, port), timeout=left)
        except OSError as error:
            if isinstance(error, ConnectionRefusedError) and not is_first:
                return None
            time.sleep(_PAUSE)
            continue
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, seconds)
        return connection
    return None
