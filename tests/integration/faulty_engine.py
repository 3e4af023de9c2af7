"""A proxy before the engine that answers one request as it should not."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tests.acceptor import Acceptor

__all__ = ["FAULTS", "FaultyEngine"]


def _answer(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


INSTEAD: dict[str, bytes] = {
    "error 500": _answer(b'{"message": "bad"}', "500 Internal Server Error"),
    "error 502 in HTML": _answer(b"<html></html>", "502 Bad Gateway", "text/html"),
    "error 500 with an empty object": _answer(b"{}", "500 Internal Server Error"),
    "error 500 with an empty list": _answer(b"[]", "500 Internal Server Error"),
    "error 500 without a message": _answer(b'{"error": "x"}', "500 Internal Server Error"),
    "not JSON": _answer(b"hello"),
    "an empty object": _answer(b"{}"),
    "an empty list": _answer(b"[]"),
    "null": _answer(b"null"),
    "a number": _answer(b"5"),
    "a list of numbers": _answer(b"[1, 2]"),
    "deep JSON": _answer(b"[" * 100_000),
    "not HTTP": b"\x00\xff\x00garbage\r\n\r\n",
    "closed": b"",
}
"""What is answered without asking the engine."""

CUT = {"truncated": 5, "lost": 10**6}
"""Bytes that are missing at the end of what the engine answers."""

FAULTS = (*INSTEAD, *CUT)


class FaultyEngine:
    """Passes requests on to an engine, but for one.

    Attributes:
        url: for ``docker_host``.
        requests: the first line of each request.
    """

    def __init__(self, path: Path, engine: str) -> None:
        self.url = f"unix://{path}"
        self.requests: list[str] = []
        self._engine = engine
        self._fault = ""
        self._at = 0
        self._lock = threading.Lock()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(64)
        self._acceptor = Acceptor(listener, self._take)

    def fail(self, fault: str, at: int) -> None:
        """From now on count anew, and answer the request of this number with a fault."""
        with self._lock:
            self.requests, self._fault, self._at = [], fault, at

    @property
    def failed(self) -> bool:
        """Whether so many requests came."""
        return len(self.requests) >= self._at

    def close(self) -> None:
        self._acceptor.close()

    def _take(self, client: socket.socket) -> None:
        threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client, client.makefile("rb") as stream:
            while request := _read_request(stream):
                with self._lock:
                    self.requests.append(request.partition(b"\r\n")[0].decode())
                    fault = self._fault if len(self.requests) == self._at else ""
                if fault in INSTEAD:
                    client.sendall(INSTEAD[fault])
                    if not INSTEAD[fault].startswith(b"HTTP"):
                        return
                    continue
                self._pass_on(client, request, CUT.get(fault, 0))
                return

    def _pass_on(self, client: socket.socket, request: bytes, missing: int) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(request.replace(b"Connection: keep-alive", b"Connection: close", 1))
            if not missing:
                while data := engine.recv(65536):
                    client.sendall(data)
                return
            whole = b""
            while len(whole) < 400 and (data := engine.recv(65536)):  # a stream that stays open has no end
                whole += data
            client.sendall(whole[:-missing])


def _read_request(stream: io.BufferedIOBase) -> bytes:
    """One whole request; empty at the end of the connection."""
    head = _read_until(stream, lambda line: line in (b"\r\n", b""))
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
    }
    if length := int(fields.get(b"content-length", 0)):
        return head + stream.read(length)
    if fields.get(b"transfer-encoding") == b"chunked":
        return head + _read_until(stream, lambda line: line == b"0\r\n") + stream.readline()
    return head


def _read_until(stream: io.BufferedIOBase, is_last: Callable[[bytes], bool]) -> bytes:
    lines = []
    while line := stream.readline():
        lines.append(line)
        if is_last(line):
            break
    return b"".join(lines)
