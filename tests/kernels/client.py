"""Kernels as a browser uses them: by the REST API and the websocket of a gateway, or of a session's server."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import websocket

from jupyter_launcher import RunningGateway, Session

__all__ = ["Channels", "Kernels", "Reply"]

SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of code."""

    status: str
    text: str
    error: str = ""


class Kernels:
    """Those of one gateway, or of one session's server."""

    def __init__(self, of: RunningGateway | Session) -> None:
        token = of.token if isinstance(of, RunningGateway) else of.server_info.token
        self.url = of.url
        self.headers = {"Authorization": f"token {token}"}

    def ask(self, method: str, path: str, body: object = None, seconds: float = SECONDS) -> requests.Response:
        """A request, whatever comes of it."""
        data = None if body is None else json.dumps(body)
        return requests.request(method, f"{self.url}api/{path}", data=data, headers=self.headers, timeout=seconds)

    def start(self, name: str | None = None, *, env: Mapping[str, str] | None = None, path: str | None = None) -> str:
        """Start a kernel; gives its id."""
        wanted = {"name": name, "env": env, "path": path}
        answer = self.ask("POST", "kernels", {key: value for key, value in wanted.items() if value is not None})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def ids(self) -> set[str]:
        """Of the kernels that are held."""
        answer = self.ask("GET", "kernels")
        assert answer.status_code == 200, answer.text
        return {kernel["id"] for kernel in answer.json()}

    def restart(self, kernel: str) -> None:
        answer = self.ask("POST", f"kernels/{kernel}/restart", {})
        assert answer.status_code == 200, answer.text

    def interrupt(self, kernel: str) -> None:
        answer = self.ask("POST", f"kernels/{kernel}/interrupt")
        assert answer.status_code == 204, answer.text

    def end(self, kernel: str) -> None:
        answer = self.ask("DELETE", f"kernels/{kernel}")
        assert answer.status_code == 204, answer.text

    @contextlib.contextmanager
    def connect(self, kernel: str) -> Iterator[Channels]:
        """The channels of a kernel that answers."""
        url = f"{self.url.replace('http', 'ws', 1)}api/kernels/{kernel}/channels"
        connection = websocket.create_connection(url, timeout=SECONDS, header=self.headers)
        with contextlib.closing(connection):
            channels = Channels(connection)
            channels.until_it_answers()
            yield channels

    def run(self, kernel: str, code: str, seconds: float = SECONDS) -> Reply:
        """Execute code by a connection of its own."""
        with self.connect(kernel) as channels:
            return channels.run(code, seconds)

    def printed(self, kernel: str, code: str) -> str:
        """What code prints that does not fail."""
        reply = self.run(kernel, code)
        assert reply.status == "ok", reply
        return reply.text.strip()


class Channels:
    """One websocket of one kernel."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._session = uuid.uuid4().hex

    def send(self, kind: str, content: Mapping[str, object], channel: str = "shell") -> str:
        """Send a request; gives its id."""
        request = uuid.uuid4().hex
        header = {"msg_id": request, "msg_type": kind, "username": "", "session": self._session, "version": "5.3"}
        message = {"header": {**header, "date": ""}, "parent_header": {}, "metadata": {}, "content": content}
        self._connection.send(json.dumps({**message, "channel": channel, "buffers": []}))
        return request

    def execute(self, code: str, *, asks: bool = False) -> str:
        """Send code, which may ask for input; gives the request's id."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        return self.send("execute_request", {**content, "allow_stdin": asks, "stop_on_error": True})

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next message, whatever it belongs to."""
        self._connection.settimeout(max(0.05, seconds))
        while True:
            text = self._connection.recv()
            if text:
                return dict(json.loads(text))

    def messages(self, request: str, seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
        """What comes of a request, until the kernel has replied and is idle again."""
        deadline = time.monotonic() + seconds
        replied = idle = False
        while not (replied and idle):
            message = self.receive(deadline - time.monotonic())
            if message["parent_header"].get("msg_id") != request:
                continue
            replied |= message["msg_type"].endswith("_reply")
            idle |= message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            yield message

    def reply(self, request: str, seconds: float = SECONDS) -> Reply:
        """What came of code that was sent."""
        status, error, pieces = "", "", list[str]()
        for message in self.messages(request, seconds):
            if message["msg_type"] == "stream":
                pieces.append(message["content"]["text"])
            elif message["msg_type"] == "error":
                error = f"{message['content']['ename']}: {message['content']['evalue']}"
            elif message["msg_type"] == "execute_reply":
                status = message["content"]["status"]
        return Reply(status=status, text="".join(pieces), error=error)

    def run(self, code: str, seconds: float = SECONDS) -> Reply:
        """Execute code."""
        return self.reply(self.execute(code), seconds)

    def until_it_answers(self, seconds: float = SECONDS) -> None:
        """Ask the kernel for its info."""
        request = self.send("kernel_info_request", {})
        deadline = time.monotonic() + seconds
        while True:  # its status may have come before this connection listened
            message = self.receive(deadline - time.monotonic())
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "kernel_info_reply":
                return
