"""The REST API of a Jupyter server or a gateway, and the one reader of what they answer.

The user of a session owns what listens in its container, so an answer may be of any size and shape, and may never
end. One deadline bounds the whole of it, from the connection to the last byte of the body, and so does one limit of
bytes. Only this module sends requests to servers and gateways.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import json
import re
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from jupyter_launcher.acts import close_on_cancel
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import ExecError
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline, call_within

__all__ = ["CONTENTS", "LIMIT", "ExecApi", "JupyterApi", "NoAnswerError", "Response", "parse_kernel_ids"]

CONTENTS = "api/contents?content=0"
"""A request that only our server answers: it needs the token, and the gateway takes no part in it."""

LIMIT = 2**20
"""Bytes that an answer may have, its head included."""

# jupyter_server then does not take the request for an activity of the session's user.
_UNTRACKED = "no_track_activity=1"
_KERNEL_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,128}")
_MOST_KERNELS = 1000
_WORKERS = 16
_PIECE = 2**16
_SHOWN = 200  # characters of what came in place of an answer
_CONNECT_SECONDS = 3.0
"""For one address. Where nothing answers in this time, what is sent there is most likely lost."""
_NAME_SECONDS = 6.0  # a resolver gives up its first server after 5
_NOT_CONNECTED = 7
"""The exit code of request.py where no connection could be made."""


class NoAnswerError(Exception):
    """No HTTP answer came; the text says what came instead. Raised inside this package, never seen outside.

    Attributes:
        connected: False where the connection itself could not be made.
    """

    def __init__(self, seen: str, *, connected: bool = True) -> None:
        super().__init__(seen)
        self.connected = connected


class _RefusedError(Exception):
    """What cannot be asked, or is not read any further; its text is for people."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: ``status`` and the JSON body, None where the body was no JSON.

    The names of the headers are in lower case; of those of one name, the last is kept.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


def parse_kernel_ids(found: Sequence[object]) -> tuple[str, ...] | None:
    """Kernel ids; None where one of them is none, for it may stand for any kernel, or where they are over 1000."""
    ids = tuple(item for item in found if isinstance(item, str) and _KERNEL_ID.fullmatch(item))
    return ids if len(ids) == len(found) <= _MOST_KERNELS else None


