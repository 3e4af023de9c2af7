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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

from jupyter_launcher.acts import close_on_cancel
from jupyter_launcher.server.connect import connect, remaining, secure, shut
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline

__all__ = [
    "CONTENTS",
    "LIMIT",
    "SHOWN",
    "Channel",
    "JupyterApi",
    "NoAnswerError",
    "Response",
    "parse_json",
    "parse_kernel_ids",
    "untracked",
]

T = TypeVar("T")

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
SHOWN = 200
"""Characters of what came in place of an answer."""


class NoAnswerError(Exception):
    """No HTTP answer came; the text says what came instead. Raised inside this package, never seen outside.

    Attributes:
        connected: False where the connection itself could not be made.
        too_long: True where the answer had more bytes than it may have.
    """

    def __init__(self, seen: str, *, connected: bool = True, too_long: bool = False) -> None:
        super().__init__(seen)
        self.connected = connected
        self.too_long = too_long


class _RefusedError(Exception):
    """What cannot be asked, or is not read any further; its text is for people."""


class _TooLongError(_RefusedError):
    """An answer is longer than it may be."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: ``status`` and the JSON body, None where the body was no JSON, or longer than ``LIMIT``.

    The names of the headers are in lower case; of those of one name, the last is kept. ``content`` is the body as it
    came.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    content: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Channel:
    """A connection that the server has upgraded to a websocket, by an answer with these headers."""

    sock: socket.socket
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What is asked. ``tracked``: it counts as an activity of the session's user."""

    method: str
    path: str
    authenticated: bool = True
    read_body: bool = True
    tracked: bool = False
    content: bytes | None = None
    limit: int = LIMIT
    connection: str = "close"
    headers: tuple[str, ...] = ()


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

    def send(
        self, method: str, path: str, deadline: Deadline, *, content: bytes | None = None, limit: int = LIMIT
    ) -> Response:
        """As ``request``, for the session's user: it counts as an activity.

        Args:
            method: of HTTP.
            path: below the server's URL, with its query.
            deadline: for the whole answer.
            content: JSON to send.
            limit: the most bytes that the answer may have.
        """
        request = _Request(method=method, path=path, tracked=True, content=content, limit=limit)
        answer = self._exchange(request, deadline, _receive)
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    def open_channel(self, path: str, deadline: Deadline, key: str) -> Channel | Response:
        """Ask for a websocket, with ``key`` as the key of its handshake; a response where the server refuses.

        Raises:
            NoAnswerError: no answer came.
        """
        headers = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
        request = _Request(method="GET", path=path, tracked=True, connection="Upgrade", headers=headers)
        answer = self._exchange(request, deadline, _receive_channel)
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    def _ask(
        self, method: str, path: str, deadline: Deadline, *, authenticated: bool = True, read_body: bool = True
    ) -> Response | NoAnswerError:
        request = _Request(method=method, path=path, authenticated=authenticated, read_body=read_body)
        return self._exchange(request, deadline, _receive)

    def _exchange(
        self, request: _Request, deadline: Deadline, receive: Callable[[socket.socket, _Request, Deadline], T]
    ) -> T | NoAnswerError:
        """The answer, or why there is none. Returned, since the frames of an error from here show the token."""
        connected = False
        try:
            parts = _split(self.url + request.path, request)
            with contextlib.ExitStack() as stack:
                plain = stack.enter_context(connect(parts, deadline))
                connected = True
                sock = stack.enter_context(secure(plain, parts, deadline))
                with close_on_cancel(functools.partial(shut, sock)):
                    sock.settimeout(remaining(deadline))
                    sock.sendall(self._head(request, parts) + (request.content or b""))
                    answer = receive(sock, request, deadline)
                if isinstance(answer, Channel):
                    stack.pop_all()
                return answer
        except Exception as error:  # noqa: BLE001 - what a hostile answer makes the standard library's parsers raise
            seen = str(error) if isinstance(error, _RefusedError) else type(error).__name__
            too_long = isinstance(error, _TooLongError)
        return NoAnswerError(seen, connected=connected, too_long=too_long)

    def _head(self, request: _Request, parts: SplitResult) -> bytes:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        has_content = request.content is not None or request.method != "GET"
        lines = [
            f"{request.method} {target} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Accept-Encoding: identity",
            f"Connection: {request.connection}",
            *request.headers,
            *(["Content-Type: application/json"] if request.content is not None else []),
            *([f"Content-Length: {len(request.content or b'')}"] if has_content else []),
            *([f"Authorization: token {self._token}"] if request.authenticated and self._token else []),
        ]
        if not all(line.isascii() and line.isprintable() for line in lines):
            msg = "the URL or the token has characters that HTTP cannot carry"
            raise _RefusedError(msg)
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Reader(io.RawIOBase):
    """What comes from a socket, until the deadline is over or the limit is passed."""

    def __init__(self, sock: socket.socket, request: _Request, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._limit = self._left = request.limit
        # A buffer would take what comes after the head, and a websocket has its first message there.
        self._buffered = request.connection == "close"

    def makefile(self, _: str) -> io.BufferedIOBase | io.RawIOBase:
        """What ``HTTPResponse`` wants of a socket."""
        return io.BufferedReader(self) if self._buffered else self

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(remaining(self._deadline))
        count = self._sock.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            msg = f"more than {self._limit} bytes"
            raise _TooLongError(msg)
        return count


def _split(url: str, request: _Request) -> SplitResult:
    parts = urlsplit(url if request.tracked else untracked(url, request.method))
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        msg = "no URL that can be asked"
        raise _RefusedError(msg)
    return parts


def untracked(url: str, method: str) -> str:
    """The URL of a look of the launcher's own, which is no activity of the session's user."""
    return f"{url}{'&' if '?' in url else '?'}{_UNTRACKED}" if method == "GET" else url


def _receive(sock: socket.socket, request: _Request, deadline: Deadline) -> Response:
    answer = _receive_head(sock, request, deadline)
    if not request.read_body:
        return Response(answer.status, None)
    # In pieces, since space for all that the head promises would be taken at once.
    body = b"".join(iter(lambda: answer.read(_PIECE), b""))
    if answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    return Response(answer.status, parse_json(body) if len(body) <= LIMIT else None, _headers_of(answer), body)


def _receive_channel(sock: socket.socket, request: _Request, deadline: Deadline) -> Channel | Response:
    answer = _receive_head(sock, request, deadline)
    headers = _headers_of(answer)
    return Channel(sock, headers) if answer.status == 101 else Response(answer.status, None, headers)


def _receive_head(sock: socket.socket, request: _Request, deadline: Deadline) -> http.client.HTTPResponse:
    source: Any = _Reader(sock, request, deadline)  # its makefile is all of a socket that HTTPResponse uses
    answer = http.client.HTTPResponse(source, method=request.method)
    answer.begin()
    return answer


def _headers_of(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _is_ok(answer: Response | NoAnswerError) -> bool:
    return isinstance(answer, Response) and answer.status == 200


def parse_json(body: bytes | str) -> Any:
    """What came as JSON; None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        return None
