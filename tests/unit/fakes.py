"""The engine, at its seam: what a real one can't be made to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ContainerInfo, ExecResult


def container(**changes: Any) -> ContainerInfo:
    """A running container on the default bridge."""
    known: dict[str, Any] = {
        "id": "c" * 64,
        "name": "some-container",
        "labels": {},
        "state": "running",
        "exit_code": 0,
        "oom_killed": False,
        "error": "",
        "image": "image",
        "network_mode": "bridge",
        "networks": {"bridge": "172.17.0.9"},
        "ports": {"8888/tcp": (49153,)},
        "environment": {},
        "mounts": {},
    }
    return ContainerInfo(**{**known, **changes})


class FakeEngine(Engine):
    """Containers by name from a dict, and exec answers from a list; nothing is connected."""

    def __init__(
        self, containers: dict[str, ContainerInfo | None] | None = None, answers: Sequence[ExecResult | Exception] = ()
    ) -> None:
        self.endpoint = "fake://"
        self.known = containers or {}
        self.answers = list(answers)
        self.removed: list[str] = []
        self.execs: list[tuple[str, ...]] = []

    def inspect(self, container: str) -> ContainerInfo | None:
        return self.known.get(container)

    def exec(self, container: str, argv: Sequence[str], deadline: Deadline) -> ExecResult:
        self.execs.append(tuple(argv))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, container: str, deadline: Deadline) -> int | None:
        info = self.known.get(container)
        return -1 if info is None else None if info.running else info.exit_code

    def logs(self, container: str, tail: int | None = None) -> str:
        return "the log"

    def remove(self, container: str) -> None:
        self.removed.append(container)


def printed(stdout: str, exit_code: int | None = 0, stderr: str = "") -> ExecResult:
    """What an exec gave."""
    return ExecResult(exit_code=exit_code, stdout=stdout, stderr=stderr)


@contextmanager
def http_server(answer: Callable[[str, str, dict[str, str]], tuple[int, bytes]]) -> Iterator[str]:
    """A real HTTP server on loopback; ``answer`` maps method, path and headers to status and body."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, body = answer(self.command, self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
