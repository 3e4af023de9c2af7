"""A proxy in front of an engine's socket, for what happens on the way."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Proxy:
    """Passes bytes on between clients and an engine, late or not at all."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.url = f"unix://{path}"
        self.delay = 0.0
        """Seconds that each request waits before it reaches the engine."""
        self.connections = 0
        self._engine = str(engine)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._flowing = threading.Event()
        self._flowing.set()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._server]
        self._spawn(self._accept)

    def stall(self) -> None:
        """From now on nothing gets through, and nothing is closed."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self._flowing.set()
        for item in self._sockets:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                engine = socket.socket(socket.AF_UNIX)
                self._sockets += [client, engine]
                engine.connect(self._engine)
            except OSError:
                return
            self.connections += 1
            self._spawn(self._pass, client, engine, lambda: self.delay)
            self._spawn(self._pass, engine, client, lambda: 0.0)

    def _pass(self, source: socket.socket, target: socket.socket, delay: Callable[[], float]) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(delay())
                self._flowing.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