class JupyterApi:
    """The REST API of a Jupyter server, or of a gateway.

    Every call ends when its deadline is over, whatever the other side does, and a connection is made within 3 s or not
    at all. Redirections are not followed; proxies and
    ``.netrc`` are not used. No GET counts as an activity of the session's user.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/") + "/"
        self._token = token

    def request(self, method: str, path: str, deadline: Deadline, *, authenticated: bool = True) -> Response:
        """Ask for ``path`` below the server's URL.

        Raises:
            NoAnswerError: no answer came, or none that ended in time and within ``LIMIT`` bytes.
        """
        answer = self._ask(method, path, deadline, authenticated=authenticated)
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    def kernels(self, deadline: Deadline) -> tuple[str, ...] | None:
        """Ids of the kernels that the server holds; None when it cannot tell."""
        with contextlib.suppress(NoAnswerError):
            return self.list_kernels(deadline)
        return None

    def list_kernels(self, deadline: Deadline) -> tuple[str, ...] | None:
        """As ``kernels``.

        Raises:
            NoAnswerError: no answer came; it tells whether there was a connection.
        """
        answer = self.request("GET", "api/kernels", deadline)
        if answer.status != 200 or not isinstance(answer.body, list):
            return None
        return parse_kernel_ids([item.get("id") if isinstance(item, dict) else None for item in answer.body])

    def delete_kernels(self, ids: Iterable[str], deadline: Deadline) -> None:
        """Shut kernels down, 16 at the same time, until the deadline. A later look shows which are left."""
        map_at_once(lambda kernel: self._delete(kernel, deadline), tuple(ids), threads=_WORKERS)

    def _delete(self, kernel: str, deadline: Deadline) -> None:
        self._ask("DELETE", f"api/kernels/{quote(kernel, safe='')}", deadline, read_body=False)

    def shutdown(self, deadline: Deadline) -> bool | None:
        """Ask the server to end, its kernels first; whether it said that it would, None when no answer came."""
        answer = self._ask("POST", "api/shutdown", deadline, read_body=False)
        return None if isinstance(answer, NoAnswerError) else _is_ok(answer)

    def is_alive(self, deadline: Deadline) -> bool:
        """True if the server answers ``GET api`` with 200. No token is sent."""
        return _is_ok(self._ask("GET", "api", deadline, authenticated=False, read_body=False))

    def takes_token(self, deadline: Deadline) -> bool | None:
        """Whether the server answers a request with our token by 200; None when no answer came."""
        answer = self._ask("GET", CONTENTS, deadline)
        return None if isinstance(answer, NoAnswerError) else _is_ok(answer)

    def look(self, deadline: Deadline) -> Response | None:
        """The answer to a request with our token, where it has status 200; else None."""
        answer = self._ask("GET", CONTENTS, deadline)
        return answer if isinstance(answer, Response) and _is_ok(answer) else None

    def _ask(
        self, method: str, path: str, deadline: Deadline, *, authenticated: bool = True, read_body: bool = True
    ) -> Response | NoAnswerError:
        """The answer, or why there is none. Returned, since the frames of an error from here show the token."""
        connected = False
        try:
            parts = _split(self.url + path, method)
            with _connect(parts, deadline) as plain:
                connected = True
                with _secure(plain, parts, deadline) as sock, close_on_cancel(functools.partial(_shut, sock)):
                    sock.settimeout(_remaining(deadline))
                    sock.sendall(self._head(method, parts, authenticated=authenticated))
                    return _receive(sock, method, deadline, read_body=read_body)
        except Exception as error:  # noqa: BLE001 - what a hostile answer makes the standard library's parsers raise
            seen = str(error) if isinstance(error, _RefusedError) else type(error).__name__
        return NoAnswerError(seen, connected=connected)

    def _head(self, method: str, parts: SplitResult, *, authenticated: bool) -> bytes:
        lines = [
            f"{method} {parts.path}?{parts.query} HTTP/1.1" if parts.query else f"{method} {parts.path} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Accept-Encoding: identity",
            "Connection: close",
            *(["Content-Length: 0"] if method != "GET" else []),
            *([f"Authorization: token {self._token}"] if authenticated and self._token else []),
        ]
        if not all(line.isascii() and line.isprintable() for line in lines):
            msg = "the URL or the token has characters that HTTP cannot carry"
            raise _RefusedError(msg)
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class ExecApi(JupyterApi):
    """The REST API of a gateway, asked from inside a container: for one that this process does not reach.

    Over https only from inside the gateway's own container: nobody looks whose certificate it is.
    """

    def __init__(self, engine: Engine, container: str, url: str, token: str | None = None) -> None:
        super().__init__(url, token)
        self._engine = engine
        self._container = container

    def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        authenticated: bool = True,  # noqa: ARG002 - without a token of ours, that of the container's environment is taken
        read_body: bool = True,  # noqa: ARG002 - its size is bounded
    ) -> Response | NoAnswerError:
        if deadline.expired():
            return NoAnswerError(TimeoutError.__name__)
        url, seconds = _untracked(self.url + path, method), f"{max(deadline.remaining(), 0.001):.3f}"
        # The gateway's container asks itself.
        trust = ["any-certificate"] if url.startswith("https:") else []
        script = read_script("request.py")
        command = ("sh", "-c", read_script("run_python.sh"), "run", script, method, url, seconds, *trust)
        try:
            token = HiddenTexts({"KG_AUTH_TOKEN": self._token} if self._token else {})
            result = self._engine.exec(self._container, command, deadline, environment=token)
        except ExecError as error:
            if error.exit_code == _NOT_CONNECTED:
                return NoAnswerError(error.output.strip()[-_SHOWN:], connected=False)
            return NoAnswerError(error.message)
        status, _, body = result.stdout.partition("\n")
        if not re.fullmatch(r"[1-9][0-9]{2}", status):
            return NoAnswerError(result.stdout[:_SHOWN])
        return Response(int(status), _parse(body))


class _Reader(io.RawIOBase):
    """What comes from a socket, until the deadline is over or the limit is passed."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = LIMIT

    def makefile(self, _: str) -> io.BufferedReader:
        """What ``HTTPResponse`` wants of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_remaining(self._deadline))
        count = self._sock.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            msg = f"more than {LIMIT} bytes"
            raise _RefusedError(msg)
        return count


def _split(url: str, method: str) -> SplitResult:
    parts = urlsplit(_untracked(url, method))
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        msg = "no URL that can be asked"
        raise _RefusedError(msg)
    return parts


def _untracked(url: str, method: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{_UNTRACKED}" if method == "GET" else url


def _connect(parts: SplitResult, deadline: Deadline) -> socket.socket:
    """A connection to the first of the host's addresses that takes one."""
    _remaining(deadline)
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
        sock.settimeout(_remaining(deadline.shortened(_CONNECT_SECONDS)))
        with close_on_cancel(functools.partial(_shut, sock)):
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # nobody is connected, or not yet
        sock.shutdown(socket.SHUT_RDWR)


def _secure(sock: socket.socket, parts: SplitResult, deadline: Deadline) -> socket.socket:
    if parts.scheme == "http":
        return sock
    sock.settimeout(_remaining(deadline))
    return ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)


def _receive(sock: socket.socket, method: str, deadline: Deadline, *, read_body: bool) -> Response:
    source: Any = _Reader(sock, deadline)  # its makefile is all of a socket that HTTPResponse uses
    answer = http.client.HTTPResponse(source, method=method)
    answer.begin()
    if not read_body:
        return Response(answer.status, None)
    # In pieces, since space for all that the head promises would be taken at once.
    body = b"".join(iter(lambda: answer.read(_PIECE), b""))
    if answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    return Response(answer.status, _parse(body), {name.lower(): value for name, value in answer.getheaders()})


def _remaining(deadline: Deadline) -> float:
    """Seconds that are left, for a socket to which 0 would mean not to wait at all."""
    if deadline.expired():
        raise TimeoutError
    return max(deadline.remaining(), 0.001)


def _is_ok(answer: Response | NoAnswerError) -> bool:
    return isinstance(answer, Response) and answer.status == 200


def _parse(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        return None
