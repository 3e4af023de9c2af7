"""A server that answers over HTTP as none should, on a real socket; and what a report shows of an error."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

__all__ = ["ENDLESS", "KINDS", "SOME", "Behaviour", "hostile_server", "sends", "server_of_kernels", "shown"]

Behaviour = Callable[[socket.socket, threading.Event], None]
"""What is done with a connection on which a request has come, until the event is set."""

_OK = b"HTTP/1.1 200 OK\r\n"
_PAUSE = 0.01


def sends(*pieces: bytes, then: Iterable[bytes] = (), pause: float = 0.0, stays: bool = False) -> Behaviour:
    """Send these bytes, then others, with a pause after each of those; then close, or stay and say nothing."""

    def behave(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(b"".join(pieces))
        for piece in then:
            connection.sendall(piece)
            if stopped.wait(pause) if pause else stopped.is_set():
                return
        if stays:
            stopped.wait()

    return behave


def _reset(connection: socket.socket, _: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Again:
    """The same bytes again and again."""

    def __init__(self, piece: bytes) -> None:
        self._piece = piece

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._piece


ENDLESS: dict[str, Behaviour] = {
    "silence": sends(stays=True),
    "a head that drips": sends(_OK + b"X-A: ", then=_Again(b"a"), pause=_PAUSE),
    "a body that drips": sends(_OK + b"\r\n", then=_Again(b" "), pause=_PAUSE),
    "chunks that drip": sends(_OK + b"Transfer-Encoding: chunked\r\n\r\n", then=_Again(b"1\r\n \r\n"), pause=_PAUSE),
    "go on, for ever": sends(then=_Again(b"HTTP/1.1 100 Continue\r\n\r\n"), pause=_PAUSE),
    "a chunk that never comes": sends(_OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n", stays=True),
    "less than it promised, and then silence": sends(_OK + b"Content-Length: 9\r\n\r\n{", stays=True),
}
"""Those that never come to an end by themselves."""

KINDS: dict[str, Behaviour] = {
    **ENDLESS,
    "closed at once": sends(),
    "reset": _reset,
    "no HTTP": sends(b"SSH-2.0-x\r\n"),
    "binary": sends(bytes(range(256)) * 40),
    "half a head": sends(_OK + b"Content-"),
    "an endless body": sends(_OK + b"\r\n", then=_Again(b" " * 2**16)),
    "an endless body of chunks": sends(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n", then=_Again(b"10000\r\n" + b" " * 2**16 + b"\r\n")
    ),
    "an endless line of the head": sends(_OK + b"X-A: ", then=_Again(b"a" * 2**16)),
    "an endless head": sends(_OK, then=_Again(b"X-A: a\r\n" * 1000)),
    "a length of 1 GiB": sends(_OK + b"Content-Length: 1073741824\r\n\r\n", then=_Again(b" " * 2**16)),
    "a huge length": sends(_OK + b"Content-Length: 1000000000000000\r\n\r\n", then=_Again(b" " * 2**16)),
    "a huge length of a chunk": sends(
        _OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n", then=_Again(b" " * 2**16)
    ),
    "a negative length": sends(_OK + b"Content-Length: -5\r\n\r\n{}"),
    "a negative length of a chunk": sends(_OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n[]"),
    "less than it promised": sends(_OK + b"Content-Length: 9\r\n\r\n{"),
    "a redirection to itself": sends(b"HTTP/1.1 302 Found\r\nLocation: /api\r\nContent-Length: 0\r\n\r\n"),
    "no content": sends(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "deep JSON": sends(_OK + b"\r\n" + b"[" * 200_000),
    "deep JSON that ends": sends(_OK + b"\r\n" + b"[" * 200_000 + b"]" * 200_000),
    "30 MB of JSON": sends(_OK + b"\r\n[", then=[b'{"id": "x"},' * 1000] * 2500),
    "numbers for kernels": sends(_OK + b"\r\n[1, 2]"),
    "an id that is a path": sends(_OK + b'\r\n[{"id": "../../shutdown"}]'),
    "a lone surrogate": sends(_OK + b'\r\n{"message": "\\ud800\\u001b[2J", "id": "\\ud800"}'),
}
"""All of them; each is one way to answer a request."""

SOME = ("silence", "a head that drips", "an endless body", "deep JSON", "30 MB of JSON", "closed at once", "no HTTP")
"""Enough for what stands upon the reader that is tried with all."""


def hostile_server(behave: Behaviour) -> contextlib.AbstractContextManager[str]:
    """A server on loopback that behaves so with each connection, once a request has come; gives its URL."""
    return _serve(lambda connection, _, stopped: behave(connection, stopped))


def server_of_kernels(ids: Iterable[str], asked: list[bytes]) -> contextlib.AbstractContextManager[str]:
    """A server that lists these kernels, and never answers to a DELETE; notes the first words of each request."""
    listing = json.dumps([{"id": kernel} for kernel in ids]).encode()

    def behave(connection: socket.socket, request: bytes, stopped: threading.Event) -> None:
        asked.append(b" ".join(request.split()[:2]))
        if request.startswith(b"DELETE"):
            stopped.wait()
        connection.sendall(_OK + b"\r\n" + listing)

    return _serve(behave)


@contextmanager
def _serve(behave: Callable[[socket.socket, bytes, threading.Event], None]) -> Iterator[str]:
    stopped = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        # The other side goes away when it has seen enough.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            behave(connection, connection.recv(2**16), stopped)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if stopped.is_set():
                connection.close()
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            stopped.set()
            socket.create_connection(listener.getsockname()).close()  # a thread in accept is woken by nothing else
            for thread in (acceptor, *threads):
                thread.join()


def shown(error: BaseException | None) -> Iterator[str]:
    """What a report with the locals of every frame shows, of an error and of those behind it."""
    while error is not None:
        yield repr(error) + str(error) + repr(vars(error))
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            yield from (f"{name} = {value!r}" for name, value in trace.tb_frame.f_locals.items())
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
