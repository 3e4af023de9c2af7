"""What a gateway and its parts live and die by together: a connection to each part, as long as the gateway runs."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping

from jupyter_launcher_kernels.part import socket_address

__all__ = ["HoldError", "end_gateway", "take_holds", "watch_holds"]

_PATIENCE = 30.0  # seconds until the parts listen
_PAUSE = 0.02
_ANSWER_SECONDS = 10.0
_ANSWER_SIZE = 65536
_END_SECONDS = 20.0  # that a graceful end may take


class HoldError(Exception):
    """A part is not there, or did not let itself be held."""


def take_holds(parts: Mapping[str, str], patience: float = _PATIENCE) -> dict[socket.socket, str]:
    """Hold each part, which waits for that before it starts kernels.

    Args:
        parts: the address of each, and its secret.
        patience: seconds in which they must listen.

    Raises:
        HoldError: one does not listen in time, or refuses.
    """
    deadline = time.monotonic() + patience
    return {_take_hold(address, secret, deadline): address for address, secret in parts.items()}


def _take_hold(address: str, secret: str, deadline: float) -> socket.socket:
    connection = _connect(address, deadline)
    try:
        connection.settimeout(_ANSWER_SECONDS)
        connection.sendall(json.dumps({"do": "hold", "secret": secret}).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < _ANSWER_SIZE:
            chunk = connection.recv(_ANSWER_SIZE)
            if not chunk:
                break
            answer += chunk
        told = json.loads(answer or b'{"error": "it ended"}')
        if "error" in told:
            msg = f"the part at {address} does not serve this gateway: {told['error']}"
            raise HoldError(msg)
    except (OSError, ValueError) as error:
        msg = f"the part at {address} gave no answer: {error}"
        raise HoldError(msg) from error
    connection.settimeout(None)
    return connection


def _connect(address: str, deadline: float) -> socket.socket:
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(socket_address(address))
        except OSError as error:
            connection.close()
            if time.monotonic() >= deadline:
                msg = f"the part at {address} does not listen: {error}"
                raise HoldError(msg) from error
            time.sleep(_PAUSE)
        else:
            return connection


def watch_holds(holds: dict[socket.socket, str]) -> None:
    """End the gateway as soon as a part has ended; in a thread of its own."""
    threading.Thread(target=_watch, args=(holds,), name="holds", daemon=True).start()


def _watch(holds: dict[socket.socket, str]) -> None:
    addresses = {connection.fileno(): address for connection, address in holds.items()}
    poller = select.poll()
    for number in addresses:
        poller.register(number, select.POLLIN)
    connections = {connection.fileno(): connection for connection in holds}
    while True:
        for number, _ in poller.poll():
            try:
                ended = not connections[number].recv(_ANSWER_SIZE)
            except OSError:
                ended = True
            if ended:
                end_gateway(f"the part at {addresses[number]} has ended")
                return


def end_gateway(why: str) -> None:
    """End this process, whose kernels end with it; does not return."""
    print(f"jupyter-launcher: {why}, so the gateway ends", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_END_SECONDS)  # this thread ends with the process
    os._exit(1)
