"""A connection to a server or a gateway: to one of its host's addresses, over TLS for https, within a deadline."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult

from jupyter_launcher.acts import close_on_cancel
from jupyter_launcher.waiting import Deadline, call_within

__all__ = ["connect", "remaining", "secure", "shut"]

_CONNECT_SECONDS = 3.0
"""For one address. Where nothing answers in this time, what is sent there is most likely lost."""

_NAME_SECONDS = 6.0  # a resolver gives up its first server after 5


def connect(parts: SplitResult, deadline: Deadline) -> socket.socket:
    """A connection to the first of the host's addresses that takes one."""
    remaining(deadline)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    find = functools.partial(socket.getaddrinfo, parts.hostname, port, type=socket.SOCK_STREAM)
    *others, last = find() if _is_address(parts.hostname) else call_within(deadline.shortened(_NAME_SECONDS), find)
    for family, kind, protocol, _, address in others:
        with contextlib.suppress(OSError):
            return _connect_to(socket.socket(family, kind, protocol), address, deadline)
    family, kind, protocol, _, address = last
    return _connect_to(socket.socket(family, kind, protocol), address, deadline)


def _is_address(host: str | None) -> bool:
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True


def _connect_to(sock: socket.socket, address: Any, deadline: Deadline) -> socket.socket:
    try:
        sock.settimeout(remaining(deadline.shortened(_CONNECT_SECONDS)))
        with close_on_cancel(functools.partial(shut, sock)):
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def shut(sock: socket.socket) -> None:
    """End a connection, and a read of it in another thread."""
    with contextlib.suppress(OSError):  # nobody is connected, or not yet
        sock.shutdown(socket.SHUT_RDWR)


def secure(sock: socket.socket, parts: SplitResult, deadline: Deadline) -> socket.socket:
    """The connection itself, or over TLS where the URL says https."""
    if parts.scheme == "http":
        return sock
    sock.settimeout(remaining(deadline))
    return ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)


def remaining(deadline: Deadline) -> float:
    """Seconds that are left, for a socket to which 0 would mean not to wait at all."""
    if deadline.expired():
        raise TimeoutError
    return max(deadline.remaining(), 0.001)
