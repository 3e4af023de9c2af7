"""A Jupyter server with one kernel on loopback: real HTTP and a real websocket, and each message is the test's."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jupyter_launcher.work.place import Place
from tests.acceptor import Acceptor
from tests.unit.fakes import TOKEN, FakeEngine, container

__all__ = ["Channel", "FakeKernel", "place_of"]

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def place_of(url: str, **more: Any) -> Place:
    """A session whose server is at this URL."""
    known = container()
    given: dict[str, Any] = {
        "engine": FakeEngine(known),
        "container": known.id,
        "session_id": "unit",
        "url": url,
        "token": TOKEN,
        "gateway": None,
        "phase": lambda _: contextlib.nullcontext(),
    }
    return Place(**{**given, **more})


class Channel:
    """One websocket: what the kernel says on it is what a test says."""

    def __init__(self, kernel: FakeKernel, connection: socket.socket, query: Mapping[str, list[str]]) -> None:
        self.kernel = kernel
        self.connection = connection
        self.session = query["session_id"][0]
        self.seen = query["jupyter_launcher_seen"][0]

    def say(self, kind: str, parent: str = "", *, session: str | None = None, **content: Any) -> None:
        """Send a message of the kernel's process, or of another ``session``."""
        self.send(json.dumps(self.kernel.message(kind, parent, session, content)).encode())

    def send(self, payload: bytes, opcode: int = _TEXT, *, length: int | None = None) -> None:
        """Send a frame; ``length``: what it says of its own."""
        size = len(payload) if length is None else length
        head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        self.connection.sendall(head + payload)

    def end(self, parent: str, status: str = "ok", **reply: Any) -> None:
        """The two messages that end an execution."""
        self.say("execute_reply", parent, status=status, execution_count=1, **reply)
        self.say("status", parent, execution_state="idle")

    def drop(self) -> None:
        """End the connection without a word."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Hand over each request, until the client leaves."""
        while True:
            opcode, payload = self._receive()
            if opcode == _CLOSE:
                return
            if opcode == _PING:
                self.kernel.pings.append(payload.decode())
                if self.kernel.pongs:
                    self.send(payload, _PONG)
                continue
            found = json.loads(payload)
            kind, request = found["header"]["msg_type"], found["header"]["msg_id"]
            if kind == "kernel_info_request":
                self.kernel.on_info(self, request)
            else:
                self.kernel.requests.append(found)
                self.kernel.on_code(self, request, found["content"]["code"])

    def _receive(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        size = second & 127
        if size > 125:
            size = struct.unpack("!H" if size == 126 else "!Q", self._exactly(2 if size == 126 else 8))[0]
        mask = self._exactly(4)
        return first & 15, bytes(byte ^ mask[index % 4] for index, byte in enumerate(self._exactly(size)))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.connection.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


class FakeKernel:
    """The server. ``on_code`` is called with each execution; ``resumes``: the server keeps what was not got."""

    def __init__(self, on_code: Callable[[Channel, str, str], None] | None = None) -> None:
        self.id = str(uuid.uuid4())
        self.process = uuid.uuid4().hex
        self.state = "idle"
        self.resumes = True
        self.refuses: int | None = None
        self.pongs = True
        self.oom_kills: list[str] = ["0"]
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.pings: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.channels: list[Channel] = []
        self.answers: dict[str, tuple[int, object]] = {}
        self.on_code = on_code or (lambda channel, request, _: channel.end(request))
        self.on_info: Callable[[Channel, str], None] = FakeKernel.inform
        self.on_interrupt: Callable[[], object] = lambda: None
        self.on_start: Callable[[], object] = lambda: None

    def message(self, kind: str, parent: str, session: str | None, content: Mapping[str, Any]) -> dict[str, Any]:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": session or self.process}
        return {"header": header, "parent_header": {"msg_id": parent} if parent else {}, "content": dict(content)}

    @staticmethod
    def inform(channel: Channel, request: str) -> None:
        """Answer a question about the kernel."""
        channel.say("kernel_info_reply", request, status="ok")
        channel.say("status", request, execution_state="idle")

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on loopback, and give the URL."""
        listener = socket.create_server(("127.0.0.1", 0))
        acceptor = Acceptor(listener, self._serve)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            acceptor.close()
            for channel in self.channels:
                channel.drop()

    def _serve(self, connection: socket.socket) -> None:
        threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), connection:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = connection.recv(1)
                if not piece:  # the client has thought better of it
                    return
                head += piece
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            size = int(headers.get("content-length", "0"))
            body = connection.recv(size) if size else b""
            method, target, _ = lines[0].split(" ")
            parts = urlsplit(target)
            self.asked.append(f"{method} {parts.path}")
            assert headers.get("authorization") == f"token {TOKEN}"
            if parts.path.endswith("/channels") and self.refuses is None:
                self._upgrade(connection, headers, parse_qs(parts.query))
                return
            status, document = self._document(method, parts.path, body)
            content = json.dumps(document).encode()
            kills = self.oom_kills.pop(0) if len(self.oom_kills) > 1 else self.oom_kills[0]
            connection.sendall(
                f"HTTP/1.1 {status} X\r\nX-Jupyter-Launcher-OOM-Kills: {kills}\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )

    def _document(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        model = {"id": self.id, "name": "python3", "execution_state": self.state, "connections": 1}
        kernels = [{**model, "last_activity": "2026-01-01T00:00:00Z"}] if self.state else []
        found: tuple[int, object] = (200, kernels)
        if path.endswith("/channels"):
            found = self.refuses or 500, {}
        elif path.endswith("/interrupt"):
            self.on_interrupt()
            found = 204, None
        elif path.endswith("/restart"):
            found = 200, {"id": self.id}
        elif path == "/api/kernelspecs":
            found = 200, {"default": "python3", "kernelspecs": {"python3": {}, "ir": {}}}
        elif method == "POST":
            self.bodies.append(json.loads(body) if body.strip() else None)
            self.on_start()
            found = 201, {"id": self.id} if path == "/api/kernels" else {"id": "s-1", "kernel": {"id": self.id}}
        elif method == "DELETE":
            found = 204, None
        return self.answers.get(f"{method} {path}", found)

    def _upgrade(self, connection: socket.socket, headers: Mapping[str, str], query: Mapping[str, list[str]]) -> None:
        digest = hashlib.sha1((headers["sec-websocket-key"] + _MAGIC).encode(), usedforsecurity=False).digest()
        accept = base64.b64encode(digest).decode()
        following = f"X-Jupyter-Launcher-Next: {query['jupyter_launcher_seen'][0]}\r\n" if self.resumes else ""
        connection.sendall(
            f"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{following}"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        channel = Channel(self, connection, query)
        self.channels.append(channel)
        channel.serve()
